"""Known good peers in the resume database: saved at a stop, dialled at a start.

Source: BEP 27: of a private torrent none is kept, its tracker alone says who belongs to it.
"""

import logging
from collections.abc import Sequence
from typing import Final, NamedTuple

from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.state.store import StateStore
from torrent_engine.policy.peers.candidates import CandidateList

logger = logging.getLogger(__name__)

MAX_SAVED_PEERS: Final = 100  # ours: more than can be dialled before a tracker has answered
_SETTING: Final = "peers"


class SavedPeer(NamedTuple):
    """A peer of an earlier run."""

    address: PeerAddress
    is_seed: bool


class SavedPeers:
    """Loads and saves; an error of the database costs a few peers, never the torrent."""

    def __init__(self, store: StateStore, metainfo: Metainfo, candidates: CandidateList) -> None:
        self._candidates = candidates
        self._store = store
        self._info_hash = metainfo.info_hash
        self._is_private = metainfo.is_private
        self._is_loaded = False

    async def load(self) -> list[SavedPeer]:
        """Return the saved peers, the best first."""
        try:
            record = await self._store.load(self._info_hash, with_metainfo=False)
        except TorrentEngineError as error:
            logger.warning("peers not loaded: %s", error)
            return []
        self._is_loaded = True
        if self._is_private:
            return []
        return [] if record is None else _read(record.settings.get(_SETTING))

    def was_added(self, peer: SavedPeer) -> None:
        """Restore whether a candidate was a seed."""
        self._candidates.note_seed(peer.address, is_seed=peer.is_seed)

    async def save(self, peers: Sequence[SavedPeer]) -> None:
        """Replace the saved peers; those that this run never loaded are kept, behind ``peers``."""
        if not self._is_loaded:
            known = {each.address for each in peers}
            peers = [*peers, *(each for each in await self.load() if each.address not in known)]
        if not self._is_loaded:
            return  # the database failed: it is not known who that is
        kept = [] if self._is_private else list(peers[:MAX_SAVED_PEERS])
        value = [[each.address.host, each.address.port, each.is_seed] for each in kept]
        try:
            await self._store.change_settings(self._info_hash, {_SETTING: value or None})
        except TorrentEngineError as error:
            logger.warning("peers not saved: %s", error)


def good_peers(candidates: CandidateList) -> list[SavedPeer]:
    """Return the peers to dial first in the next run."""
    proven = candidates.proven(MAX_SAVED_PEERS)
    return [SavedPeer(address, candidates.is_seed(address)) for address in proven]


def _read(value: object) -> list[SavedPeer]:
    entries = value[:MAX_SAVED_PEERS] if isinstance(value, list) else []
    return [peer for entry in entries if (peer := _read_one(entry)) is not None]


def _read_one(entry: object) -> SavedPeer | None:
    match entry:
        case [str(host), int(port), bool(is_seed)]:
            return SavedPeer(PeerAddress(host, port), is_seed)
        case _:
            return None
