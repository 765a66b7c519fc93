"""Downloads from and to libtorrent with pieces from 1 byte to half a GiB."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.interop.two_sides import TwoSides
from tests.support.libtorrent_client import LibtorrentClient
from tests.support.netns import LOOPBACK
from tests.support.processes import free_port
from tests.support.swarm import resources

pytestmark = [pytest.mark.interop, pytest.mark.anyio]

MIB = 1 << 20
PAYLOADS = {
    1: 2_001,
    128: 100_001,
    16_383: 1_000_000,
    16_385: 1_000_000,
    3_000_000: 7_000_001,
    64 * MIB: 70 * MIB,
    512 * MIB - 16_384: 20 * MIB + 1,  # the longest pieces that libtorrent takes
}
"""Length of the payload for each length of pieces."""


@pytest.mark.parametrize("piece_bytes", PAYLOADS)
async def test_pieces_of_any_length_go_both_ways(piece_bytes: int, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        shared = await stack.enter_async_context(resources(tmp_path, listen_hosts=("127.0.0.1",)))
        theirs = stack.enter_context(
            LibtorrentClient(LOOPBACK, tmp_path / "lt", port=free_port(), address="127.0.0.1")
        )
        sides = TwoSides(
            shared,
            theirs,
            tmp_path,
            payload_bytes=PAYLOADS[piece_bytes],
            piece_bytes=piece_bytes,
        )
        await sides.add_torrents(stack, theirs.address)
        await sides.wait_complete()
        assert sides.is_complete()
