"""Which torrents a list has, in which order, and a page of them."""

import base64
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cmp_to_key
from pathlib import PurePosixPath
from typing import Any, Final

from torrent_engine.daemon.problems import InputError, Problem, ProblemError
from torrent_engine.daemon.state.rows import StateRow, TorrentStatus

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 10_000
MAX_SORT_KEYS: Final = 4
MAX_CURSOR_CHARS: Final = 4_096
_SORTABLE: Final[Mapping[str, Callable[[StateRow], Any]]] = {
    "name": lambda row: row.name.casefold(),
    "id": lambda row: row.id,
    "status": lambda row: row.status.value,
    "progress": lambda row: row.fraction,
    "total_bytes": lambda row: row.about.total_bytes,
    "left_bytes": lambda row: row.left_bytes,
    "downloaded_bytes": lambda row: row.progress.all_downloaded_bytes,
    "uploaded_bytes": lambda row: row.progress.all_uploaded_bytes,
    "ratio": lambda row: row.progress.ratio,
    "download_bytes_per_s": lambda row: row.rates.download_bytes_per_s,
    "upload_bytes_per_s": lambda row: row.rates.upload_bytes_per_s,
    "eta_s": lambda row: float("inf") if row.rates.eta_s is None else row.rates.eta_s,
    "peers": lambda row: row.rates.peers,
    "seeds": lambda row: row.rates.seeds,
    "queue_position": lambda row: row.settings.queue_position,
    "priority": lambda row: row.settings.priority,
    "category": lambda row: row.user.category.casefold(),
    "save_path": lambda row: row.settings.save_path,
    "added_at": lambda row: row.about.added_at,
    "completed_at": lambda row: row.progress.completed_at,
    "activity_at": lambda row: row.progress.activity_at,
    "tracker_host": lambda row: row.progress.tracker.host,
}
_STATUSES: Final = frozenset(status.value for status in TorrentStatus)


@dataclass(frozen=True, slots=True)
class TorrentFilter:
    """What torrents must have in common; None: anything."""

    q: str | None = None
    """A part of the name, whatever the case of its letters."""
    status: str | None = None
    """One or more, with commas."""
    label: str | None = None
    category: str | None = None
    """"" is those without a category."""
    tracker: str | None = None
    """The host of a tracker."""
    private: bool | None = None
    path: str | None = None
    """A folder that the save path is, or lies in."""

    def test(self) -> Callable[[StateRow], bool]:
        """Return what tells whether a row is of these. Raises ProblemError."""
        tests: list[Callable[[StateRow], bool]] = []
        if self.q:
            part = self.q.casefold()
            tests.append(lambda row: part in row.name.casefold())
        if self.status is not None:
            tests.append(_has_status(self.status))
        if (label := self.label) is not None:
            tests.append(lambda row: label in row.user.labels)
        if (category := self.category) is not None:
            tests.append(lambda row: row.user.category == category)
        if (host := self.tracker) is not None:
            tests.append(lambda row: row.progress.tracker.host == host.lower())
        if (is_private := self.private) is not None:
            tests.append(lambda row: row.about.is_private is is_private)
        if self.path is not None:
            folder = PurePosixPath(self.path)
            tests.append(lambda row: PurePosixPath(row.settings.save_path).is_relative_to(folder))
        return lambda row: all(test(row) for test in tests)

    def of(self, rows: Iterable[StateRow]) -> Iterable[StateRow]:
        """Return those of some rows that are chosen. Raises ProblemError."""
        return rows if self == EVERYTHING else filter(self.test(), rows)


EVERYTHING: Final = TorrentFilter()


def _has_status(text: str) -> Callable[[StateRow], bool]:
    wanted = frozenset(text.split(","))
    unknown = sorted(wanted - _STATUSES)
    if unknown:
        raise _wrong("status", f"there is no status {unknown[0]!r:.80}")
    return lambda row: row.status.value in wanted


