"""uTP with libtorrent, TCP off: whoever dials, both ways, plain and encrypted (BEP 29)."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from tests.support.libtorrent_client import LibtorrentClient
from tests.support.netns import LOOPBACK
from tests.support.payload import Payload, make_payload
from tests.support.processes import free_port, wait_until
from tests.support.swarm import record, resources
from torrent_engine.base.config import SessionConfig
from torrent_engine.base.network_config import (
    EncryptionConfig,
    EncryptionLevel,
    EncryptionPolicy,
    LinkEncryption,
    LinkProtocol,
    NetworkConfig,
    UtpConfig,
)
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.events import Event, PeerConnected
from torrent_engine.engine.session import Session
from torrent_engine.engine.shared_resources import SharedResources
from torrent_engine.engine.states import State

pytestmark = [pytest.mark.interop, pytest.mark.anyio, pytest.mark.timeout(150)]

PATIENCE_S = 60.0
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
    "plain": (NetworkConfig(tcp=False), LinkEncryption.NONE),
    "encrypted": (NetworkConfig(tcp=False, encryption=RC4), LinkEncryption.RC4),
}


class Pair:
    """One of us and one libtorrent, each with a torrent that the other one wants."""

    def __init__(self, shared: SharedResources, theirs: LibtorrentClient, folder: Path) -> None:
        self.shared = shared
        self.theirs = theirs
        self.sessions: list[Session] = []
        self.events: list[list[Event]] = []
        self._folder = folder
        self.from_us = make_payload(folder / "a", "ours.bin", {"ours.bin": 5_000_003})
        self.from_them = make_payload(folder / "b", "theirs.bin", {"theirs.bin": 5_000_003})

    async def add_torrents(self, stack: AsyncExitStack, *peers: tuple[str, int]) -> None:
        """Start both torrents at both; we dial ``peers``."""
        for payload, seed_dir, saved in (
            (self.from_us, self._folder / "a" / "source", self._folder / "they-saved"),
            (self.from_them, self._folder / "we-saved", self._folder / "b" / "source"),
        ):
            await to_thread.run_sync(self.theirs.add, payload, saved)
            session = await Session.create(
                Metainfo.read(str(payload.torrent)),
                self.shared,
                save_path=seed_dir,
                config=SessionConfig(peers=peers),
            )
            self.sessions.append(session)
            self.events.append(record(session))
            await stack.enter_async_context(session)
        await to_thread.run_sync(self.theirs.wait_complete, self.from_them, PATIENCE_S)

    async def wait_complete(self) -> None:
        """Wait until each has the other's torrent."""
        with anyio.fail_after(PATIENCE_S):
            for session in self.sessions:
                await session.wait(State.SEEDING)
        await to_thread.run_sync(self.theirs.wait_complete, self.from_us, PATIENCE_S)

    def is_complete(self) -> bool:
        """Tell whether all bytes are right; libtorrent writes some after it says complete."""
        theirs, ours = self._folder / "they-saved", self._folder / "we-saved"
        wait_until(
            lambda: self.from_us.is_complete_in(theirs),
            timeout_s=PATIENCE_S,
            what="libtorrent has written everything",
        )
        return self.from_them.is_complete_in(ours)

    @property
    def links(self) -> set[tuple[LinkProtocol, LinkEncryption, bool]]:
        """What carried the links of both torrents, and whether they were incoming."""
        return {
            (event.transport, event.encryption, event.incoming)
            for events in self.events
            for event in events
            if isinstance(event, PeerConnected)
        }


@asynccontextmanager
async def running(
    ours: NetworkConfig, folder: Path, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[Pair, AsyncExitStack]]:
    for name in ("a", "b"):
        (folder / name).mkdir()
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
        yield Pair(shared, theirs, folder), stack


@pytest.mark.parametrize(("ours", "encryption"), OURS.values(), ids=OURS)
async def test_bep29_we_dial_libtorrent(
    ours: NetworkConfig, encryption: LinkEncryption, folder: Path
) -> None:
    async with running(ours, folder) as (pair, stack):
        await pair.add_torrents(stack, pair.theirs.address)
        await pair.wait_complete()
        assert await to_thread.run_sync(pair.is_complete)
        assert pair.links == {(LinkProtocol.UTP, encryption, False)}


async def test_bep29_a_libtorrent_that_closes_what_comes_over_tcp_is_dialled_over_utp(
    folder: Path,
) -> None:
    ours = NetworkConfig(utp=UtpConfig(tcp_head_start_s=PATIENCE_S))
    async with running(ours, folder) as (pair, stack):
        await pair.add_torrents(stack, pair.theirs.address)
        await pair.wait_complete()
        assert await to_thread.run_sync(pair.is_complete)
        assert {protocol for protocol, _, _ in pair.links} == {LinkProtocol.UTP}


@pytest.mark.parametrize(("ours", "encryption"), OURS.values(), ids=OURS)
async def test_bep29_libtorrent_dials_us(
    ours: NetworkConfig, encryption: LinkEncryption, folder: Path
) -> None:
    async with running(ours, folder) as (pair, stack):
        await pair.add_torrents(stack)
        for payload in (pair.from_us, pair.from_them):
            await to_thread.run_sync(dial, pair, payload, "127.0.0.1")
        await pair.wait_complete()
        assert await to_thread.run_sync(pair.is_complete)
        assert pair.links == {(LinkProtocol.UTP, encryption, True)}


async def test_bep29_and_bep7_both_meet_over_ipv6(folder: Path) -> None:
    async with running(NetworkConfig(tcp=False), folder, "::1") as (pair, stack):
        await pair.add_torrents(stack, pair.theirs.address)
        await pair.wait_complete()
        assert await to_thread.run_sync(pair.is_complete)
        assert pair.links == {(LinkProtocol.UTP, LinkEncryption.NONE, False)}


def dial(pair: Pair, payload: Payload, host: str) -> None:
    pair.theirs.connect(payload, (host, pair.shared.listen_port))
