"""Rules of a seed that relays hole punching (BEP 55)."""

import ipaddress
import struct
from dataclasses import dataclass
from typing import Final

from torrent_engine.conformance.case import IGNORED_OR_CLOSED, SILENT, WORKS, Case
from torrent_engine.conformance.dht.krpc import NodeAddress
from torrent_engine.conformance.extensions import (
    bare_peer,
    content_of,
    extended_peer,
    number_of,
    own_handshake,
    receive_handshake,
)
from torrent_engine.conformance.frames import Frame, FrameType, bencoded_payload, extended
from torrent_engine.conformance.raw_peer import RawPeer
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.verdicts import Level, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
NAME: Final = b"ut_holepunch"
OWN_ID: Final = 7
RENDEZVOUS, CONNECT, ERROR = 0, 1, 2
NO_SUCH_PEER, NOT_CONNECTED, NO_SUPPORT, NO_SELF = 1, 2, 3, 4
NOBODY: Final = ("127.0.0.77", 7)
_BODY = struct.Struct(">BB4sH")
ANSWERS: Final = {"the right error": P, "another error": F, "no error": F, SILENT: F}


@dataclass(frozen=True, slots=True)
class KitHolepunch:
    """A message of the extension, for an endpoint of IPv4."""

    kind: int
    endpoint: NodeAddress
    error: int = 0

    def encode(self) -> bytes:
        """Return the payload."""
        host = ipaddress.IPv4Address(self.endpoint[0]).packed
        return _BODY.pack(self.kind, 0, host, self.endpoint[1]) + struct.pack(">I", self.error)


def read_holepunch(frame: Frame) -> KitHolepunch | None:
    """Return what a message says, if it is one of the extension that came to us, over IPv4."""
    if frame.number != FrameType.EXTENDED or frame.payload[:1] != bytes([OWN_ID]):
        return None
    payload = bencoded_payload(frame)
    if len(payload) < _BODY.size:
        return None
    kind, family, host, port = _BODY.unpack_from(payload)
    rest = payload[_BODY.size :]
    if family or len(rest) not in {0, 4}:
        return None
    return KitHolepunch(kind, (str(ipaddress.IPv4Address(host)), port), int.from_bytes(rest, "big"))


async def _puncher(case: Case, *, another_address: bool = False) -> tuple[RawPeer, int]:
    """Return a peer that offers the extension and its port, and the number that they gave it."""
    peer = await bare_peer(case, another_address=another_address)
    await peer.send(own_handshake({NAME: OWN_ID}, p=peer.port), "extended handshake")
    content = content_of(await receive_handshake(case, peer))
    return peer, number_of(content, NAME)


async def _rendezvous(case: Case, peer: RawPeer, number: int, to: NodeAddress) -> None:
    data = KitHolepunch(RENDEZVOUS, to).encode()
    await peer.send(extended(number, data), f"rendezvous with {to[0]}:{to[1]}")


async def _answer(case: Case, peer: RawPeer) -> KitHolepunch | None:
    frame = await peer.wait_for(lambda each: read_holepunch(each) is not None, case.limit_s)
    return None if frame is None else read_holepunch(frame)


def _judged(found: KitHolepunch | None, *wanted: int) -> Outcome:
    if found is None:
        return Outcome(SILENT)
    if found.kind != ERROR:
        return Outcome("no error", f"type {found.kind}")
    name = "the right error" if found.error in wanted else "another error"
    return Outcome(name, f"code {found.error}")


@rule("BEP55-HP-01", Level.SHOULD, 10, ANSWERS)
async def rendezvous_with_nobody(case: Case) -> Outcome:
    """Answer a rendezvous with a peer that you are not connected to with an error.

    "The relaying peer SHOULD reply with an appropriate error message"; "the NotConnected error code
    MAY be sent instead" of NoSuchPeer.
    """
    peer, number = await _puncher(case)
    await _rendezvous(case, peer, number, NOBODY)
    return _judged(await _answer(case, peer), NO_SUCH_PEER, NOT_CONNECTED)


