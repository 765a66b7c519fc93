"""What was moved since the first start of the daemon, over all its processes."""

from dataclasses import dataclass
from typing import Final

from torrent_engine.daemon.engine_port.facts import TotalFacts
from torrent_engine.daemon.state.store import StoredTable

SAVE_INTERVAL_S: Final = 60.0  # ours: a kill loses so much of the sums at most
KEY: Final = "ever"


@dataclass(frozen=True, slots=True)
class EverTotals:
    """Sums over all processes, or those of this one."""

    downloaded_bytes: int = 0
    uploaded_bytes: int = 0
    active_s: float = 0.0
    """Time for which the daemon ran."""
    torrents_added: int = 0
    sessions: int = 0
    """Starts of the daemon."""


class TotalsKeeper:
    """Adds up what the engine counts for one process; :meth:`tick` is called once a second."""

    def __init__(self, table: StoredTable, now_s: float) -> None:
        self._table = table
        self._before = _read(table.get(KEY))
        self._began_s = self._saved_s = now_s
        self._last = TotalFacts()
        self._downloaded = self._uploaded = self._added = 0
        self.wasted_bytes = 0
        """Received and discarded in this process."""
        self._now_s = now_s
        self.save()

    def tick(self, totals: TotalFacts, now_s: float) -> None:
        """Take the engine's sums; they may shrink, when a torrent goes or the engine restarts."""
        self._downloaded += max(totals.downloaded_bytes - self._last.downloaded_bytes, 0)
        self._uploaded += max(totals.uploaded_bytes - self._last.uploaded_bytes, 0)
        self.wasted_bytes += max(totals.wasted_bytes - self._last.wasted_bytes, 0)
        self._last, self._now_s = totals, now_s
        if now_s - self._saved_s >= SAVE_INTERVAL_S:
            self.save()

    def added(self) -> None:
        """Count a torrent that is new."""
        self._added += 1

    @property
    def current(self) -> EverTotals:
        """The sums of this process."""
        return EverTotals(
            self._downloaded, self._uploaded, self._now_s - self._began_s, self._added, 1
        )

    @property
    def ever(self) -> EverTotals:
        """The sums of all processes."""
        before, current = self._before, self.current
        return EverTotals(
            before.downloaded_bytes + current.downloaded_bytes,
            before.uploaded_bytes + current.uploaded_bytes,
            before.active_s + current.active_s,
            before.torrents_added + current.torrents_added,
            before.sessions + current.sessions,
        )

    def save(self) -> None:
        """Save the sums, as at the end of the process."""
        ever, self._saved_s = self.ever, self._now_s
        self._table.put(
            KEY,
            {
                "downloaded_bytes": ever.downloaded_bytes,
                "uploaded_bytes": ever.uploaded_bytes,
                "active_s": round(ever.active_s),
                "torrents_added": ever.torrents_added,
                "sessions": ever.sessions,
            },
        )


def _read(value: object) -> EverTotals:
    """Return saved sums; what is no number counts as 0."""
    known = value if isinstance(value, dict) else {}
    return EverTotals(
        _count(known.get("downloaded_bytes")),
        _count(known.get("uploaded_bytes")),
        float(_count(known.get("active_s"))),
        _count(known.get("torrents_added")),
        _count(known.get("sessions")),
    )


def _count(value: object) -> int:
    return value if isinstance(value, int) and value >= 0 else 0
