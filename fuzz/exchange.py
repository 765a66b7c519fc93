"""Fuzz target of peer exchange: messages of several peers raise declared errors only.

How to run it: ``python -m fuzz --help``.
"""

import random
from contextlib import suppress
from types import SimpleNamespace

from fuzz.runner import FuzzTarget, in_time
from torrent_engine.base.config import (
    ConnectionEncryption,
    PexConfig,
    PoolConfig,
    TransportProtocol,
)
from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.base.ids import PeerAddress, PeerId
from torrent_engine.base.operators import operator_of
from torrent_engine.codec.bencode import encode
from torrent_engine.engine.extensions.pex import PeerExchange, PexPorts
from torrent_engine.policy.peers.candidates import CandidateList
from torrent_engine.protocol.wire.exchange import decode_pex, encode_pex

CONFIG = PexConfig(min_judged=3)
POOL = PoolConfig(max_candidates=60)
HOSTS = ("8.0.0.1", "8.0.0.1", "2600::1", "10.0.0.1", "127.0.0.1", "8.0.0.2")
KEYS = ("added", "added.f", "added6", "added6.f", "dropped", "dropped6", "x")
STEP_BYTES = 4  # who, what, and the length of the message in two bytes


class FakePeer:
    """A connected peer: what is sent to it is checked and counted."""

    def __init__(self, number, world):
        self.address = PeerAddress(HOSTS[number], 1000 + number)
        self.identity = SimpleNamespace(peer_id=PeerId(b"-XX0100-%012d" % number))
        self.is_incoming = bool(number & 1)
        self.listens_at = PeerAddress(HOSTS[number], 6881 + number) if number & 2 else None
        self.wants_nothing = not number & 3
        self.prefers_encryption = bool(number & 2)
        self.connection = self.state = self.sender = self
        self.link = self.transport = self
        self.protocol = TransportProtocol.UTP if number & 2 else TransportProtocol.TCP
        self.encryption = ConnectionEncryption.NONE
        self.peer_extensions = {"ut_pex": 1} if number != 5 else {}
        self._world = world
        self._sent_at = float("-inf")

    def send_extension(self, name, payload):
        message, now = decode_pex(payload), self._world.now
        assert name == "ut_pex"
        assert now >= self._sent_at + CONFIG.interval_s
        assert message.added or message.dropped
        assert max(len(message.added), len(message.dropped)) <= CONFIG.max_contacts
        self._sent_at = now

    def flush(self):
        """Nothing waits."""


class World:
    """One torrent with six peers that come and go."""

    def __init__(self):
        self.now = 0.0
        rng = random.Random(1)
        self.candidates = CandidateList(POOL, rng)
        ports = PexPorts(on_new=lambda: None)
        self.exchange = PeerExchange(
            CONFIG, POOL, self.candidates, clock=lambda: self.now, rng=rng, ports=ports
        )
        self.peers = {}

    def step(self, who, what, payload):
        number = who % len(HOSTS)
        peer = self.peers.get(number)
        if peer is None:
            peer = self.peers[number] = FakePeer(number, self)
            self.exchange.on_joined(peer)
        self.now += what & 31
        try:
            self.exchange.on_message(peer, payload)
        except RemoteProtocolError:
            self._leave(number)
        if what & 32:
            self._dial(reached=bool(what & 64))
        if what & 128 and number in self.peers:
            self.candidates.ban(peer.address, peer.identity.peer_id, self.now)
            self._leave(number)
        self.exchange.tick(self.now)
        self._check()

    def _leave(self, number):
        self.exchange.on_left(self.peers.pop(number))

    def _dial(self, *, reached):
        while (address := self.candidates.next_to_dial(self.now)) is not None:
            if reached:
                self.candidates.mark_connected(address, self.now)
                self.candidates.mark_disconnected(address, self.now, good=True)
            else:
                self.candidates.mark_failed(address, self.now)

    def _check(self):
        pex_trust = self.exchange._pex_trust
        charges, senders = pex_trust._responsible, pex_trust._senders
        assert max(len(self.candidates), len(charges)) <= POOL.max_candidates
        for sender in senders.values():
            assert len(sender.addresses) <= CONFIG.max_contacts
            assert len(sender.heard) <= CONFIG.max_messages_per_interval
            assert sender.operators >= {operator_of(address.host) for address in sender.addresses}


@in_time
def fuzz_one(data):
    """Check one input: steps of who, what else happens, and a message with its length.

    The first message is written again as it was read: each message is the first of some input.
    """
    world, is_first = World(), True
    while len(data) >= STEP_BYTES:
        who, what, length = data[0], data[1], int.from_bytes(data[2:STEP_BYTES], "big")
        payload, data = data[STEP_BYTES : STEP_BYTES + length], data[STEP_BYTES + length :]
        if is_first:
            _check_round_trip(payload)
            is_first = False
        world.step(who, what, payload)


def _check_round_trip(payload):
    with suppress(RemoteProtocolError):
        read = decode_pex(payload, CONFIG)
        again = decode_pex(encode_pex(read), CONFIG)
        assert sorted(again.added) == sorted(read.added)
        assert sorted(again.dropped) == sorted(read.dropped)


def mutated(rng):
    """Return a few messages, mostly good ones with some bytes damaged."""
    return b"".join(_step(rng) for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 12))))


def _step(rng):
    payload = bytearray(
        encode({key: _value(rng, key) for key in rng.sample(KEYS, rng.randrange(5))})
    )
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        at = rng.randrange(len(payload) + 1)
        if rng.randrange(2):
            payload[at : at + rng.randrange(1, 4)] = rng.randbytes(rng.randrange(4))
        elif at < len(payload):
            payload[at] ^= 1 << rng.randrange(8)
    what = rng.choice((0, 1, 15, 31, 32, 63, 96, 127, rng.randrange(256)))
    return bytes([rng.randrange(6), what]) + len(payload).to_bytes(2, "big") + payload


def _value(rng, key):
    kind = rng.randrange(20)
    if kind == 0:
        return rng.choice((5, [], {}, b"", [b"123456"]))
    size = 1 if key.endswith(".f") else 18 if key.endswith("6") else 6
    count = rng.choice((49, 50, 51, 70)) if kind == 2 else rng.randrange(5)
    contacts = (_contact(rng, size) for _ in range(count))
    return b"".join(contacts) + rng.randbytes(kind == 1)


def _contact(rng, size):
    """Return flags or an address, from a few hosts so that some come again."""
    if size == 1:
        return rng.randbytes(1)
    port = rng.choice((b"\0\0", b"\x1a\xe1", b"\1\2"))
    first = rng.choice((8, 8, 8, 10, 127, 0, 224, 255))
    if size == 6:
        return bytes([first, 0, rng.randrange(2), rng.randrange(64)]) + port
    start = rng.choice((b"\x26\0", b"\x26\0", b"\xfe\x80", b"\0\0", b"\xff\x02"))
    mapped = b"\xff\xff" if rng.randrange(8) == 0 and start == b"\0\0" else b"\0\0"
    return start + bytes(8) + mapped + bytes([first, 0, 0, rng.randrange(64)]) + port


TARGETS = {
    "exchange": FuzzTarget(fuzz_one, mutated, max_bytes=512),
}
