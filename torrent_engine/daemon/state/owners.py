"""Owners of work, such as tabs of a browser: their generations and their leases.

A generation is above all that an owner ever had, over restarts too. A lease ends when nobody has
renewed it for its time; the end counts as a new generation, so that what the owner left behind is
cancelled. An event stream of the owner holds its lease for as long as it is open.
"""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from torrent_engine.base.errors import OwnerChangedError
from torrent_engine.base.ids import InfoHash, OwnerTie
from torrent_engine.daemon.engine_port.port import EngineControl
from torrent_engine.daemon.state.previews import PreviewStore
from torrent_engine.daemon.state.store import StoredTable
from torrent_engine.daemon.state.torrent_table import TorrentTable

MAX_OWNERS: Final = 10_000  # ours: the least recent are forgotten first
MAX_LEASES: Final = 1_000  # ours: of owners that have no torrent, the oldest go first
DEFAULT_LEASE_S: Final = 60.0  # ours: a page that is loaded again is back before
MAX_LEASE_S: Final = 86_400.0
MAX_HOLDERS: Final = 100  # ours: of one lease, by name
OnAdvanced = Callable[[str, int], None]
"""Takes an owner and its new generation."""
logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Lease:
    life_s: float
    """0.0: it does not end by itself."""
    ends_s: float
    """By the monotonic clock, while nobody holds it."""
    holders: int = 0
    by: str = ""
    """The session of a browser in which the owner began."""
    renewed_by: dict[str, float] = field(default_factory=dict)
    """Who renewed it by name, and until when that holds."""


