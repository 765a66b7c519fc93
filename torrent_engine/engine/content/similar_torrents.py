"""Looks for files of other torrents: equal ones, and those of similar ones if wanted (BEP 38)."""

from collections.abc import Mapping, Sequence
from typing import Final

import anyio

from torrent_engine.base.config import DiskConfig
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.resume.known_roots import KnownRoots
from torrent_engine.disk.resume.similar_files import (
    equal_files,
    equal_torrents,
    roots_of,
    similar_files,
)
from torrent_engine.disk.state.store import StateStore
from torrent_engine.engine.content.shared_content import SharedContent

ENDING_S: Final = 10.0  # ours: for which the end of runs is waited for
POLL_S: Final = 0.1


def may_have_local_data(config: DiskConfig, known: KnownRoots, metainfo: Metainfo) -> bool:
    """Return whether files of the user are looked for that are not where the torrent's are."""
    if config.local_data or wants_similar(config, metainfo):
        return True
    return metainfo.v2 is not None and known.may_have(roots_of(metainfo))


def wants_similar(config: DiskConfig, metainfo: Metainfo) -> bool:
    """Return whether files of similar torrents are looked for: the user wants it, if there are any.

    Whoever makes a torrent can name any other one in it. If its data were used without being asked
    for, peers could find out by this what else somebody has.
    """
    hints = metainfo.similar
    return config.similar_torrents and bool(hints.info_hashes or hints.collections)


class SimilarTorrentFiles:
    """Files of torrents of the state folder that one may have, too.

    Equal ones of a manager's torrents are found by their roots (BEP 52) without being asked for, as
    those of torrents that run are.
    """

    def __init__(
        self, store: StateStore, known: KnownRoots, content: SharedContent, config: DiskConfig
    ) -> None:
        self._store = store
        self._content = content
        self._known = known
        self._config = config

    def may_have(self, metainfo: Metainfo) -> bool:
        """Return whether they are to be looked for."""
        return metainfo.v2 is not None or wants_similar(self._config, metainfo)

    async def find(self, metainfo: Metainfo) -> Mapping[int, Sequence[str]]:
        """Return where each file of a torrent may be, by its number, the best first."""
        found: dict[int, list[str]] = {}
        if metainfo.v2 is not None:
            found.update(await self._equal(metainfo))
        if wants_similar(self._config, metainfo):
            for index, paths in (await similar_files(self._store, metainfo)).items():
                found[index] = list(dict.fromkeys((*found.get(index, ()), *paths)))
        return found

    async def _equal(self, metainfo: Metainfo) -> Mapping[int, list[str]]:
        """Return equal files of torrents at rest, and of those that are about to be (BEP 52).

        What has left those that run, and is not saved yet, would be found by neither.
        """
        keys = await equal_torrents(self._store, self._known, metainfo)
        with anyio.move_on_after(ENDING_S):
            for key in filter(self._content.has_left, keys):
                while self._store.is_in_use(key):  # noqa: ASYNC110 - other processes claim it, too
                    await anyio.sleep(POLL_S)
        return await equal_files(self._store, keys, metainfo)