@rule("BEP55-HP-02", Level.MUST, 10, {"the same": P, "another": F, SILENT: F})
async def error_has_the_endpoint(case: Case) -> Outcome:
    """Name the endpoint of the rendezvous in the error.

    "The addr and addr_type fields in the error message MUST be the same as in the rendezvous
    message."
    """
    peer, number = await _puncher(case)
    await _rendezvous(case, peer, number, NOBODY)
    found = await _answer(case, peer)
    if found is None:
        return Outcome(SILENT)
    return Outcome("the same" if found.endpoint == NOBODY else "another", str(found.endpoint))


@rule(
    "BEP55-HP-03",
    Level.STATED,
    10,
    {"both connect": P, "only one": F, "wrong endpoints": F, "an error": F, SILENT: F},
)
async def rendezvous_of_two_peers(case: Case) -> Outcome:
    """Name both peers of a rendezvous to each other, to connect.

    "If the relaying peer is connected to the receiving peer, it sends a connect message to both the
    initiating peer and the receiving peer, each containing the endpoint of the other."
    """
    first, number = await _puncher(case)
    second, _ = await _puncher(case, another_address=True)
    await _rendezvous(case, first, number, (second.address, second.port))
    found = [await _answer(case, each) for each in (first, second)]
    kinds = [each.kind for each in found if each is not None]
    if ERROR in kinds:
        return Outcome("an error", str(found[0]))
    if len(kinds) < 2:
        return Outcome("only one" if kinds else SILENT)
    wanted = [(each.address, each.port) for each in (second, first)]
    is_right = kinds == [CONNECT, CONNECT] and [each.endpoint for each in found if each] == wanted
    return Outcome("both connect" if is_right else "wrong endpoints", f"{found}")


@rule("BEP55-HP-04", Level.SHOULD, 10, ANSWERS)
async def rendezvous_with_a_peer_without_the_extension(case: Case) -> Outcome:
    """Answer a rendezvous with a peer that cannot punch holes with NoSupport.

    "The receiving peer does not support the holepunch extension."
    """
    first, number = await _puncher(case)
    other = await bare_peer(case, another_address=True)
    await other.send(own_handshake({}, p=other.port), "extended handshake without ut_holepunch")
    await receive_handshake(case, other)
    await _rendezvous(case, first, number, (other.address, other.port))
    return _judged(await _answer(case, first), NO_SUPPORT)


@rule("BEP55-HP-05", Level.SHOULD, 10, {**ANSWERS, "another error": N})
async def rendezvous_with_oneself(case: Case) -> Outcome:
    """Answer a rendezvous with your own endpoint with NoSelf.

    "The endpoint belongs to the relaying peer."
    """
    peer, number = await _puncher(case)
    await _rendezvous(case, peer, number, peer.remote)
    return _judged(await _answer(case, peer), NO_SELF)


@rule("BEP55-HP-06", Level.MUST, 5, {SILENT: P, "answers": F})
async def rendezvous_without_the_extension(case: Case) -> str:
    """Ignore messages of a peer that does not offer the extension.

    "If the initiating peer does not indicate support for the ut_holepunch extension in the
    extension protocol handshake, the relaying peer MUST ignore any incoming ut_holepunch messages
    silently."
    """
    peer, content = await extended_peer(case, {})
    await _rendezvous(case, peer, number_of(content, NAME), NOBODY)
    found = await peer.watch(case.limit_s)
    later = [
        each for each in found if each.number == FrameType.EXTENDED and each.payload[:1] > b"\0"
    ]
    return "answers" if later else SILENT


@rule("BEP55-HP-10", Level.ROBUST, 5, IGNORED_OR_CLOSED)
async def malformed_holepunch_messages(case: Case) -> str:
    """Ignore messages that are too short or too long, or of unknown types, or close.

    No BEP states it.
    """
    good = KitHolepunch(RENDEZVOUS, NOBODY).encode()
    found = WORKS
    for payload in (b"", good[:5], good + bytes(40), b"\x09" + good[1:], b"\0\x02" + good[2:]):
        peer, number = await _puncher(case, another_address=True)
        await peer.send(extended(number, payload), f"{len(payload)} bytes of ut_holepunch")
        reaction = await case.reaction(peer)
        found = found if reaction == WORKS else reaction
    return found
