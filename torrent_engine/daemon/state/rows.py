"""The row of a torrent: what every interface tells of it, from one place.

A row has four groups of facts that change together (:class:`FactGroup`), each with the revision of
its last change. Rows are immutable: a change makes a new one.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.engine_port.facts import (
    AboutFacts,
    EngineState,
    ErrorKind,
    FactGroup,
    ProgressFacts,
    RateFacts,
    SettingFacts,
)
from torrent_engine.daemon.engine_port.user_data import UserData as UserData

STALLED_AFTER_S: Final = 60.0  # ours: without payload, as long as Transmission's idle torrents
_FINISHED_BY: Final = frozenset({"ratio", "time", "idle"})
_RUNNING: Final = {
    EngineState.CHECKING: "checking",
    EngineState.FETCHING_METADATA: "metadata",
    EngineState.DOWNLOADING: "downloading",
    EngineState.SEEDING: "seeding",
}
_QUEUED: Final = {
    EngineState.CHECKING: "check_queued",
    EngineState.FETCHING_METADATA: "download_queued",
    EngineState.DOWNLOADING: "download_queued",
    EngineState.SEEDING: "seed_queued",
}


class TorrentStatus(StrEnum):
    """What a torrent does, in the words of the interfaces."""

    STOPPED = "stopped"
    PAUSED = "paused"
    """By the user; its run goes on without payload."""
    CHECK_QUEUED = "check_queued"
    CHECKING = "checking"
    DOWNLOAD_QUEUED = "download_queued"
    METADATA = "metadata"
    """Fetches the metadata of a magnet link."""
    DOWNLOADING = "downloading"
    SEED_QUEUED = "seed_queued"
    SEEDING = "seeding"
    FINISHED = "finished"
    """A rule ended seeding."""
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class GroupRevisions:
    """When each group of a row changed last."""

    about: int
    settings: int
    progress: int
    rates: int
    newest: int
    """The revision of the row: that of the group that changed last."""

    @classmethod
    def new(cls, revision: int) -> "GroupRevisions":
        """Return the revisions of a row that is new."""
        return cls(revision, revision, revision, revision, revision)

    def changed(self, groups: Collection[FactGroup], revision: int) -> "GroupRevisions":
        """Return the revisions after a change of some groups."""
        return GroupRevisions(
            revision if FactGroup.ABOUT in groups else self.about,
            revision if FactGroup.SETTINGS in groups else self.settings,
            revision if FactGroup.PROGRESS in groups else self.progress,
            revision if FactGroup.RATES in groups else self.rates,
            revision,
        )

    def changed_since(self, revision: int) -> frozenset[FactGroup]:
        """Return the groups that changed after a revision."""
        return frozenset(group for group in FactGroup if getattr(self, group.value) > revision)


@dataclass(frozen=True, slots=True)
class StateRow:
    """One torrent as interfaces tell it; sizes in bytes, dates in seconds since 1970."""

    info_hash: InfoHash
    hash: str
    """The info-hash in hexadecimal."""
    id: int
    """From 1, for the Transmission protocol; group ABOUT."""
    about: AboutFacts
    settings: SettingFacts
    user: UserData
    """Category, labels: :attr:`SettingFacts.user_data` as values; group SETTINGS."""
    progress: ProgressFacts
    status: TorrentStatus
    """FactGroup PROGRESS, as the next."""
    is_stalled: bool
    """It downloads or seeds, but no payload has moved for a minute."""
    rates: RateFacts
    revisions: GroupRevisions
    changed_s: float
    """When it changed last, by the monotonic clock."""

    @property
    def revision(self) -> int:
        """When it changed last."""
        return self.revisions.newest

    @property
    def name(self) -> str:
        """The name that the user chose, else that of the .torrent."""
        return self.about.name if self.user.name is None else self.user.name

    @property
    def comment(self) -> str:
        """The user's comment, else that of the .torrent."""
        return self.about.comment if self.user.comment is None else self.user.comment

    @property
    def info_hash_v1(self) -> InfoHash | None:
        """The SHA-1 of the torrent; None if it is of v2 alone, as far as is known."""
        v2 = self.about.info_hash_v2
        is_first = v2 is None or v2.truncated != self.info_hash
        return self.info_hash if is_first else self.about.info_hash_v1

    @property
    def other_hash(self) -> InfoHash | None:
        """The second info-hash of a hybrid, that of v2 cut to 20 bytes; None if there is none."""
        v2 = self.about.info_hash_v2
        if v2 is None:
            return None
        return self.about.info_hash_v1 if v2.truncated == self.info_hash else v2.truncated

    @property
    def left_bytes(self) -> int:
        """What is wanted and not here."""
        return max(self.progress.wanted_bytes - self.progress.completed_bytes, 0)

    @property
    def fraction(self) -> float:
        """Of what is wanted, from 0.0 to 1.0; of nothing 1.0, and 0.0 before the metadata."""
        if not self.about.has_metadata:
            return 0.0
        wanted = self.progress.wanted_bytes
        return 1.0 if wanted <= 0 else min(self.progress.completed_bytes / wanted, 1.0)

    @property
    def is_complete(self) -> bool:
        """Whether all that is wanted is here."""
        return self.about.has_metadata and self.left_bytes == 0

    @property
    def error(self) -> str:
        """What is wrong, with the torrent or else with its tracker; "" if nothing is."""
        return self.progress.error or (
            self.progress.tracker.message if self.error_kind is not ErrorKind.NONE else ""
        )

    @property
    def error_kind(self) -> ErrorKind:
        """What kind of fault :attr:`error` is."""
        if self.progress.error_kind is not ErrorKind.NONE:
            return self.progress.error_kind
        return self.progress.tracker.kind


def status_of(progress: ProgressFacts) -> TorrentStatus:
    """Return the status that a state of the engine is told as."""
    state = progress.state
    if state is EngineState.ERROR:
        return TorrentStatus.ERROR
    if state is EngineState.STOPPED:
        return (
            TorrentStatus.FINISHED
            if progress.stop_reason in _FINISHED_BY
            else TorrentStatus.STOPPED
        )
    if state is EngineState.PAUSED:
        if progress.is_paused_by_user or not progress.is_held:
            return TorrentStatus.PAUSED
        return TorrentStatus(_QUEUED.get(progress.paused_state or state, "download_queued"))
    return TorrentStatus(_RUNNING[state])


def is_stalled(
    status: TorrentStatus, progress: ProgressFacts, rates: RateFacts, now_at: float
) -> bool:
    """Return whether a torrent could move payload, but has not for a minute."""
    if status not in {TorrentStatus.DOWNLOADING, TorrentStatus.SEEDING, TorrentStatus.METADATA}:
        return False
    if rates.download_bytes_per_s or rates.upload_bytes_per_s:
        return False
    since = max(progress.activity_at, progress.started_at)
    return now_at - since >= STALLED_AFTER_S
