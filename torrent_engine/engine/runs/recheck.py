"""The check of the pieces that a run has to hash before its transfer begins."""

from typing import TYPE_CHECKING, Final

from torrent_engine.disk.pieces.hasher import check_pieces
from torrent_engine.disk.resume.keeper import ResumeKeeper
from torrent_engine.disk.resume.start_plan import StartPlan
from torrent_engine.engine.events import CheckProgress
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.swarm.context import Torrent
from torrent_engine.engine.transfer.transfer import Transfer

if TYPE_CHECKING:
    from collections.abc import Sequence

CHECK_EVENTS: Final = 100  # ours: events of one check at most, about
CHECK_BATCHES: Final = 4096  # ours: of results; a torrent of fewer pieces has each at once


class RunCheck:
    """The check of one run; may be interrupted, and continues where it was."""

    def __init__(self, torrent: Torrent, keeper: ResumeKeeper, shared: SharedResources) -> None:
        self.checked_pieces = 0
        self.pieces_to_check = 0
        self._torrent = torrent
        self._keeper = keeper
        self._shared = shared
        self._to_check: Sequence[int] = ()
        self._checked: set[int] = set()
        self._right: list[int] = []
        self._partial: dict[int, int] = {}

    @property
    def is_needed(self) -> bool:
        """Whether a piece waits to be hashed."""
        return len(self._checked) < len(self._to_check)

    def begin(self, plan: StartPlan) -> None:
        """Take which pieces are trusted, and which are to be hashed."""
        self._torrent.table.found_all(plan.verified)
        self._to_check = plan.to_check
        self.pieces_to_check = len(plan.to_check)
        self._partial = dict(plan.partial)

    def restore_partial(self, transfer: Transfer) -> None:
        """Continue pieces of which blocks are on the disk."""
        for piece, blocks in self._partial.items():
            if self._torrent.table.is_missing(piece):
                transfer.downloads.restore(piece, blocks)
        self._partial.clear()

    async def run(self) -> None:
        """Hash what is to be hashed; StorageError as the disk raises it."""
        if not self.is_needed:
            return
        try:
            await check_pieces(
                self._torrent.storage,
                self._torrent.metainfo,
                (piece for piece in self._to_check if piece not in self._checked),
                limiter=self._shared.hash_limiter,
                threads=self._shared.config.disk.hash_threads,
                on_result=self._on_checked,
            )
        finally:
            self._take_right()

    def _on_checked(self, piece: int, is_right: bool) -> None:  # noqa: FBT001 - as check_pieces
        torrent = self._torrent
        length_bytes = torrent.metainfo.geometry.piece_length(piece)
        self._shared.disk_counts.checked_bytes += length_bytes
        self._keeper.piece_checked(piece, is_right)
        self._checked.add(piece)
        self.checked_pieces += 1
        total = self.pieces_to_check
        if is_right:
            self._right.append(piece)
            if len(self._right) > total // CHECK_BATCHES:
                self._take_right()
        if self.checked_pieces == total or not self.checked_pieces % max(1, total // CHECK_EVENTS):
            self._take_right()
            torrent.bus.publish(
                CheckProgress(
                    torrent.info_hash, self.checked_pieces, total, torrent.table.have.count
                )
            )

    def _take_right(self) -> None:
        self._torrent.table.found(*self._right)
        self._right.clear()
