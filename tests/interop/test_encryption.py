"""MSE with libtorrent: what it insists on is what the link becomes, whoever dials, both ways."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread

from tests.interop.two_sides import TwoSides
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
)

pytestmark = [pytest.mark.interop, pytest.mark.anyio]

FORCED, ENABLED, DISABLED = 0, 1, 2  # libtorrent's enc_policy
LEVELS = {"plaintext": 1, "rc4": 2, "both": 3}  # libtorrent's enc_level


@dataclass(frozen=True)
class Case:
    """How both sides are set, and what comes of it."""

    policy: int
    """libtorrent's, of both directions."""
    level: str
    ours: EncryptionConfig
    encryption: ConnectionEncryption
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
    "it_forces_rc4": Case(FORCED, "rc4", USUAL, ConnectionEncryption.RC4),
    "it_forces_plaintext": Case(FORCED, "plaintext", USUAL, ConnectionEncryption.PLAINTEXT),
    "it_forces_either": Case(FORCED, "both", USUAL, ConnectionEncryption.PLAINTEXT),
    "both_prefer_rc4": Case(ENABLED, "both", PREFERRED, ConnectionEncryption.RC4, prefers_rc4=True),
    "we_require_rc4": Case(
        ENABLED,
        "both",
        both_ways(EncryptionPolicy.REQUIRED, EncryptionLevel.RC4),
        ConnectionEncryption.RC4,
    ),
    "we_require_plaintext": Case(
        ENABLED,
        "both",
        both_ways(EncryptionPolicy.REQUIRED, EncryptionLevel.PLAINTEXT),
        ConnectionEncryption.PLAINTEXT,
        prefers_rc4=True,
    ),
    "it_knows_none": Case(DISABLED, "both", PREFERRED, ConnectionEncryption.NONE),
}


@asynccontextmanager
async def running(case: Case, folder: Path) -> AsyncIterator[tuple[TwoSides, AsyncExitStack]]:
    async with AsyncExitStack() as stack:
        shared = await stack.enter_async_context(
            resources(folder, network=NetworkConfig(encryption=case.ours))
        )
        theirs = stack.enter_context(
            LibtorrentClient(LOOPBACK, folder / "lt", port=free_port(), **case.theirs)
        )
        yield TwoSides(shared, theirs, folder), stack


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_mse_we_dial_libtorrent(case: Case, folder: Path) -> None:
    async with running(case, folder) as (pair, stack):
        await pair.add_torrents(stack, pair.theirs.address)
        await pair.wait_complete()
        assert await to_thread.run_sync(pair.is_complete)
        assert pair.links == {(TransportProtocol.TCP, case.encryption, False)}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_mse_libtorrent_dials_us(case: Case, folder: Path) -> None:
    async with running(case, folder) as (pair, stack):
        await pair.add_torrents(stack)
        await pair.be_dialled()
        await pair.wait_complete()
        assert await to_thread.run_sync(pair.is_complete)
        assert pair.links == {(TransportProtocol.TCP, case.encryption, True)}
