"""Hybrid torrents whose two parts are of different data, which nobody can have (BEP 52)."""

from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from tests.support.swarm import PATIENCE_S, record, resources, seed
from tests.support.torrents import payload_of
from tests.support.v2_torrents import hybrid_info, torrent_around
from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import MetainfoError
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.events import PeerBanned
from torrent_engine.engine.session.session import Session

PIECE_BYTES = 65_536
DATA = payload_of(3 * PIECE_BYTES)
OTHER = DATA[:PIECE_BYTES] + payload_of(2 * PIECE_BYTES, 1)


def contradicting() -> tuple[Metainfo, Metainfo]:
    """Return a hybrid torrent, and the same without the hashes that contradict."""
    info, _ = hybrid_info({"a": DATA}, piece_bytes=PIECE_BYTES)
    others, layers = hybrid_info({"a": OTHER}, piece_bytes=PIECE_BYTES)
    info["file tree"] = others["file tree"]
    bare, whole = torrent_around(info), torrent_around(info, layers)
    return Metainfo.from_bytes(whole), Metainfo.from_bytes(bare)


@pytest.mark.parametrize("swarm", ["v1", "v2"])
def test_a12_a_digest_that_is_right_by_one_hash_contradicts(swarm: str) -> None:
    whole, bare = contradicting()
    if swarm == "v2":  # as from a link of that hash alone
        v2_hash = whole.v2_swarm
        assert v2_hash is not None
        whole, bare = whole.known_by(v2_hash), bare.known_by(v2_hash)
        assert (whole.info_hash, bare.info_hash) == (v2_hash, v2_hash)
    for piece, expected in ((0, False), (1, True)):
        for data in (DATA, OTHER):
            digest = whole.hashes.new_digest(piece)
            digest.update(data[piece * PIECE_BYTES :][:PIECE_BYTES])
            found = digest.digest()
            assert whole.hashes.contradict(piece, found) is expected
            assert not bare.hashes.contradict(piece, found[:20])
        assert not whole.hashes.contradict(piece, bytes(52))


@pytest.mark.anyio
async def test_a12_a_torrent_that_contradicts_itself_ends_with_that_and_bans_nobody(
    tmp_path: Path,
) -> None:
    whole, bare = contradicting()
    async with (
        seed(tmp_path / "seed", bare, DATA) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        config = replace(SessionConfig(), peers=(address,))
        session = await Session.create(whole, shared, save_path=tmp_path / "saved", config=config)
        events = record(session)
        with anyio.fail_after(PATIENCE_S):
            async with session:
                with pytest.raises(MetainfoError, match="v1 and v2 parts of this hybrid torrent"):
                    await session.wait_complete()
    assert not [event for event in events if isinstance(event, PeerBanned)]
