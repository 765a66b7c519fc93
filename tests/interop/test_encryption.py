"""MSE with libtorrent: what it insists on is what the link becomes, whoever dials, both ways."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    NetworkConfig,
)
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.events import Event, PeerConnected
from torrent_engine.engine.session import Session
from torrent_engine.engine.shared_resources import SharedResources
from torrent_engine.engine.states import State

pytestmark = [pytest.mark.interop, pytest.mark.anyio, pytest.mark.timeout(150)]

PATIENCE_S = 60.0
FORCED, ENABLED, DISABLED = 0, 1, 2  # libtorrent's enc_policy
LEVELS = {"plaintext": 1, "rc4": 2, "both": 3}  # libtorrent's enc_level


@dataclass(frozen=True)
class Case:
    """How both sides are set, and what comes of it."""

    policy: int
    """libtorrent's, of both directions."""
    level: str
    ours: EncryptionConfig
    encryption: LinkEncryption
    prefers_rc4: bool = False

    @property
    def theirs(self) -> dict[str, Any]:
        return {
            "in_enc_policy": self.policy,
            "out_enc_policy": self.policy,
            "allowed_enc_level": LEVELS[self.level],
            "prefer_rc4": self.prefers_rc4,
        }


def both_ways(
    policy: EncryptionPolicy, level: EncryptionLevel = EncryptionLevel.EITHER
) -> EncryptionConfig:
    return EncryptionConfig(incoming=policy, outgoing=policy, level=level)


USUAL = EncryptionConfig()
PREFERRED = both_ways(EncryptionPolicy.PREFERRED)
CASES = {
    "it_forces_rc4": Case(FORCED, "rc4", USUAL, LinkEncryption.RC4),
    "it_forces_plaintext": Case(FORCED, "plaintext", USUAL, LinkEncryption.PLAINTEXT),
    "it_forces_either": Case(FORCED, "both", USUAL, LinkEncryption.PLAINTEXT),
    "both_prefer_rc4": Case(ENABLED, "both", PREFERRED, LinkEncryption.RC4, prefers_rc4=True),
    "we_require_rc4": Case(
        ENABLED,
        "both",
        both_ways(EncryptionPolicy.REQUIRED, EncryptionLevel.RC4),
        LinkEncryption.RC4,
    ),
    "we_require_plaintext": Case(
        ENABLED,
        "both",
        both_ways(EncryptionPolicy.REQUIRED, EncryptionLevel.PLAINTEXT),
        LinkEncryption.PLAINTEXT,
        prefers_rc4=True,
    ),
    "it_knows_none": Case(DISABLED, "both", PREFERRED, LinkEncryption.NONE),
}


class Pair:
    """One of us and one libtorrent, each with a torrent that the other one wants."""

    def __init__(self, shared: SharedResources, theirs: LibtorrentClient, folder: Path) -> None:
        self.shared = shared
        self.theirs = theirs
        self.sessions: list[Session] = []
        self.events: list[list[Event]] = []
        self._folder = folder
        self.from_us = make_payload(folder / "a", "ours.bin", {"ours.bin": 2_000_003})
        self.from_them = make_payload(folder / "b", "theirs.bin", {"theirs.bin": 2_000_003})

    async def add_torrents(self, stack: AsyncExitStack, *peers: tuple[str, int]) -> None:
        """Start both torrents at both; we dial ``peers``."""
        for payload, seed_dir, saved in (
            (self.from_us, self._folder / "a" / "source", self._folder / "they-saved"),
            (self.from_them, self._folder / "we-saved", self._folder / "b" / "source"),
        ):
            await to_thread.run_sync(lambda: self.theirs.add(payload, saved))  # noqa: B023
            session = await Session.create(
                Metainfo.read(str(payload.torrent)),
                self.shared,
                save_path=seed_dir,
                config=SessionConfig(peers=peers),
            )
            self.sessions.append(session)
            self.events.append(record(session))
            await stack.enter_async_context(session)
        await to_thread.run_sync(lambda: self.theirs.wait_complete(self.from_them))

    async def wait_complete(self) -> None:
        """Wait until each has the other's torrent."""
        with anyio.fail_after(PATIENCE_S):
            for session in self.sessions:
                await session.wait(State.SEEDING)
        await to_thread.run_sync(lambda: self.theirs.wait_complete(self.from_us, PATIENCE_S))

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
    def links(self) -> set[tuple[LinkEncryption, bool]]:
        """How the links of both torrents were encrypted, and whether they were incoming."""
        return {
            (event.encryption, event.incoming)
            for events in self.events
            for event in events
            if isinstance(event, PeerConnected)
        }


@asynccontextmanager
async def running(case: Case, folder: Path) -> AsyncIterator[tuple[Pair, AsyncExitStack]]:
    for name in ("a", "b"):
        (folder / name).mkdir()
    async with AsyncExitStack() as stack:
        shared = await stack.enter_async_context(
            resources(folder, network=NetworkConfig(encryption=case.ours))
        )
        theirs = stack.enter_context(
            LibtorrentClient(LOOPBACK, folder / "lt", port=free_port(), **case.theirs)
        )
        yield Pair(shared, theirs, folder), stack


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_mse_we_dial_libtorrent(case: Case, folder: Path) -> None:
    async with running(case, folder) as (pair, stack):
        await pair.add_torrents(stack, pair.theirs.address)
        await pair.wait_complete()
        assert await to_thread.run_sync(pair.is_complete)
        assert pair.links == {(case.encryption, False)}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_mse_libtorrent_dials_us(case: Case, folder: Path) -> None:
    async with running(case, folder) as (pair, stack):
        await pair.add_torrents(stack)
        for payload in (pair.from_us, pair.from_them):
            await to_thread.run_sync(dial, pair, payload)
        await pair.wait_complete()
        assert await to_thread.run_sync(pair.is_complete)
        assert pair.links == {(case.encryption, True)}


def dial(pair: Pair, payload: Payload) -> None:
    pair.theirs.connect(payload, ("127.0.0.1", pair.shared.listen_port))
