"""Owns what a run has to hash before it may begin, and what it found."""

from typing import Final

from torrent_engine.disk.hasher import check_pieces
from torrent_engine.disk.resume import ResumeKeeper
from torrent_engine.disk.start_plan import StartPlan
from torrent_engine.engine.events import CheckProgress
from torrent_engine.engine.shared_resources import SharedResources
from torrent_engine.engine.torrent import Torrent
from torrent_engine.engine.transfer import Transfer

CHECK_EVENTS: Final = 100  # ours: events of one check at most, about


class RunCheck:
    """The check of one run; may be interrupted and goes on where it was."""

    def __init__(self, torrent: Torrent, keeper: ResumeKeeper, shared: SharedResources) -> None:
        self.checked_pieces = 0
        self.pieces_to_check = 0
        self._torrent = torrent
        self._keeper = keeper
        self._shared = shared
        self._to_check: dict[int, None] = {}
        self._partial: dict[int, int] = {}

    @property
    def is_needed(self) -> bool:
        """Whether a piece waits to be hashed."""
        return bool(self._to_check)

    def begin(self, plan: StartPlan) -> None:
        """Take what is believed, and what is to be hashed."""
        self._torrent.table.found_all(plan.verified)
        self._to_check = dict.fromkeys(plan.to_check)
        self.pieces_to_check = len(plan.to_check)
        self._partial = dict(plan.partial)

    def restore_partial(self, transfer: Transfer) -> None:
        """Go on with pieces of which blocks are on the disk."""
        for piece, blocks in self._partial.items():
            if self._torrent.table.is_missing(piece):
                transfer.downloads.restore(piece, blocks)
        self._partial.clear()

    async def run(self) -> None:
        """Hash what is to be hashed; StorageError as the disk raises it."""
        if not self._to_check:
            return
        await check_pieces(
            self._torrent.storage,
            self._torrent.metainfo,
            tuple(self._to_check),
            limiter=self._shared.hash_limiter,
            threads=self._shared.config.disk.hash_threads,
            on_result=self._on_checked,
        )

    def _on_checked(self, piece: int, is_right: bool) -> None:  # noqa: FBT001 - as check_pieces
        torrent = self._torrent
        self._keeper.piece_checked(piece, is_right)
        self._to_check.pop(piece, None)
        if is_right:
            torrent.table.found(piece)
        self.checked_pieces += 1
        total = self.pieces_to_check
        if self.checked_pieces == total or not self.checked_pieces % max(1, total // CHECK_EVENTS):
            torrent.bus.publish(
                CheckProgress(
                    torrent.info_hash, self.checked_pieces, total, torrent.table.have.count
                )
            )
