"""Owns which torrents of a command run: one of each, and so many at a time."""

from typing import TYPE_CHECKING, Final

import anyio

from torrent_engine.cli.sources import is_magnet, is_url
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torrent_engine.cli.job import Job

FILES_GRACE_S: Final = 5.0  # ours: a .torrent that comes through a slow pipe holds no link back


class Entrance:
    """What every job of a command passes before its torrent runs."""

    def __init__(self, jobs: "Sequence[Job]", max_active: int = 0) -> None:
        self._first: dict[bytes, Job] = {}
        self._files = {id(job) for job in jobs if not (is_magnet(job.source) or is_url(job.source))}
        self._files_are_read = anyio.Event()
        self._slots = anyio.CapacityLimiter(max_active) if max_active else None
        if not self._files:
            self._files_are_read.set()

    def read(self, job: "Job") -> None:
        """Hear that a job has read its source, or failed to."""
        self._files.discard(id(job))
        if not self._files:
            self._files_are_read.set()

    async def enter(self, torrent: Metainfo | Magnet, job: "Job") -> "Job":
        """Return whose torrent this is: the job's, or that of another which named it before.

        A link waits for the .torrents on this machine: of the two the .torrent runs, which needs
        no peer to say what it is.
        """
        self.read(job)
        if isinstance(torrent, Magnet):
            with anyio.move_on_after(FILES_GRACE_S):
                await self._files_are_read.wait()
        return self._first.setdefault(torrent.info_hash, job)

    async def take_slot(self, job: "Job") -> None:
        """Wait until the torrent may download."""
        if self._slots is not None:
            await self._slots.acquire_on_behalf_of(job)

    def give_slot(self, job: "Job") -> None:
        """Let the next one download; twice is harmless."""
        if self._slots is not None and job in self._slots.statistics().borrowers:
            self._slots.release_on_behalf_of(job)
