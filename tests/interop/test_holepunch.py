"""BEP 55 among three parties, two of them at home behind routers: ours, and with libtorrent.

Who is asked for (the target) seeds, and hears of nobody: it has no peer exchange. Who asks (the
initiator) hears of it from the relay, and cannot dial it.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.engine_client import EngineLeech, EngineProcess, EngineSeed, format_peer
from tests.support.libtorrent_client import LibtorrentClient
from tests.support.nat_routers import Home, Neighbourhood, neighbourhood
from tests.support.netns import Host
from tests.support.payload import make_payload
from tests.support.processes import free_port, wait_until

pytestmark = pytest.mark.interop

PATIENCE_S = 180.0  # a dial that nobody answers takes ten seconds
SLOW_BYTES_PER_S = 20_000  # what the relay takes: it has hardly anything to give
PAYLOAD_BYTES = 8_000_003
UTP: Mapping[str, Any] = {"enable_incoming_utp": True, "enable_outgoing_utp": True}
UTP_ONLY = {**UTP, "enable_incoming_tcp": False, "enable_outgoing_tcp": False}
Address = tuple[str, int]


@pytest.fixture
def near() -> Iterator[Neighbourhood]:
    with neighbourhood() as places:  # routers remember: each test has its own
        yield places


class Parties:
    """Programs that take part, each ended when the test ends."""

    def __init__(
        self, near: Neighbourhood, folder: Path, programs: ExitStack, *, is_ipv6: bool
    ) -> None:
        self.near, self.folder, self.is_ipv6 = near, folder, is_ipv6
        self.payload = make_payload(folder, "punch.bin", {"punch.bin": PAYLOAD_BYTES})
        middle = near.middle
        self.relay = (middle.address6() if is_ipv6 else middle.address(), free_port())
        self.target = (near.left.outside(is_ipv6=is_ipv6), free_port())
        """Where others see it."""
        self.initiator = (near.right.outside(is_ipv6=is_ipv6), free_port())
        self.saved = folder / "initiator" / "saved"
        self._programs = programs

    # -- ours -------------------------------------------------------------------------------

    def our_relay(self) -> EngineLeech:
        """Start a relay that accepts links."""
        slow = ("--max-download-limit", str(SLOW_BYTES_PER_S))
        extra = ("--debug", "--listen", self.relay[0], *slow)
        relay = EngineLeech(
            self.near.middle,
            self.folder / "relay",
            [self.payload.torrent],
            port=self.relay[1],
            extra=extra,
        )
        self._programs.enter_context(relay).wait_event("session.started", timeout_s=PATIENCE_S)
        return relay

    def our_target(self, *extra: str) -> EngineSeed:
        """Start a target; it has a link with the relay when this returns."""
        target = EngineSeed(
            self.near.left.host,
            self.folder / "target",
            [self.payload],
            port=self.target[1],
            peers=[self.relay],
            extra=("--debug", "--no-pex", *extra),
        )
        self._programs.enter_context(target).wait_event("peer.connected", timeout_s=PATIENCE_S)
        return target

    def our_initiator(self) -> EngineLeech:
        """Start an initiator."""
        initiator = EngineLeech(
            self.near.right.host,
            self.folder / "initiator",
            [self.payload.torrent],
            port=self.initiator[1],
            peers=[self.relay],
            extra=("--debug",),
        )
        return self._programs.enter_context(initiator)

    def assert_met(self, ours: EngineProcess, other: Address) -> None:
        """Wait until one of ours has met another over uTP."""
        meeting = (format_peer(other), "utp")
        wait_until(lambda: meeting in links(ours), timeout_s=PATIENCE_S, what=f"{meeting}")

    def assert_saved(self) -> None:
        assert self.payload.is_complete_in(self.saved)

    # -- libtorrent -------------------------------------------------------------------------

    def libtorrent_relay(self) -> LibtorrentClient:
        """Start a relay that is reached over uTP only: it names where packets come from."""
        self.near.refuse_tcp()
        relay = self._libtorrent(self.near.middle, "relay", self.relay, UTP_ONLY)
        relay.add(self.payload, self.folder / "relay" / "saved", download_limit=SLOW_BYTES_PER_S)
        return relay

    def libtorrent_target(self) -> LibtorrentClient:
        """Start a target; it has a link with the relay when this returns."""
        target = self._libtorrent_at_home(self.near.left, "target", self.target)
        target.add(self.payload, self.payload.source_dir, peers=[self.relay], pex=False)
        wait_until(
            lambda: self.relay in target.links(self.payload),
            timeout_s=PATIENCE_S,
            what="libtorrent is connected to the relay",
        )
        return target

    def libtorrent_initiator(self) -> LibtorrentClient:
        """Start an initiator."""
        initiator = self._libtorrent_at_home(self.near.right, "initiator", self.initiator)
        initiator.add(self.payload, self.saved, peers=[self.relay])
        return initiator

    def _libtorrent_at_home(self, home: Home, name: str, seen_at: Address) -> LibtorrentClient:
        own = (home.inside(is_ipv6=self.is_ipv6), seen_at[1])
        return self._libtorrent(home.host, name, own, UTP_ONLY)

    def _libtorrent(
        self, host: Host, name: str, address: Address, settings: Mapping[str, Any]
    ) -> LibtorrentClient:
        ip, port = address
        client = LibtorrentClient(host, self.folder / name, port=port, address=ip, **settings)
        return self._programs.enter_context(client)


def links(ours: EngineProcess) -> set[tuple[object, object]]:
    """Return whom ours had links with, and what carried them."""
    return {(event["address"], event["transport"]) for event in ours.events("peer.connected")}


@pytest.fixture(params=[False, True], ids=["ipv4", "ipv6"])
def parties(request: pytest.FixtureRequest, near: Neighbourhood, folder: Path) -> Iterator[Parties]:
    with ExitStack() as programs:
        yield Parties(near, folder, programs, is_ipv6=request.param)


def test_bep55_two_at_home_meet_through_a_third(parties: Parties) -> None:
    relay = parties.our_relay()
    target = parties.our_target()
    initiator = parties.our_initiator()
    parties.assert_met(initiator, parties.target)
    parties.assert_met(target, parties.initiator)
    initiator.wait_complete(PATIENCE_S)
    parties.assert_saved()
    assert f"wants to meet {format_peer(parties.target)}: INTRODUCE" in relay.output()


def test_bep55_without_an_introduction_they_do_not_meet(parties: Parties) -> None:
    """The same but for one switch: what the test above shows is the introduction's doing."""
    relay = parties.our_relay()
    target = parties.our_target("--no-holepunch")
    initiator = parties.our_initiator()
    initiator.wait_event("peer.connected", timeout_s=PATIENCE_S)
    unanswered = f"utp: {format_peer(parties.target)}"
    wait_until(
        lambda: unanswered in initiator.output(), timeout_s=PATIENCE_S, what="the dial has failed"
    )
    assert {address for address, _ in links(initiator)} == {format_peer(parties.relay)}
    assert {address for address, _ in links(target)} == {format_peer(parties.relay)}
    assert "wants to meet" not in relay.output()


