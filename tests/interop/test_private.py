"""B10: nobody but its tracker and its peers hears of a private torrent, as all packets show.

The same download of a public torrent is seen everywhere, so that silence means something.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.capture import Packet, capturing
from tests.support.engine_client import DISCOVERY, EngineLeech, EngineTracker
from tests.support.libtorrent_client import LibtorrentClient
from tests.support.netns import Host
from tests.support.payload import Payload, make_payload
from tests.support.processes import Program, free_port, wait_until
from torrent_engine.protocol.wire.messages import DHT_BIT, PROTOCOL_STRING

pytestmark = pytest.mark.interop

SLOW_BYTES_PER_S = 400_000  # five seconds: long enough to ask everybody

GRACE_S = 0.5  # for what was on its way


@dataclass(frozen=True)
class Sent:
    """What our process sent, and which torrent it was about."""

    packets: Sequence[Packet]
    info_hash: bytes
    node_port: int

    def after(self, time_s: float) -> "Sent":
        """Return what was sent later than a time of the wall clock."""
        packets = [packet for packet in self.packets if packet.time_s > time_s]
        return Sent(packets, self.info_hash, self.node_port)

    @property
    def datagrams(self) -> list[Packet]:
        return [packet for packet in self.packets if packet.is_udp]

    @property
    def to_dht(self) -> list[Packet]:
        return [packet for packet in self.datagrams if packet.target[1] == self.node_port]

    @property
    def to_lsd(self) -> list[Packet]:
        return [packet for packet in self.datagrams if packet.is_multicast]

    @property
    def naming_it(self) -> list[Packet]:
        """Datagrams that have the info-hash in them."""
        raw, text = self.info_hash, self.info_hash.hex().encode()
        return [
            each for each in self.datagrams if raw in each.payload or text in each.payload.lower()
        ]

    @property
    def handshakes(self) -> list[bytes]:
        streams = (packet.payload for packet in self.packets if not packet.is_udp)
        return [payload for payload in streams if payload.startswith(PROTOCOL_STRING)]

    @property
    def offers_dht(self) -> bool:
        """Whether a handshake has the bit of BEP 5."""
        byte, mask = DHT_BIT
        return any(each[len(PROTOCOL_STRING) + byte] & mask for each in self.handshakes)

    @property
    def offers_pex(self) -> bool:
        return any(b"ut_pex" in packet.payload for packet in self.packets)


class Swarm:
    """A tracker, a seed and a node of the DHT on one host; our leech is alone on the other."""

    def __init__(self, hosts: tuple[Host, Host], folder: Path, programs: ExitStack) -> None:
        self.left, self.right = hosts
        self._folder = folder
        self._programs = programs
        self.tracker = programs.enter_context(
            EngineTracker(
                self.right, folder / "tracker", port=free_port(), address=self.right.address(1)
            )
        )
        self.tracker.wait_listening()

    def payload(self, *, is_private: bool) -> Payload:
        made = make_payload(
            self._folder, "secret.bin", {"secret.bin": 2_000_003}, is_private=is_private
        )
        return made.announced_to(self.tracker.http_url)

    def seed(self, payload: Payload) -> None:
        """Start a seed that the tracker knows."""
        seed = self._libtorrent("seed", 2)
        seed.add(payload, payload.source_dir)
        seed.wait_complete(payload)
        wait_until(
            lambda: bool(seed.status(payload)["announced"]), timeout_s=60, what="the seed is known"
        )

    def generous_seed(self, payload: Payload) -> None:
        """Start one that gives the metadata of a private torrent: most programs do not."""
        where, root = self._folder / "generous-seed", Path(__file__).parents[2]
        where.mkdir()
        script = root / "tests" / "support" / "generous_seed.py"
        torrent, source = str(payload.torrent), str(payload.source_dir)
        seed = Program(
            [sys.executable, str(script), torrent, source, str(free_port()), str(where)],
            host=self.right,
            log=where / "log",
            env={"PYTHONPATH": str(root)},
        )
        self._programs.enter_context(seed)
        wait_until(
            lambda: "tracker.success" in seed.output(), timeout_s=60, what="the seed is known"
        )

    def download(self, payload: Payload, what: Path | str) -> tuple[EngineLeech, Sent]:
        """Download with every way to find peers switched on; return what we sent meanwhile."""
        node = self._libtorrent("node", 3, enable_dht=True, dht_bootstrap_nodes="")
        leech = EngineLeech(
            self.left,
            self._folder / "leech",
            [what],
            port=free_port(),
            extra=[
                *("--dht-bootstrap", ":".join(map(str, node.address))),
                *("--max-download-limit", str(SLOW_BYTES_PER_S)),
            ],
            variables=DISCOVERY,
        )
        with capturing(self.left) as capture, leech:
            leech.wait_complete()
        assert payload.is_complete_in(leech.save_dir)
        return leech, Sent(capture.packets, payload.info_hash, node.address[1])

    def _libtorrent(self, name: str, number: int, **settings: bool | str) -> LibtorrentClient:
        folder, address = self._folder / name, self.right.address(number)
        client = LibtorrentClient(self.right, folder, port=free_port(), address=address, **settings)
        return self._programs.enter_context(client)


@pytest.fixture
def swarm(own_hosts: tuple[Host, Host], folder: Path) -> Iterator[Swarm]:
    with ExitStack() as programs:
        yield Swarm(own_hosts, folder, programs)


def test_b10_a_private_torrent_is_told_to_its_tracker_and_its_peers_only(swarm: Swarm) -> None:
    payload = swarm.payload(is_private=True)
    swarm.seed(payload)
    _, sent = swarm.download(payload, payload.torrent)
    assert sent.handshakes
    assert sent.datagrams == []
    assert not sent.offers_dht
    assert not sent.offers_pex


def test_b10_a_public_torrent_is_told_to_all(swarm: Swarm) -> None:
    payload = swarm.payload(is_private=False)
    swarm.seed(payload)
    _, sent = swarm.download(payload, payload.torrent)
    assert sent.to_dht
    assert sent.to_lsd
    assert {packet.is_multicast for packet in sent.naming_it} == {False, True}
    assert sent.offers_dht
    assert sent.offers_pex


def test_b10_a_magnet_link_of_a_private_torrent_falls_silent_with_its_metadata(
    swarm: Swarm,
) -> None:
    payload = swarm.payload(is_private=True)
    swarm.generous_seed(payload)
    link = f"magnet:?xt=urn:btih:{payload.info_hash.hex()}&tr={swarm.tracker.http_url}"
    leech, sent = swarm.download(payload, link)
    (received,) = leech.events("metadata.received")
    assert sent.naming_it  # nobody could know until then
    later = sent.after(float(str(received["time"])) + GRACE_S)
    assert later.packets
    assert later.naming_it == []
    assert not later.offers_pex
