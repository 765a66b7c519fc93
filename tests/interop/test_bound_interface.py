"""Downloads that keep to one interface, or to one address: every packet shows it."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from struct import pack

import pytest

from tests.support.netns import Host, ip_batch
from tests.support.payload import Payload
from tests.support.processes import wait_until
from tests.support.proxied_swarm import WAIT_S, NetworkChild, ProxiedSwarm, Sent
from torrent_engine.base.ids import PeerId
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.protocol.wire.messages import PROTOCOL_STRING, encode_handshake

pytestmark = pytest.mark.interop

TUNNEL, TUNNEL_HERE, TUNNEL_THERE = "tunnel", "10.88.0.1", "10.88.0.2"
OTHER_ADDRESS = 5
SLOW_BYTES_PER_S = 500_000  # three seconds: long enough to try everything
TOO_SLOW_BYTES_PER_S = 20_000  # a minute: it does not end

DHT_PING = b"d1:ad2:id20:" + b"n" * 20 + b"e1:q4:ping1:t2:aa1:y1:qe"
UTP_SYN = pack(">BBHIIIHH", 0x41, 0, 7, 1, 0, 65_536, 1, 0)
UTP_STATE = b"\x21"


@pytest.fixture
def swarm(own_hosts: tuple[Host, Host], folder: Path) -> Iterator[ProxiedSwarm]:
    """Two hosts with two wires between them; the second one's name is that of a tunnel."""
    left, right = own_hosts
    _join(left.namespace or "", right.namespace or "")
    with ExitStack() as programs:
        yield ProxiedSwarm(own_hosts, folder, programs)


def _join(left: str, right: str) -> None:
    ip_batch(left, f"link add {TUNNEL} type veth peer name {TUNNEL} netns {right}")
    for namespace, host in ((left, TUNNEL_HERE), (right, TUNNEL_THERE)):
        ip_batch(namespace, f"address add {host}/24 dev {TUNNEL}", f"link set {TUNNEL} up")


def download(
    swarm: ProxiedSwarm, lsd: set[str], *, seed_host: str | None = None, **order: object
) -> tuple[NetworkChild, Sent]:
    """Download with every way to find peers; by the routes most of it is on the first wire.

    ``lsd`` is where the local network is to hear of it.
    """
    payload = swarm.tracked(swarm.payload(), "http", "udp", has_name=False)
    seed = swarm.seed(payload, host=seed_host, enable_incoming_utp=True)
    with swarm.downloading(
        payload,
        peers=[seed],
        lsd=True,
        utp=True,
        dht_bootstrap=[swarm.dht_node()],
        bytes_per_s=SLOW_BYTES_PER_S,
        **order,
    ) as (child, sent):
        child.wait_for("tracker.success", count=2)
        sent.wait_for(b"find_node")
        wait_until(lambda: lsd_devices(sent) == lsd, timeout_s=WAIT_S, what=f"LSD on {lsd}")
        child.wait_complete()
    assert payload.is_complete_in(child.save_dir)
    return child, sent


def lsd_devices(sent: Sent) -> set[str]:
    return {each.device for each in sent.packets if each.payload.startswith(b"BT-SEARCH")}


@pytest.mark.parametrize("tcp", [True, False], ids=["tcp", "utp"])
def test_everything_leaves_by_the_interface(swarm: ProxiedSwarm, tcp: bool) -> None:
    child, sent = download(swarm, {TUNNEL}, seed_host=TUNNEL_THERE, interface=TUNNEL, tcp=tcp)
    assert {packet.device for packet in sent.packets} == {TUNNEL}
    assert {packet.source[0] for packet in sent.packets if ":" not in packet.source[0]} == {
        TUNNEL_HERE
    }
    (transport,) = {fact["transport"] for fact in child.facts("peer.connected")}
    assert tcp or transport == "utp"


