"""Downloads that keep to one interface, or to one address: every packet shows it."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.netns import Host, ip_batch
from tests.support.processes import wait_until
from tests.support.proxied_swarm import WAIT_S, NetworkChild, ProxiedSwarm, Sent

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

TUNNEL, TUNNEL_HERE, TUNNEL_THERE = "tunnel", "10.88.0.1", "10.88.0.2"
OTHER_ADDRESS = 5
SLOW_BYTES_PER_S = 500_000  # three seconds: long enough to try everything
TOO_SLOW_BYTES_PER_S = 20_000  # a minute: it does not end


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
