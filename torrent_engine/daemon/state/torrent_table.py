"""The rows of all torrents, with what changed since any revision."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Final

from torrent_engine.base.ids import SHA256_BYTES, InfoHash, InfoHashV2
from torrent_engine.daemon.engine_port.facts import (
    FactGroup,
    FactSheet,
    ProgressFacts,
    RateFacts,
)
from torrent_engine.daemon.engine_port.user_data import NO_USER_DATA, UserData
from torrent_engine.daemon.state.ids import TorrentIds
from torrent_engine.daemon.state.label_counts import LabelCounts
from torrent_engine.daemon.state.revisions import ChangeIndex, RevisionCounter
from torrent_engine.daemon.state.rows import (
    GroupRevisions,
    StateRow,
    is_stalled,
    status_of,
)

CLOCK_STEP_S: Final = 60.0  # ours: seeding and downloading times are told anew after so much
ALL_GROUPS: Final = frozenset(FactGroup)


@dataclass(frozen=True, slots=True)
class Delta:
    """What is to be told to a client that has the state of revision ``since``."""

    since: int
    revision: int
    """What the client has after this delta."""
    is_full: bool
    """The client forgets what it has: everything is in :attr:`changed`."""
    changed: list[tuple[StateRow, Collection[FactGroup]]]
    """Rows with the groups that changed; all groups of new rows."""
    removed: list[InfoHash]
    """Torrents that the client has, and that are gone; empty if it is full."""
    gone: list[InfoHash]
    """With those that came after ``since``, too: it may have read of them in pages since then."""


class TorrentTable:
    """The present row of each torrent; changes only through :meth:`update` and :meth:`remove`."""

    def __init__(self, revisions: RevisionCounter, ids: TorrentIds) -> None:
        self.revisions = revisions
        self.ids = ids
        self._rows: dict[InfoHash, StateRow] = {}
        self._others: dict[InfoHash, InfoHash] = {}
        """By the second info-hash of a hybrid: the one that its row has."""
        self._index: ChangeIndex[InfoHash] = ChangeIndex()
        self.names = LabelCounts()
        """How many rows have each category and label."""

    # -- what is there --------------------------------------------------------------------------

    def __len__(self) -> int:
        """Return how many torrents there are."""
        return len(self._rows)

    def __iter__(self) -> Iterator[StateRow]:
        """Iterate over all rows by their id; not while rows are added or removed."""
        return iter(self._rows.values())

    def __contains__(self, info_hash: object) -> bool:
        """Return whether a torrent is there."""
        return info_hash in self._rows

    def get(self, info_hash: InfoHash) -> StateRow | None:
        """Return the row of a torrent; None if it is not there."""
        return self._rows.get(info_hash)

    def named(self, text: str) -> StateRow | None:
        """Return the row of a torrent by an info-hash as text; None if there is none.

        A hybrid is found by either one, and that of v2 may be whole or cut to 20 bytes.
        """
        try:
            if len(text.strip()) == 2 * SHA256_BYTES:
                key = InfoHashV2.parse(text).truncated
            else:
                key = InfoHash.parse(text)
        except ValueError:
            return None
        return self._rows.get(key) or self._rows.get(self._others.get(key, key))

    def rows(self) -> list[StateRow]:
        """Return all rows, by their id."""
        return list(self._rows.values())

    def by_id(self, number: int) -> StateRow | None:
        """Return the row of a torrent by its whole number."""
        info_hash = self.ids.find(number)
        return None if info_hash is None else self._rows.get(info_hash)

    # -- what changed ---------------------------------------------------------------------------

    def delta(self, since: int | None) -> Delta:
        """Return what changed since a revision; None, or one that is too old: everything."""
        revision = self.revisions.number
        if since is None or not self._index.can_tell(since):
            everything: list[tuple[StateRow, Collection[FactGroup]]]
            everything = [(row, ALL_GROUPS) for row in self._rows.values()]
            return Delta(0, revision, is_full=True, changed=everything, removed=[], gone=[])
        rows = map(self._rows.__getitem__, self._index.changed_since(since))
        changed = [(row, row.revisions.changed_since(since)) for row in rows]
        return Delta(
            since,
            revision,
            is_full=False,
            changed=list(changed),
            removed=self._index.removed_since(since),
            gone=self._index.gone_since(since),
        )

    def changed_within(self, seconds: float, now_s: float) -> list[StateRow]:
        """Return the rows that changed within so many seconds, the newest change first."""
        found: list[StateRow] = []
        for info_hash in self._index.changed_since(0):
            row = self._rows[info_hash]
            if now_s - row.changed_s > seconds:
                break
            found.append(row)
        return found

    # -- changes --------------------------------------------------------------------------------

    def update(self, facts: FactSheet, *, now_s: float, now_at: float) -> Collection[FactGroup]:
        """Take the facts of a torrent; return the groups that changed, all of a new one.

        ``now_s`` is the time of the monotonic clock, ``now_at`` of the wall clock.
        """
        old = self._rows.get(facts.info_hash)
        if old is None:
            self._add(facts, now_s, now_at)
            return ALL_GROUPS
        status = status_of(facts.progress)
        stalled = is_stalled(status, facts.progress, facts.rates, now_at)
        user = old.user
        if facts.settings.user_data != old.settings.user_data:
            user = UserData.read(dict(facts.settings.user_data))
        new = replace(
            old,
            about=facts.about,
            settings=facts.settings,
            user=user,
            progress=facts.progress,
            status=status,
            is_stalled=stalled,
            rates=facts.rates,
            changed_s=now_s,
        )
        return self._put(old, new)

    def update_live(
        self,
        info_hash: InfoHash,
        progress: ProgressFacts,
        rates: RateFacts,
        *,
        now_s: float,
        now_at: float,
    ) -> Collection[FactGroup]:
        """Take what changes by itself of a torrent that is known; return the changed groups."""
        old = self._rows[info_hash]
        status = status_of(progress)
        stalled = is_stalled(status, progress, rates, now_at)
        if (
            rates == old.rates
            and stalled is old.is_stalled
            and _is_same_progress(old.progress, progress)
        ):
            return ()
        new = replace(
            old,
            progress=progress,
            status=status,
            is_stalled=stalled,
            rates=rates,
            changed_s=now_s,
        )
        return self._put(old, new)

    def set_position(self, info_hash: InfoHash, position: int, *, now_s: float) -> None:
        """Take the place in the queue of a torrent, if it is known."""
        old = self._rows.get(info_hash)
        if old is not None and old.settings.queue_position != position:
            settings = replace(old.settings, queue_position=position)
            self._put(old, replace(old, settings=settings, changed_s=now_s))

    def remove(self, info_hash: InfoHash) -> bool:
        """Remove a torrent; False if it is not there."""
        row = self._rows.pop(info_hash, None)
        if row is None:
            return False
        if row.other_hash is not None and self._others.get(row.other_hash) == info_hash:
            del self._others[row.other_hash]
        self.ids.remove(info_hash)
        self.names.remove(row.user)
        self._index.removed(info_hash, self.revisions.next())
        return True

    def _add(self, facts: FactSheet, now_s: float, now_at: float) -> None:
        number, settings = self.revisions.next(), facts.settings
        status = status_of(facts.progress)
        user = UserData.read(dict(settings.user_data)) if settings.user_data else NO_USER_DATA
        row = self._rows[facts.info_hash] = StateRow(
            info_hash=facts.info_hash,
            hash=facts.info_hash.hex(),
            id=self.ids.give(facts.info_hash),
            about=facts.about,
            settings=settings,
            user=user,
            progress=facts.progress,
            status=status,
            is_stalled=is_stalled(status, facts.progress, facts.rates, now_at),
            rates=facts.rates,
            revisions=GroupRevisions.new(number),
            changed_s=now_s,
        )
        self._index.changed(facts.info_hash, number)
        self.names.add(user)
        self._learn(row)

    def _learn(self, row: StateRow) -> None:
        """Take note of the second info-hash of a hybrid."""
        if row.other_hash is not None:
            self._others[row.other_hash] = row.info_hash

    def _put(self, old: StateRow, new: StateRow) -> Collection[FactGroup]:
        """Replace a row if it differs, under one new revision; return the groups that differ."""
        groups = _changed_groups(old, new)
        if not groups:
            return ()
        number = self.revisions.next()
        self._rows[new.info_hash] = replace(new, revisions=old.revisions.changed(groups, number))
        self._index.changed(new.info_hash, number)
        self.names.change(old.user, new.user)
        if FactGroup.ABOUT in groups:
            self._learn(new)
        return groups


def _changed_groups(old: StateRow, new: StateRow) -> list[FactGroup]:
    groups: list[FactGroup] = []
    if old.about != new.about:
        groups.append(FactGroup.ABOUT)
    if old.settings != new.settings:
        groups.append(FactGroup.SETTINGS)
    is_same_state = (old.status, old.is_stalled) == (new.status, new.is_stalled)
    if not is_same_state or not _is_same_progress(old.progress, new.progress):
        groups.append(FactGroup.PROGRESS)
    if old.rates != new.rates:
        groups.append(FactGroup.RATES)
    return groups


def _is_same_progress(old: ProgressFacts, new: ProgressFacts) -> bool:
    """Return whether there is nothing new to tell; clocks are told every minute."""
    return (
        old == new
        and abs(new.seeding_s - old.seeding_s) < CLOCK_STEP_S
        and abs(new.downloading_s - old.downloading_s) < CLOCK_STEP_S
    )