def test_everything_leaves_from_the_address(swarm: ProxiedSwarm) -> None:
    ours = swarm.left.address(OTHER_ADDRESS)
    _, sent = download(swarm, {"wire"}, interface=ours)
    assert {packet.source[0] for packet in sent.packets} == {ours}
    assert {packet.device for packet in sent.packets} == {"wire"}


def test_without_an_interface_it_leaves_as_the_routes_say(swarm: ProxiedSwarm) -> None:
    _, sent = download(swarm, {"wire", TUNNEL})
    devices = {packet.device for packet in sent.packets if not packet.is_multicast}
    assert devices == {"wire"}


def test_a_web_seed_is_fetched_from_by_the_interface(swarm: ProxiedSwarm) -> None:
    payload = swarm.web_seed(swarm.payload(), has_name=False)
    with swarm.downloading(payload, interface=TUNNEL, local_web_seeds=True) as (child, sent):
        child.wait_complete()
    assert payload.is_complete_in(child.save_dir)
    assert {packet.device for packet in sent.packets} == {TUNNEL}


def test_an_interface_that_goes_away_takes_everything_with_it(swarm: ProxiedSwarm) -> None:
    payload = swarm.tracked(swarm.payload(), has_name=False)
    seed = swarm.seed(payload, host=TUNNEL_THERE)
    order = {"interface": TUNNEL, "lsd": True, "utp": True, "bytes_per_s": TOO_SLOW_BYTES_PER_S}
    with swarm.downloading(payload, peers=[seed], **order) as (child, sent):
        child.wait_for("peer.connected")
        child.wait_for("tracker.success")
        ip_batch(swarm.left.namespace or "", f"link delete {TUNNEL}")
        child.wait_for("stats.update", count=len(child.facts("stats.update")) + 5)
    assert not child.facts("complete")
    devices = {packet.device for packet in sent.packets}
    assert devices <= {TUNNEL, ""}  # no name: it was gone when the packet was read


def answer(kind: socket.SocketKind, address: tuple[str, int], data: bytes) -> bytes:
    """Return what comes back for some bytes; nothing if nothing does."""
    with socket.socket(type=kind) as sock:
        sock.settimeout(2.0)
        try:
            sock.connect(address)
            sock.send(data)
            return sock.recv(100)
        except OSError:
            return b""


def answered(swarm: ProxiedSwarm, payload: Payload, port: int) -> list[bool]:
    """Return whether a peer over TCP, a DHT node and a peer over uTP are answered."""
    info_hash = Metainfo.read(payload.torrent).info_hash
    handshake = encode_handshake(info_hash, PeerId(b"p" * 20), fast=True, extensions=True, dht=True)
    probes = (
        (socket.SOCK_STREAM, handshake, PROTOCOL_STRING),
        (socket.SOCK_DGRAM, DHT_PING, b"d"),
        (socket.SOCK_DGRAM, UTP_SYN, UTP_STATE),
    )
    return [
        swarm.right.call(partial(answer, kind, (TUNNEL_HERE, port), data)).startswith(begin)
        for kind, data, begin in probes
    ]


def test_an_interface_that_is_created_again_is_listened_on_again(swarm: ProxiedSwarm) -> None:
    payload = swarm.payload()
    left, right = swarm.left.namespace or "", swarm.right.namespace or ""
    with swarm.downloading(payload, interface=TUNNEL, utp=True, dht_bootstrap=[]) as (child, sent):
        child.wait_for("open")

        def all_answered() -> bool:
            return all(answered(swarm, payload, child.listen_port))

        wait_until(all_answered, timeout_s=WAIT_S, what="an answer to each")
        ip_batch(left, f"link delete {TUNNEL}")
        _join(left, right)
        wait_until(all_answered, timeout_s=20.0, what="an answer to each again")
        assert f"interface {TUNNEL} is there again" in child.output()
    assert {packet.device for packet in sent.packets} <= {TUNNEL, ""}
