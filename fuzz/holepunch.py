"""Fuzz target of hole punching: messages of several peers raise declared errors only.

How to run it: ``python -m fuzz --help``.
"""

from types import SimpleNamespace

from fuzz.runner import FuzzTarget, in_time
from torrent_engine.base.config import HolepunchConfig, TransportProtocol
from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.engine.extensions.holepunch import Holepunch
from torrent_engine.protocol.wire.holepunch import (
    UT_HOLEPUNCH,
    HolepunchKind,
    decode_holepunch,
    encode_holepunch,
)

CONFIG = HolepunchConfig(
    max_rendezvous_per_minute=3,
    max_introductions_per_minute=2,
    max_connects_per_minute=4,
    max_remembered=5,
    max_capable_peers=6,
)
HOSTS = ("8.0.0.1", "8.0.0.1", "2600::1", "10.0.0.1", "127.0.0.1", "8.0.0.2")
OWN = PeerAddress("8.0.0.1", 6881)
STEP_BYTES = 3  # who, what, and the length of the message


class FakePeer:
    """A connected peer: what is sent to it is checked and kept."""

    def __init__(self, number):
        self.address = PeerAddress(HOSTS[number], 1000 + number)
        self.is_incoming = bool(number & 1)
        self.listens_at = PeerAddress(HOSTS[number], 6881) if number & 2 else None
        self.connection = self.state = self.sender = self
        self.link = self.transport = self
        self.protocol = TransportProtocol.UTP if number & 2 else TransportProtocol.TCP
        self.peer_extensions = {UT_HOLEPUNCH: 4} if number != 5 else {}
        self.sent = []

    def send_extension(self, name, payload):
        assert name == UT_HOLEPUNCH
        message = decode_holepunch(payload)
        assert message is not None
        is_ipv6 = bool(payload[1])  # a refusal keeps an IPv4-mapped address as it was asked for
        assert is_ipv6 or encode_holepunch(message) == payload
        self.sent.append(message)

    def flush(self):
        """Nothing waits."""


class World:
    """One torrent with six peers that come and go."""

    def __init__(self):
        self.now = 0.0
        self.peers = {}
        self.dialled = []
        self.candidates = SimpleNamespace(
            is_banned=lambda address, *_: address.port == 13, add=lambda *_: True
        )
        self.own = SimpleNamespace(is_own=lambda address: address == OWN)
        self.holepunch = Holepunch(
            CONFIG, self.peers.values(), self, lambda: self.now, lambda _: [*self.peers.values()]
        )

    def dial_now(self, address, *, only):
        assert only is TransportProtocol.UTP
        assert address.port not in {0, 13}
        self.dialled.append((self.now, address))
        return bool(address.port & 1)

    def step(self, who, what, payload):
        number = who % len(HOSTS)
        peer = self.peers.get(number)
        if peer is None:
            peer = self.peers[number] = FakePeer(number)
        self.now += what & 15
        try:
            self.holepunch.on_message(peer, payload)
        except RemoteProtocolError:
            self.holepunch.on_left(self.peers.pop(number))
        if what & 32:
            self.holepunch.note_support(_address(who, what))
        if what & 64:
            self.holepunch.not_reached(_address(who, what))
        self._check()

    def _check(self):
        rendezvous, rules = self.holepunch._rendezvous, self.holepunch._rules
        assert len(rendezvous) <= CONFIG.max_remembered
        assert len(rendezvous._supporting) <= CONFIG.max_capable_peers
        for allowance in (rules._rendezvous, rules._introductions, rules._connects):
            assert len(allowance) <= CONFIG.max_remembered
        assert all(not peer.sent for number, peer in self.peers.items() if number == 5)


def _address(who, what):
    return PeerAddress(HOSTS[who % len(HOSTS)], 1000 + (what & 15))


@in_time
def fuzz_one(data):
    """Check one input: steps of who, what else happens, and a message with its length."""
    world = World()
    while len(data) >= STEP_BYTES:
        who, what, length = data[:STEP_BYTES]
        payload, data = data[STEP_BYTES : STEP_BYTES + length], data[STEP_BYTES + length :]
        world.step(who, what, payload)


def mutated(rng):
    """Return a few messages, mostly good ones with some bytes damaged."""
    return b"".join(_step(rng) for _ in range(rng.choice((1, 2, 3, 12, 40))))


def _step(rng):
    payload = bytearray(_message(rng))
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        at = rng.randrange(len(payload) + 1)
        if rng.randrange(2):
            payload[at : at + rng.randrange(1, 4)] = rng.randbytes(rng.randrange(4))
        elif at < len(payload):
            payload[at] ^= 1 << rng.randrange(8)
    return bytes([rng.randrange(6), rng.randrange(256), len(payload)]) + payload


def _message(rng):
    number = rng.randrange(6)
    host, port = HOSTS[number], rng.choice((0, 13, 6881, 1000 + number))
    is_ipv6 = ":" in host
    packed = bytes.fromhex("2600" + "0" * 27 + "1") if is_ipv6 else bytes(map(int, host.split(".")))
    if not is_ipv6 and rng.randrange(4) == 0:
        is_ipv6, packed = True, bytes(10) + b"\xff\xff" + packed
    head = bytes([rng.choice(list(HolepunchKind)), is_ipv6])
    return head + packed + port.to_bytes(2, "big") + rng.choice((b"", bytes(4), b"\0\0\0\2"))


TARGETS = {
    "holepunch": FuzzTarget(fuzz_one, mutated, max_bytes=256),
}