class OwnerBook:
    """Generations, which are written down, and leases; :meth:`tick` ends those that are over."""

    def __init__(
        self,
        engine: EngineControl,
        torrents: TorrentTable,
        previews: PreviewStore,
        table: StoredTable,
        clock: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._torrents = torrents
        self._previews = previews
        self._table = table
        self._clock = clock
        self._leases: dict[str, _Lease] = {}
        self._listeners: list[OnAdvanced] = []

    def listen(self, listener: OnAdvanced) -> None:
        """Call ``listener`` after each new generation; it must not raise."""
        self._listeners.append(listener)

    # -- generations ----------------------------------------------------------------------------

    def present(self, owner_id: str) -> int | None:
        """Return the highest generation of an owner that is known; None: it is not known."""
        stored = _stored(self._table.get(owner_id))[0]
        known = [stored, self._engine.owner_generation(owner_id)]
        known += [tie.generation for tie, _ in self.ties(owner_id)]
        return max((each for each in known if each is not None), default=None)

    def ties(self, owner_id: str) -> list[tuple[OwnerTie, InfoHash]]:
        """Return the torrents of an owner, each with its tie."""
        return [(tie, key) for tie, key in self._all_ties() if tie.owner_id == owner_id]

    def _all_ties(self) -> Iterator[tuple[OwnerTie, InfoHash]]:
        facts = (each.facts for each in self._previews)
        for each in (*self._torrents, *facts):
            if (tie := each.settings.owner) is not None:
                yield tie, each.info_hash

    def advance(
        self, owner_id: str, lease_s: float | None = None, *, by: str = ""
    ) -> tuple[int, int]:
        """Begin the next generation; return it, and how many downloads were cancelled.

        ``lease_s`` is the time of its lease from now on, 0 for none; None: as it was. ``by``
        names who can end it with :meth:`end_all_of`.
        """
        present = self.present(owner_id)
        generation = 1 if present is None else present + 1
        cancelled = self._engine.advance_owner(owner_id, generation)
        kept = _stored(self._table.get(owner_id))[1]
        life_s = kept if lease_s is None else lease_s
        if len(self._table) >= MAX_OWNERS and owner_id not in self._table:
            self._forget_one()
        self._table.drop(owner_id)  # so that it is the most recent
        self._table.put(owner_id, [generation, life_s])
        lease = self._begin_lease(owner_id, life_s)
        lease.by = by
        lease.renewed_by.clear()
        for tell in self._listeners:
            tell(owner_id, generation)
        return generation, cancelled

    def check(self, tie: OwnerTie | None) -> None:
        """Raise OwnerChangedError if a tie is old; an owner that asks renews its lease."""
        if tie is None:
            return
        present = self.present(tie.owner_id)
        if present is not None and tie.generation < present:
            raise OwnerChangedError(
                f"owner {tie.owner_id!r}: generation {tie.generation} is over, it is at {present}"
            )
        self.renew(tie.owner_id)

    def end(self, owner_id: str) -> None:
        """Cancel what an owner has; it holds no lease then."""
        self.advance(owner_id)
        lease = self._leases[owner_id]
        if lease.holders:
            lease.life_s = 0.0  # who holds it holds that of the next generation, too
        else:
            del self._leases[owner_id]

    def release(self, owner_id: str, holder: str) -> None:
        """End an owner for one that renewed its lease; not while others hold it."""
        if (lease := self._leases.get(owner_id)) is not None:
            lease.renewed_by.pop(holder, None)
            now = self._clock()
            if lease.holders or any(end_s > now for end_s in lease.renewed_by.values()):
                return
        self.end(owner_id)

    def end_all_of(self, by: str) -> None:
        """End the owners that began in a session of a browser."""
        for owner_id in [each for each, lease in self._leases.items() if by and lease.by == by]:
            self.end(owner_id)

    def _forget_one(self) -> None:
        held = {each for each, lease in self._leases.items() if lease.holders}
        unused = (
            each for each, _ in self._table.items() if each not in held and not self.ties(each)
        )
        if (oldest := next(unused, None)) is not None:
            self._table.drop(oldest)
            self._leases.pop(oldest, None)

    # -- leases -----------------------------------------------------------------------------------

    def _begin_lease(self, owner_id: str, life_s: float) -> _Lease:
        if len(self._leases) >= MAX_LEASES and owner_id not in self._leases:
            self._drop_lease()
        lease = self._leases.setdefault(owner_id, _Lease(life_s, 0.0))
        lease.life_s, lease.ends_s = life_s, self._clock() + life_s
        return lease

    def _drop_lease(self) -> None:
        """Forget the oldest lease that nobody holds, and that ends nothing."""
        tied = {tie.owner_id for tie, _ in self._all_ties()}
        idle = (
            each for each, lease in self._leases.items() if not lease.holders and each not in tied
        )
        if (oldest := next(idle, None)) is not None:
            del self._leases[oldest]

    def renew(self, owner_id: str, lease_s: float | None = None, holder: str = "") -> None:
        """Let the lease of an owner last its time from now on; ``lease_s`` sets that time.

        A ``holder`` is one of several, of whom the last :meth:`release` ends it.
        """
        generation, life_s = _stored(self._table.get(owner_id))
        if lease_s is not None and lease_s != life_s:
            life_s = lease_s
            if generation is not None:
                self._table.put(owner_id, [generation, life_s])
        lease = self._begin_lease(owner_id, life_s)
        if holder:
            lease.renewed_by.pop(holder, None)
            lease.renewed_by[holder] = lease.ends_s if life_s else math.inf
            if len(lease.renewed_by) > MAX_HOLDERS:
                del lease.renewed_by[next(iter(lease.renewed_by))]

    @contextmanager
    def held(self, owner_id: str) -> Iterator[None]:
        """Hold the lease of an owner in a block; its time begins at the end of the block."""
        self.renew(owner_id)
        lease = self._leases[owner_id]
        lease.holders += 1
        try:
            yield
        finally:
            lease.holders -= 1
            lease.ends_s = self._clock() + lease.life_s

    def tick(self) -> None:
        """End the leases that are over."""
        now = self._clock()
        over = [
            owner_id
            for owner_id, lease in self._leases.items()
            if lease.life_s and not lease.holders and lease.ends_s <= now
        ]
        for owner_id in over:
            logger.info("owner %r: its lease is over", owner_id)
            self.end(owner_id)

    def reload(self) -> None:
        """Let an engine that was opened know all generations; leases begin anew.

        What an older generation left in the engine's database is cancelled by that.
        """
        tied = {tie.owner_id for tie, _ in self._all_ties()}
        for owner_id in {*tied, *(each for each, _ in self._table.items())}:
            generation = self.present(owner_id)
            if generation is not None:
                self._engine.advance_owner(owner_id, generation)
            if owner_id in tied and owner_id not in self._leases:
                self._begin_lease(owner_id, _stored(self._table.get(owner_id))[1])

    def value(self, owner_id: str) -> dict[str, Any] | None:
        """Return an owner as it is told; None if it is not known."""
        generation = self.present(owner_id)
        if generation is None:
            return None
        lease = self._leases.get(owner_id)
        is_timed = lease is not None and lease.life_s > 0 and not lease.holders
        left_s = lease.ends_s - self._clock() if lease is not None and is_timed else None
        return {
            "id": owner_id,
            "generation": generation,
            "torrents": [key.hex() for _, key in self.ties(owner_id)],
            "lease_s": _stored(self._table.get(owner_id))[1],
            "lease_left_s": None if left_s is None else round(max(left_s, 0.0), 1),
        }


def _stored(value: object) -> tuple[int | None, float]:
    """Return the generation and the time of the lease that are written down."""
    if isinstance(value, int):
        return value, DEFAULT_LEASE_S
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], int):
        life_s = value[1]
        return value[0], float(life_s) if isinstance(life_s, int | float) else DEFAULT_LEASE_S
    return None, DEFAULT_LEASE_S
