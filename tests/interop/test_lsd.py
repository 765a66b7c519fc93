"""Announces that libtorrent hears and makes; links, and only the local network in common."""

import socket
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.engine_client import EngineLeech, EngineSeed
from tests.support.libtorrent_client import LibtorrentClient
from tests.support.magnets import link_of
from tests.support.netns import Host
from tests.support.payload import Payload, make_payload
from tests.support.processes import free_port, missing
from tests.support.swarm import until
from torrent_engine.base.config import LsdConfig
from torrent_engine.base.ids import InfoHash, PeerAddress
from torrent_engine.net.lsd.service import LsdService

pytestmark = pytest.mark.interop

EVERYWHERE = ("0.0.0.0", "::")
LSD_ONLY = {"TORRENT_ENGINE_NO_LSD": "0"}
FAMILIES = pytest.mark.parametrize("is_ipv6", [False, True], ids=["ipv4", "ipv6"])


@pytest.fixture
def machines(hosts: tuple[Host, Host]) -> tuple[Host, Host]:
    if hosts[0].namespace is None:
        missing("network namespaces are not allowed here")
    return hosts


def libtorrent(host: Host, folder: Path, *, is_ipv6: bool) -> LibtorrentClient:
    """Return a libtorrent with LSD that takes and makes links of one address family only."""
    port = free_port()
    settings: dict[str, Any] = {"enable_lsd": True}
    if is_ipv6:  # its announces come from any of its addresses
        settings |= {"listen_interfaces": f"[::]:{port}", "outgoing_interfaces": ""}
    return LibtorrentClient(host, folder, port=port, address=host.address(2), **settings)


def payload_of(folder: Path) -> Payload:
    return make_payload(folder, "near.bin", {"near.bin": 1_000_003})


@FAMILIES
def test_bep14_we_hear_what_libtorrent_announces(
    machines: tuple[Host, Host], folder: Path, is_ipv6: bool
) -> None:
    left, right = machines
    payload = payload_of(folder)
    heard: set[tuple[InfoHash, PeerAddress]] = set()

    def on_announce(info_hashes: Sequence[InfoHash], address: PeerAddress) -> None:
        heard.update((info_hash, address) for info_hash in info_hashes)

    async def hear(client: LibtorrentClient) -> None:
        service = LsdService(EVERYWHERE, config=LsdConfig(), on_announce=on_announce)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(service.run)
            await until(lambda: service._joined)
            await anyio.to_thread.run_sync(client.add, payload, payload.source_dir)
            await until(lambda: heard)
            tasks.cancel_scope.cancel()

    with libtorrent(right, folder / "seed", is_ipv6=is_ipv6) as seed:
        left.call(partial(anyio.run, hear, seed))
        assert {info_hash for info_hash, _ in heard} == {payload.info_hash}
        assert {address.port for _, address in heard} == {seed.address[1]}
        prefix = f"{right.prefix6}:" if is_ipv6 else right.address(2)
        assert all(address.host.startswith(prefix) for _, address in heard)


@FAMILIES
def test_bep14_libtorrent_connects_to_whom_we_announce(
    machines: tuple[Host, Host], folder: Path, is_ipv6: bool
) -> None:
    left, right = machines
    payload = payload_of(folder)
    place = left.address6(3) if is_ipv6 else left.address(3)

    def announce(port: int) -> int:
        others = [InfoHash(bytes([number]) * 20) for number in range(1, 25)]
        service = LsdService([place], config=LsdConfig())
        return service.announce(port, [*others, InfoHash(payload.info_hash)])

    def listen() -> socket.socket:
        family = socket.AF_INET6 if is_ipv6 else socket.AF_INET
        return socket.create_server((place, 0), family=family)

    with libtorrent(right, folder / "leech", is_ipv6=is_ipv6) as leech, left.call(listen) as server:
        leech.add(payload, folder / "saved")
        assert left.call(partial(announce, server.getsockname()[1])) == 1
        server.settimeout(20)
        link, _ = server.accept()
        with link:
            link.settimeout(20)
            handshake = link.recv(68, socket.MSG_WAITALL)
    assert handshake[28:48] == payload.info_hash


@FAMILIES
def test_bep14_a_link_becomes_a_file_when_a_libtorrent_seed_is_near(
    machines: tuple[Host, Host], folder: Path, is_ipv6: bool
) -> None:
    left, right = machines
    payload = payload_of(folder)
    with libtorrent(right, folder / "seed", is_ipv6=is_ipv6) as seed:
        seed.add(payload, payload.source_dir)
        seed.wait_complete(payload)
        with EngineLeech(
            left, folder / "leech", [link_of(payload)], port=free_port(), variables=LSD_ONLY
        ) as leech:
            leech.wait_complete()
    assert payload.is_complete_in(leech.save_dir)


@FAMILIES
def test_bep14_a_link_becomes_a_file_in_libtorrent_when_our_seed_is_near(
    machines: tuple[Host, Host], folder: Path, is_ipv6: bool
) -> None:
    left, right = machines
    payload = payload_of(folder)
    with (
        EngineSeed(left, folder / "seed", [payload], port=free_port(), variables=LSD_ONLY) as seed,
        libtorrent(right, folder / "leech", is_ipv6=is_ipv6) as leech,
    ):
        seed.wait_event("session.started")
        leech.add_magnet(payload, folder / "saved")
        leech.wait_complete(payload)
    assert payload.is_complete_in(folder / "saved")
