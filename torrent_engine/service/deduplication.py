"""Admission of torrents: duplicates are refused, concurrent downloads limited."""

from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

import anyio

from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.service.sources import is_magnet, is_url

if TYPE_CHECKING:
    from collections.abc import Sequence


FILES_GRACE_S: Final = 5.0  # ours: longest wait for a .torrent that is read from a slow pipe


class HasSource(Protocol):
    """A job with the source that the user gave."""

    @property
    def source(self) -> str:
        """A path, a URL or a magnet link."""


JobType = TypeVar("JobType", bound=HasSource)


class TorrentAdmission(Generic[JobType]):
    """Admission of jobs: one per torrent, and at most ``max_active`` at a time (0: no limit)."""

    def __init__(self, jobs: "Sequence[JobType]", max_active: int = 0) -> None:
        self._first: dict[bytes, JobType] = {}
        self._files = {id(job) for job in jobs if not (is_magnet(job.source) or is_url(job.source))}
        self._files_are_read = anyio.Event()
        self._slots = anyio.CapacityLimiter(max_active) if max_active else None
        if not self._files:
            self._files_are_read.set()

    def read(self, job: JobType) -> None:
        """Record that a job has read its source, or failed to."""
        self._files.discard(id(job))
        if not self._files:
            self._files_are_read.set()

    async def enter(self, torrent: Metainfo | Magnet, job: JobType) -> JobType:
        """Return the job that runs a torrent: this one, or an earlier one with the same torrent.

        A link waits for local .torrent files: those are preferred, as they need no metadata.
        """
        self.read(job)
        if isinstance(torrent, Magnet):
            with anyio.move_on_after(FILES_GRACE_S):
                await self._files_are_read.wait()
        return self._first.setdefault(torrent.info_hash, job)

    async def acquire_slot(self, job: JobType) -> None:
        """Wait for a download slot."""
        if self._slots is not None:
            await self._slots.acquire_on_behalf_of(job)

    def release_slot(self, job: JobType) -> None:
        """Release the download slot; idempotent."""
        if self._slots is not None and job in self._slots.statistics().borrowers:
            self._slots.release_on_behalf_of(job)