class Order:
    """An order of torrents by some fields, and at last by the info-hash, so that none is equal.

    What comes behind the id, which no other torrent has, decides nothing.
    """

    def __init__(self, text: str) -> None:
        """Read an order such as "-added_at,name". Raises ProblemError."""
        self._keys: list[tuple[Callable[[StateRow], Any], bool]] = []
        names = [name for name in text.split(",") if name]
        for name in names:
            key = _SORTABLE.get(name.removeprefix("-"))
            if key is None or len(names) > MAX_SORT_KEYS:
                raise _wrong("sort", f"cannot sort by {name!r:.80}")
            self._keys.append((key, name.startswith("-")))
        bare = [name.removeprefix("-") for name in names]
        self._deciding = self._keys[: bare.index("id") + 1] if "id" in bare else self._keys
        self._needs_hashes = "id" not in bare

    @property
    def length(self) -> int:
        """How many values a place has."""
        return len(self._keys) + 1

    def place(self, row: StateRow) -> list[Any]:
        """Return what decides the place of a row."""
        return [*(key(row) for key, _ in self._keys), row.hash]

    def sorted(self, rows: Iterable[StateRow]) -> list[StateRow]:
        """Return rows in this order."""
        found = sorted(rows, key=lambda row: row.hash) if self._needs_hashes else list(rows)
        for key, is_reversed in reversed(self._deciding):
            found.sort(key=key, reverse=is_reversed)
        return found

    def compare(self, left: Sequence[Any], right: Sequence[Any]) -> int:
        """Compare two places; TypeError if they are not of one order."""
        for at, (one, other) in enumerate(zip(left, right, strict=True)):
            if one == other:
                continue
            is_reversed = at < len(self._keys) and self._keys[at][1]
            return -1 if (one < other) is not is_reversed else 1
        return 0

    def after(self, rows: Sequence[StateRow], place: Sequence[Any]) -> int:
        """Return the index of the first row behind a place, of rows in this order."""
        behind = cmp_to_key(self.compare)
        mark = behind(place)
        low, high = 0, len(rows)
        while low < high:
            middle = (low + high) // 2
            if behind(self.place(rows[middle])) > mark:
                high = middle
            else:
                low = middle + 1
        return low


@dataclass(frozen=True, slots=True)
class TorrentPage:
    """Some rows of a list, and how to go on."""

    rows: Sequence[StateRow]
    next: str | None
    """The cursor of the next page; None: this was the last."""
    total: int
    """In all pages."""


def page_of(
    rows: Iterable[StateRow],
    chosen: TorrentFilter,
    sort: str,
    *,
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
) -> TorrentPage:
    """Return one page of the torrents that a filter chooses. Raises ProblemError.

    A cursor names the place of the last row: what was added or removed since moves no other row to
    a page that was read.
    """
    order = Order(sort)
    found = order.sorted(chosen.of(rows))
    begin = 0
    if cursor is not None:
        try:
            begin = order.after(found, _read_cursor(cursor, order))
        except (TypeError, ValueError, RecursionError):
            raise _wrong("cursor", "the cursor is not one of this list") from None
    end = begin + limit
    last = found[end - 1] if end < len(found) else None
    following = None if last is None else _cursor(order.place(last))
    return TorrentPage(found[begin:end], following, len(found))


def _cursor(place: Sequence[Any]) -> str:
    text = json.dumps(place, ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode("utf-8", "surrogatepass")).decode().rstrip("=")


def _read_cursor(text: str, order: Order) -> list[Any]:
    if len(text) > MAX_CURSOR_CHARS:
        raise ValueError("too long")
    padded = text.encode("ascii") + b"=" * (-len(text) % 4)
    place = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    if not isinstance(place, list) or len(place) != order.length:
        raise TypeError("not a place of this order")
    return place


def _wrong(name: str, detail: str) -> ProblemError:
    errors = [InputError(f"/{name}", detail)]
    return ProblemError(Problem("input_invalid", detail, errors=errors))
