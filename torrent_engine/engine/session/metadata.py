"""Where a Session gets its metainfo from: the database, or what the swarm sent."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import anyio.to_thread

from torrent_engine.base.errors import SessionError
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.threads import run_in_thread
from torrent_engine.engine.dormancy.metadata_cache import recall
from torrent_engine.engine.events import ChangedGroup
from torrent_engine.engine.runs.file_selection import choose_files
from torrent_engine.engine.session.core import SessionCore
from torrent_engine.engine.transfer.progress import (
    MANY_FILES,
    RankedPieces,
    check_priorities,
    piece_priorities,
)
from torrent_engine.protocol.tracker.schedule import usable_trackers

FEW_URLS: Final = 20  # ours: of trackers, parsed at once


class Metadata:
    """The metainfo of one torrent as its runs need it: in memory, with the files chosen."""

    __slots__ = ("_core",)

    def __init__(self, core: SessionCore) -> None:
        self._core = core

    async def load_stored(self) -> None:
        """Read the metainfo that the database keeps for a dormant torrent.

        Raises SessionError if it is missing or damaged: the torrent cannot run without it.
        """
        core = self._core
        if core.held_metainfo is None and core.is_stored:
            metainfo = await core.load_metainfo()
            if metainfo is None:
                message = "its .torrent in the state folder is missing or damaged; add it again"
                raise SessionError(message)
            core.hold_metainfo(metainfo)

    async def recall(self) -> None:
        """Take the metadata that an earlier run of a magnet link got, if there is any."""
        core = self._core
        if core.held_metainfo is None and core.magnet is not None and not core.is_stored:
            found = await recall(core.shared.store, core.magnet)
            if found is not None:
                await self.learn(found, core.magnet)

    async def learn(self, metainfo: Metainfo, magnet: Magnet) -> None:
        """Take the metadata of a magnet link, and choose the files that the link or user selects.

        Where there are very many files, they are chosen in a thread.
        """
        core = self._core
        choose = partial(choose_files, magnet=magnet, metainfo=metainfo)
        if len(metainfo.files) < MANY_FILES:
            chosen = choose(core.config)
        else:
            before = None
            while core.config is not before:  # it may be changed meanwhile
                before = core.config
                chosen = await anyio.to_thread.run_sync(choose, before)
        core.config = chosen
        core.hold_metainfo(metainfo)
        core.settings_changed(ChangedGroup.ABOUT)

    async def learn_trackers(self) -> None:
        """Parse the tracker URLs in a thread if they are many: odd ones take milliseconds each.

        Torrents do so one after the other: only so many results are remembered. They are parsed
        where they are needed if there is no thread.
        """
        core = self._core
        for tiers in (self._named_tiers, core.edits.tiers_of(())):
            if sum(map(len, tiers)) > FEW_URLS:
                with suppress(SessionError):
                    await run_in_thread(
                        usable_trackers,
                        tiers,
                        limiter=core.shared.url_limiter,
                        failure=SessionError,
                    )

    @property
    def _named_tiers(self) -> Sequence[Sequence[str]]:
        """What the torrent names itself, as far as that is in memory."""
        core = self._core
        is_known = core.facts is not None or core.snapshot is not None or not core.is_stored
        return core.named_tiers if is_known else ()

    async def rank_pieces(self) -> RankedPieces | None:
        """Return which pieces the chosen files need, if that takes a thread; else None."""
        metainfo, priorities = self._core.held_metainfo, self._core.config.file_priorities
        if metainfo is None or priorities is None or len(priorities) < MANY_FILES:
            return None
        check_priorities(metainfo, priorities)
        pieces = await anyio.to_thread.run_sync(piece_priorities, metainfo, priorities)
        return RankedPieces(priorities, pieces)
