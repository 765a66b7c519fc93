"""Settings that change while torrents run, and which ones cannot."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.managers import manager
from tests.support.swarm import reach, resources, seed, until
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.base.config import (
    ConnectionEncryption,
    EncryptionConfig,
    EncryptionPolicy,
    SeedingConfig,
    SessionConfig,
    TransportProtocol,
    UtpConfig,
)
from torrent_engine.base.config.changes import changed_fields
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

pytestmark = pytest.mark.anyio

METAINFO, PAYLOAD = make_torrent(payload_of(300_000, 1))
SLOW = 5_000  # bytes per second: nobody completes


def change(shared: SharedResources, **network: object) -> tuple[str, ...]:
    """Change settings of the network; return what could not be changed."""
    config = replace(shared.config, network=replace(shared.config.network, **network))  # type: ignore[arg-type]
    return shared.change_config(config)


async def test_what_cannot_be_changed_is_told_and_stays(tmp_path: Path) -> None:
    async with resources(tmp_path) as shared:
        before = shared.config
        wanted = replace(
            before,
            listen_port=7000,
            dht=replace(before.dht, enabled=True),
            max_download_bytes_per_s=1_000,
            pool=replace(before.pool, max_connections=7, ban_s=1.0),
        )
        assert shared.change_config(wanted) == ("listen_port", "pool.ban_s", "dht.enabled")
        assert changed_fields(before, shared.config) == (
            "max_download_bytes_per_s",
            "pool.max_connections",
        )
        assert shared.connection_slots.limit == 7
        assert shared.bandwidth.download.rate_bytes_per_s == 1_000
        assert shared.change_config(shared.config) == ()
        shared.set_rate_limits(download_bytes_per_s=5_000)
        assert shared.config.max_download_bytes_per_s == 5_000


async def test_rules_that_end_seeding_reach_torrents_that_seed(tmp_path: Path) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path / "files")
    async with manager(tmp_path) as torrents:
        session = await torrents.add_torrent(METAINFO)
        await reach(session, State.SEEDING)
        rules = SeedingConfig(seed_time_s=0.01)
        assert torrents.change_config(replace(torrents.shared.config, seeding=rules)) == ()
        assert await session.wait_stopped() == "time"


@pytest.mark.parametrize("is_dialler", [True, False])
async def test_encryption_changes_for_new_connections(tmp_path: Path, *, is_dialler: bool) -> None:
    """One side takes any kind; the other requires encryption from some time on."""
    tcp_only = UtpConfig(incoming=False, outgoing=False)
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (seeder, address),
        resources(tmp_path) as shared,
    ):
        seeder.set_rate_limits(upload_bytes_per_s=SLOW)
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "o")
        async with session:
            await reach(session, State.DOWNLOADING)
            required = EncryptionConfig(
                incoming=EncryptionPolicy.REQUIRED, outgoing=EncryptionPolicy.REQUIRED
            )
            assert change(shared, encryption=required, utp=tcp_only) == ()
            if is_dialler:
                await session.add_peer(*address)
            else:
                await seeder.add_peer("127.0.0.1", shared.listen_port)
            await until(session.peers)
            (peer,) = session.peers()
            assert peer.encryption is not ConnectionEncryption.NONE
            assert peer.transport is TransportProtocol.TCP


async def test_utp_is_switched_off_for_new_connections(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (seeder, address),
        resources(tmp_path) as shared,
    ):
        seeder.set_rate_limits(upload_bytes_per_s=SLOW)
        await until(lambda: shared.network.dials_utp)
        assert change(shared, utp=UtpConfig(incoming=False, outgoing=False)) == ()
        assert not shared.network.dials_utp
        config = SessionConfig(peers=(address,))
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "o", config=config)
        async with session:
            await until(session.peers)
            assert [each.transport for each in session.peers()] == [TransportProtocol.TCP]


async def test_without_utp_it_cannot_be_switched_on(tmp_path: Path) -> None:
    off = UtpConfig(incoming=False, outgoing=False)
    network = replace(resources(tmp_path).config.network, utp=off)
    async with resources(tmp_path, network=network) as shared:
        left = change(shared, utp=UtpConfig())
        assert left == ("network.utp.incoming", "network.utp.outgoing")
