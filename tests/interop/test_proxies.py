"""Downloads through Debian's SOCKS server and HTTP proxy; nothing goes around one that is required.

The same download without a proxy is seen everywhere, so that silence means something.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.netns import Host
from tests.support.proxied_swarm import (
    NAME_SERVER,
    OUTSIDE,
    SEED,
    TRACKER,
    WEB_SEED,
    ProxiedSwarm,
)
from tests.support.socks_proxy import PASSWORD, USERNAME, Dante, Tinyproxy

pytestmark = pytest.mark.interop

SLOW_BYTES_PER_S = 500_000  # three seconds: long enough to try everything


@pytest.fixture
def swarm(own_hosts: tuple[Host, Host], folder: Path) -> Iterator[ProxiedSwarm]:
    with ExitStack() as programs:
        yield ProxiedSwarm(own_hosts, folder, programs)


def proxy_for(swarm: ProxiedSwarm, kind: str, *, relays_datagrams: bool = True) -> dict:
    """Start a proxy and return how it is told to us."""
    outside, folder = swarm.right.address(OUTSIDE), swarm.folder / "proxy"
    host, port = swarm.proxy_address
    order = {"kind": kind, "host": host, "port": port, "required": True}
    if kind == "http":
        tiny = Tinyproxy(swarm.right, folder, address=swarm.proxy_address, outside=outside)
        swarm.programs.enter_context(tiny)
        return {**order, "username": USERNAME, "password": PASSWORD}
    dante = Dante(
        swarm.right,
        folder,
        address=swarm.proxy_address,
        outside=outside,
        relays_datagrams=relays_datagrams,
    )
    swarm.programs.enter_context(dante)
    return order


@pytest.mark.parametrize("kind", ["socks5", "socks4", "http"])
def test_all_of_a_download_goes_through_a_required_proxy(swarm: ProxiedSwarm, kind: str) -> None:
    payload = swarm.tracked(swarm.payload(), has_name=kind != "socks4")  # Dante has no SOCKS4a
    swarm.seed(payload)
    proxy = proxy_for(swarm, kind)
    everything = {"lsd": True, "utp": True, "dht_bootstrap": [swarm.dht_node()], "mapping": True}
    with swarm.downloading(payload, proxy=proxy, bytes_per_s=SLOW_BYTES_PER_S, **everything) as (
        child,
        sent,
    ):
        child.wait_complete()
        if kind == "socks5":
            sent.wait_for(b"find_node")
    assert payload.is_complete_in(child.save_dir)
    assert child.listen_port == 0
    assert sent.packets
    assert sent.around_the_proxy == []
    assert bool(sent.datagrams) == (kind == "socks5")  # the others carry none
    assert sent.has(b"find_node") == (kind == "socks5")


def test_without_a_proxy_all_of_that_is_seen(swarm: ProxiedSwarm) -> None:
    payload = swarm.tracked(swarm.payload())
    seed = swarm.seed(payload)
    with swarm.downloading(
        payload,
        lsd=True,
        utp=True,
        dht_bootstrap=[swarm.dht_node()],
        peers=[seed],
        bytes_per_s=SLOW_BYTES_PER_S,
    ) as (child, sent):
        child.wait_for("tracker.failed")  # its name is not known here
        sent.wait_for(b"find_node")
        sent.wait_for(b"BT-SEARCH")
        child.wait_complete()
    assert {packet.target[0] for packet in sent.look_ups} == {swarm.right.address(NAME_SERVER)}
    assert any(packet.is_multicast for packet in sent.datagrams)
    assert swarm.right.address(SEED) in sent.targets


def test_bep29_a_download_over_utp_goes_through_a_socks5_proxy(swarm: ProxiedSwarm) -> None:
    payload = swarm.tracked(swarm.payload(), "udp")
    swarm.seed(payload, enable_incoming_utp=True)
    proxy = proxy_for(swarm, "socks5")
    with swarm.downloading(payload, proxy=proxy, tcp=False, utp=True) as (child, sent):
        child.wait_complete()
    assert payload.is_complete_in(child.save_dir)
    assert {fact["transport"] for fact in child.facts("peer.connected")} == {"utp"}
    assert child.facts("tracker.success")
    assert sent.around_the_proxy == []


@pytest.mark.parametrize("kind", ["socks5", "http"])
def test_bep19_a_web_seed_is_fetched_from_through_a_proxy(swarm: ProxiedSwarm, kind: str) -> None:
    payload = swarm.web_seed(swarm.payload())
    proxy = proxy_for(swarm, kind)
    with swarm.downloading(payload, proxy=proxy) as (child, sent):
        child.wait_complete()
    assert payload.is_complete_in(child.save_dir)
    assert sent.around_the_proxy == []


def test_a_socks_proxy_without_datagrams_has_us_do_without(swarm: ProxiedSwarm) -> None:
    payload = swarm.tracked(swarm.payload())
    swarm.seed(payload, enable_incoming_utp=True)
    proxy = proxy_for(swarm, "socks5", relays_datagrams=False)
    with swarm.downloading(payload, proxy=proxy, utp=True, dht_bootstrap=[swarm.dht_node()]) as (
        child,
        sent,
    ):
        child.wait_complete()
    assert {fact["transport"] for fact in child.facts("peer.connected")} == {"tcp"}
    assert sent.around_the_proxy == []
    assert sent.datagrams == []


def test_while_a_required_proxy_is_away_nothing_leaves(swarm: ProxiedSwarm) -> None:
    payload = swarm.tracked(swarm.payload())
    seed = swarm.seed(payload)
    host, port = swarm.proxy_address
    proxy = {"kind": "socks5", "host": host, "port": port, "required": True}
    everything = {"lsd": True, "utp": True, "dht_bootstrap": [swarm.dht_node()], "mapping": True}
    with swarm.downloading(
        payload, proxy=proxy, peers=[seed, ("peer.test", 6881)], **everything
    ) as (child, sent):
        child.wait_for("tracker.failed", count=2)
    assert not child.facts("tracker.success")
    assert not child.facts("peer.connected")
    assert sent.packets
    assert sent.around_the_proxy == []


def test_only_what_is_for_the_proxy_goes_through_it(swarm: ProxiedSwarm) -> None:
    payload = swarm.tracked(swarm.payload())
    seed = swarm.seed(payload)
    proxy = {**proxy_for(swarm, "socks5"), "required": False, "for_peers": False}
    with swarm.downloading(payload, proxy=proxy, peers=[seed], bytes_per_s=SLOW_BYTES_PER_S) as (
        child,
        sent,
    ):
        child.wait_for("tracker.success")
        child.wait_complete()
    assert {swarm.proxy_address[0], swarm.right.address(SEED)} == sent.targets
    assert sent.look_ups == []
    assert not {swarm.right.address(TRACKER), swarm.right.address(WEB_SEED)} & sent.targets
