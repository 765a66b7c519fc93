"""uTP with libtorrent, TCP off: whoever dials, both ways, plain and encrypted (BEP 29)."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from anyio import to_thread

from tests.interop.two_sides import PATIENCE_S, TwoSides
from tests.support.libtorrent_client import LibtorrentClient
from tests.support.netns import LOOPBACK
from tests.support.processes import free_port
from tests.support.swarm import resources
from torrent_engine.base.config import (
    ConnectionEncryption,
    EncryptionConfig,
    EncryptionLevel,
    EncryptionPolicy,
    NetworkConfig,
    TransportProtocol,
    UtpConfig,
)

pytestmark = [pytest.mark.interop, pytest.mark.anyio]

ENABLED, DISABLED = 1, 2  # libtorrent's enc_policy
UTP_ONLY = {
    "enable_incoming_tcp": False,
    "enable_outgoing_tcp": False,
    "enable_incoming_utp": True,
    "enable_outgoing_utp": True,
}
RC4 = EncryptionConfig(
    incoming=EncryptionPolicy.REQUIRED,
    outgoing=EncryptionPolicy.REQUIRED,
    level=EncryptionLevel.RC4,
)
OURS = {
    "plain": (NetworkConfig(tcp=False), ConnectionEncryption.NONE),
    "encrypted": (NetworkConfig(tcp=False, encryption=RC4), ConnectionEncryption.RC4),
}


@asynccontextmanager
async def running(
    ours: NetworkConfig, folder: Path, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[TwoSides, AsyncExitStack]]:
    async with AsyncExitStack() as stack:
        shared = await stack.enter_async_context(
            resources(folder, network=ours, listen_hosts=(host,))
        )
        theirs = stack.enter_context(
            LibtorrentClient(
                LOOPBACK,
                folder / "lt",
                port=free_port(),
                address=host,
                out_enc_policy=ENABLED if ours.encryption is RC4 else DISABLED,
                **UTP_ONLY,
            )
        )
        yield TwoSides(shared, theirs, folder), stack


@pytest.mark.parametrize(("ours", "encryption"), OURS.values(), ids=OURS)
async def test_bep29_we_dial_libtorrent(
    ours: NetworkConfig, encryption: ConnectionEncryption, folder: Path
) -> None:
    async with running(ours, folder) as (pair, stack):
        await pair.add_torrents(stack, pair.theirs.address)
        await pair.wait_complete()
        assert await to_thread.run_sync(pair.is_complete)
        assert pair.links == {(TransportProtocol.UTP, encryption, False)}


async def test_bep29_a_libtorrent_that_closes_what_comes_over_tcp_is_dialled_over_utp(
    folder: Path,
) -> None:
    ours = NetworkConfig(utp=UtpConfig(tcp_head_start_s=PATIENCE_S))
    async with running(ours, folder) as (pair, stack):
        await pair.add_torrents(stack, pair.theirs.address)
        await pair.wait_complete()
        assert await to_thread.run_sync(pair.is_complete)
        assert {protocol for protocol, _, _ in pair.links} == {TransportProtocol.UTP}


@pytest.mark.parametrize(("ours", "encryption"), OURS.values(), ids=OURS)
async def test_bep29_libtorrent_dials_us(
    ours: NetworkConfig, encryption: ConnectionEncryption, folder: Path
) -> None:
    async with running(ours, folder) as (pair, stack):
        await pair.add_torrents(stack)
        await pair.be_dialled()
        await pair.wait_complete()
        assert await to_thread.run_sync(pair.is_complete)
        assert pair.links == {(TransportProtocol.UTP, encryption, True)}


async def test_bep29_and_bep7_both_meet_over_ipv6(folder: Path) -> None:
    async with running(NetworkConfig(tcp=False), folder, "::1") as (pair, stack):
        await pair.add_torrents(stack, pair.theirs.address)
        await pair.wait_complete()
        assert await to_thread.run_sync(pair.is_complete)
        assert pair.links == {(TransportProtocol.UTP, ConnectionEncryption.NONE, False)}