def test_bep55_libtorrent_introduces_two_of_ours(parties: Parties) -> None:
    parties.libtorrent_relay()
    target = parties.our_target()
    initiator = parties.our_initiator()
    parties.assert_met(initiator, parties.target)
    parties.assert_met(target, parties.initiator)
    initiator.wait_complete(PATIENCE_S)
    parties.assert_saved()
    assert (format_peer(parties.relay), "utp") in links(initiator)


def test_bep55_we_meet_libtorrent_that_did_not_ask(parties: Parties) -> None:
    relay = parties.our_relay()
    target = parties.libtorrent_target()
    initiator = parties.our_initiator()
    parties.assert_met(initiator, parties.target)
    initiator.wait_complete(PATIENCE_S)
    parties.assert_saved()
    assert f"wants to meet {format_peer(parties.target)}: INTRODUCE" in relay.output()
    assert target.uploaded_bytes(parties.payload) > PAYLOAD_BYTES // 2


def test_bep55_libtorrent_that_asks_meets_us(parties: Parties) -> None:
    relay = parties.our_relay()
    target = parties.our_target()
    initiator = parties.libtorrent_initiator()
    parties.assert_met(target, parties.initiator)
    initiator.wait_complete(parties.payload, PATIENCE_S)
    parties.assert_saved()
    assert f"wants to meet {format_peer(parties.target)}: INTRODUCE" in relay.output()
