"""Rules of peer exchange (BEP 11) for a seed: what it tells a peer about the others."""

import ipaddress
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import anyio

from torrent_engine.conformance.bencoding import Bencodable, bencode, parse_dictionary
from torrent_engine.conformance.case import IGNORED_OR_CLOSED, Case
from torrent_engine.conformance.errors import KitBencodeError, NotOfferedError, UndecidedError
from torrent_engine.conformance.extensions import (
    bare_peer,
    content_of,
    number_of,
    own_handshake,
    receive_handshake,
)
from torrent_engine.conformance.frames import (
    KEEPALIVE,
    Frame,
    FrameType,
    bencoded_payload,
    extended,
)
from torrent_engine.conformance.raw_peer import RawPeer
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.verdicts import Level, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
PEX: Final = b"ut_pex"
OWN_PEX_ID: Final = 7
FIRST_S: Final = 120.0
MINUTE_S: Final = 60.0
TOLERANCE_S: Final = 2.0
GRACE_S: Final = 5.0
ALIVE_S: Final = 30.0
STEP_S: Final = 40.0
MOST: Final = 50
CONTACT_BYTES: Final = {b"": 6, b"6": 18}
LISTS: Final = (b"added", b"added6", b"dropped", b"dropped6")
SEED_FLAG, HOLEPUNCH_FLAG, OUTGOING_FLAG = 0x02, 0x08, 0x10


@dataclass(frozen=True, slots=True)
class KitPexMessage:
    """One message of ut_pex."""

    at: float
    content: dict[bytes, Bencodable]

    def text(self, key: bytes) -> bytes:
        """Return a string; empty if it is not there."""
        found = self.content.get(key, b"")
        return found if isinstance(found, bytes) else b""

    def contacts(self, key: bytes) -> list[bytes]:
        """Return the contacts of a list."""
        size = CONTACT_BYTES[b"6" if key.endswith(b"6") else b""]
        blob = self.text(key)
        return [blob[start : start + size] for start in range(0, len(blob), size)]

    @property
    def flags(self) -> dict[bytes, int]:
        """The flags of each contact of IPv4 that was added."""
        return dict(zip(self.contacts(b"added"), self.text(b"added.f"), strict=False))

    @property
    def added(self) -> int:
        """How many were added."""
        return len(self.contacts(b"added")) + len(self.contacts(b"added6"))


def is_pex(frame: Frame) -> bool:
    """Return whether a message has the number that the kit gave ut_pex."""
    return frame.number == FrameType.EXTENDED and frame.payload[:1] == bytes([OWN_PEX_ID])


class PexObserver:
    """A peer that is told about others, and what it was told."""

    def __init__(self, case: Case, peer: RawPeer, number: int) -> None:
        self._case = case
        self.peer = peer
        self.number = number
        """What they want to see in our messages."""
        self.told: list[KitPexMessage] = []

    @classmethod
    async def of(cls, case: Case) -> "PexObserver":
        """Connect one. Raises NotOfferedError, UndecidedError."""
        peer, number = await pex_peer(case)
        return cls(case, peer, number)

    async def next(self, within_s: float) -> KitPexMessage | None:
        """Return the next message; None after the time. Raises UndecidedError if it is closed."""
        end, frame = anyio.current_time() + within_s * self._case.patience, None
        while frame is None and (left_s := end - anyio.current_time()) > 0:
            if self.peer.is_closed:
                raise UndecidedError("the connection was closed")
            await self.peer.send(KEEPALIVE, "keepalive")
            frame = await self.peer.wait_for(is_pex, min(ALIVE_S, left_s))
        if frame is None:
            return None
        try:
            found = KitPexMessage(anyio.current_time(), parse_dictionary(bencoded_payload(frame)))
        except KitBencodeError as error:
            raise UndecidedError(f"a message of ut_pex: {error}") from error
        self.told.append(found)
        return found

    async def watch(self, for_s: float, step_s: float = STEP_S) -> list[KitPexMessage]:
        """Return all messages of some time; another peer joins after each ``step_s`` without one.

        Raises NotOfferedError if none came.
        """
        end = anyio.current_time() + for_s * self._case.patience
        await joined(self._case)
        while (left_s := end - anyio.current_time()) > 0:
            if await self.next(min(step_s, left_s)) is None:
                await joined(self._case)
        if not self.told:
            raise self.unseen()
        return self.told

    def unseen(self, what: str = "no message came") -> UndecidedError | NotOfferedError:
        """Return why nothing can be said: who sends no message at all offers nothing to judge."""
        if self.told:
            return UndecidedError(what)
        return NotOfferedError("it offers ut_pex, and names nobody")

    async def told_of(self, contact: bytes, within_s: float, key: bytes = b"added") -> bool:
        """Wait for a message with a contact; return whether it came."""
        end = anyio.current_time() + within_s * self._case.patience
        while (left_s := end - anyio.current_time()) > 0:
            found = await self.next(left_s)
            if found is not None and contact in found.contacts(key):
                return True
        return False


@dataclass(frozen=True, slots=True)
class JoinedPeer:
    """Another peer of the swarm, and the port where it says that it listens."""

    peer: RawPeer
    port: int

    @property
    def contact(self) -> bytes:
        """Where others are to connect."""
        return ipaddress.ip_address(self.peer.address).packed + self.port.to_bytes(2, "big")


async def pex_peer(case: Case) -> tuple[RawPeer, int]:
    """Connect a peer that offers ut_pex; return it and the number of the other side."""
    peer = await bare_peer(case, another_address=True)
    await peer.send(own_handshake({PEX: OWN_PEX_ID}, p=6881), "extended handshake with ut_pex")
    return peer, number_of(content_of(await receive_handshake(case, peer)), PEX)


async def joined(case: Case, port: int = 7001, **numbers: Bencodable) -> JoinedPeer:
    """Connect another peer, which listens at a port."""
    peer = await bare_peer(case, another_address=True)
    named = {key.encode(): value for key, value in numbers.items()}
    await peer.send(own_handshake(named, p=port), f"extended handshake, listens at {port}")
    return JoinedPeer(peer, port)


@rule("BEP11-PX-01", Level.STATED, 190, {"in time": P, "later": N, "never": F})
async def others_are_named(case: Case) -> Outcome:
    """Name the others that you are connected with to a peer that offers ut_pex.

    BEP 11: it "provides an alternative peer discovery mechanism for swarms"; that others are named
    within two minutes is stated nowhere.
    """
    observer, start = await PexObserver.of(case), anyio.current_time()
    others = [await joined(case, 7001), await joined(case, 7002)]
    wanted = {each.contact for each in others}
    while wanted and anyio.current_time() - start < case.limit_s:
        found = await observer.next(case.limit_s)
        if found is None:
            break
        wanted -= set(found.contacts(b"added"))
    seconds = anyio.current_time() - start
    if wanted:
        return Outcome("never", f"{len(wanted)} of 2 are missing")
    return Outcome("in time" if seconds <= FIRST_S * case.patience else "later", f"{seconds:.0f} s")


@rule("BEP11-PX-02", Level.MUST, 200, {"a minute apart": P, "more often": F})
async def time_between_messages(case: Case) -> Outcome:
    """Send at most one message a minute.

    BEP 11: "Clients must batch updates to send no more than 1 PEX message per minute." The time
    between the first two is not counted.
    """
    told = await (await PexObserver.of(case)).watch(195.0, 15.0)
    gaps = [later.at - each.at for each, later in itertools.pairwise(told)][1:]
    if not gaps:
        raise UndecidedError(f"{len(told)} messages came")
    is_right = min(gaps) >= MINUTE_S - TOLERANCE_S
    return Outcome("a minute apart" if is_right else "more often", f"{min(gaps):.1f} s")


def _wrong_lengths(told: KitPexMessage) -> Iterator[str]:
    for key in LISTS:
        size = CONTACT_BYTES[b"6" if key.endswith(b"6") else b""]
        if len(told.text(key)) % size:
            yield f"{key.decode()} of {len(told.text(key))} bytes"
    for key in (b"added", b"added6"):
        flags = told.content.get(key + b".f")
        if isinstance(flags, bytes) and flags and len(flags) != len(told.contacts(key)):
            yield f"{len(flags)} flags for {len(told.contacts(key))}"


@rule("BEP11-PX-03", Level.MUST, 130, {"right": P, "wrong": F})
async def lengths_of_lists(case: Case) -> Outcome:
    """Send lists of whole contacts, with a byte of flags for each.

    BEP 11: "one or more contacts in IPv4 compact format"; "bit-flags, 1 byte per added IPv4 peer".
    """
    told = await (await PexObserver.of(case)).watch(125.0)
    wrong = [text for each in told for text in _wrong_lengths(each)]
    return Outcome("wrong" if wrong else "right", ", ".join(wrong) or f"{len(told)} messages")


@rule("BEP11-PX-04", Level.MUST, 130, {"something": P, "empty lists": N, "no list": F})
async def messages_say_something(case: Case) -> str:
    """Send messages that have at least one of the lists.

    BEP 11: "Messages must contain at least one of the following fields: added, added6, dropped,
    dropped6."
    """
    told = await (await PexObserver.of(case)).watch(125.0)
    if any(not any(key in each.content for key in LISTS) for each in told):
        return "no list"
    is_empty = any(not any(each.text(key) for key in LISTS) for each in told)
    return "empty lists" if is_empty else "something"


@rule("BEP11-PX-05", Level.MUST, 130, {"once": P, "twice": F, "added and dropped": F})
async def contacts_come_once(case: Case) -> str:
    """Name each contact once in a message.

    BEP 11: "Added or removed contacts must not contain duplicates."; "An added contact must not be
    dropped in the same message."
    """
    observer = await PexObserver.of(case)
    for _ in range(3):
        leaving = await joined(case, 7009)
        await leaving.peer.close()
    for told in await observer.watch(125.0):
        lists = [told.contacts(key) for key in LISTS]
        if any(len(each) != len(set(each)) for each in lists):
            return "twice"
        if set(lists[0]) & set(lists[2]) or set(lists[1]) & set(lists[3]):
            return "added and dropped"
    return "once"


@rule("BEP11-PX-06", Level.SHOULD, 250, {"50 or fewer": P, "more": F})
async def many_contacts(case: Case) -> Outcome:
    """Add at most 50 contacts in a message, the first one apart.

    BEP 11: "Except for the initial PEX message the combined amount of added v4/v6 contacts should
    not exceed 50 entries."
    """
    observer = await PexObserver.of(case)
    await joined(case)
    if await observer.next(FIRST_S) is None:
        raise observer.unseen()
    for number in range(60):
        try:
            await joined(case, 7100 + number)
        except (UndecidedError, NotOfferedError):
            break  # it has as many connections as it wants
    end = anyio.current_time() + 120.0 * case.patience
    most = 0
    while (left_s := end - anyio.current_time()) > 0:
        found = await observer.next(left_s)
        most = max(most, found.added if found is not None else 0)
    if not most:
        raise UndecidedError("no later message came")
    return Outcome("50 or fewer" if most <= MOST else "more", f"{most} contacts")


@rule("BEP11-PX-07", Level.MUST, 320, {"dropped": P, "never": F})
async def peer_that_left(case: Case) -> str:
    """List a peer as dropped that left and that you named before.

    BEP 11: "Once a peer has been added a client must ensure to send the corresponding dropped event
    when appropriate."
    """
    observer, other = await PexObserver.of(case), await joined(case)
    if not await observer.told_of(other.contact, FIRST_S):
        raise observer.unseen("the peer was not named")
    await other.peer.close()
    is_told = await observer.told_of(other.contact, 190.0, b"dropped")
    return "dropped" if is_told else "never"


@rule("BEP11-PX-08", Level.MUST, 130, {"not named": P, "named": F})
async def peer_without_a_handshake(case: Case) -> str:
    """Name no peer before its handshake.

    BEP 11: "A peer must only be included in an added field once a connection is successfully
    established".
    """
    observer = await PexObserver.of(case)
    stranger = await case.connect(another_address=True)
    told = await observer.watch(125.0)
    host = ipaddress.ip_address(stranger.address).packed
    named = [each for message in told for each in message.contacts(b"added") if each[:4] == host]
    return "named" if named else "not named"


@rule("BEP11-PX-09", Level.STATED, 130, {"right": P, "not all set": N, "wrong": F})
async def flags_of_contacts(case: Case) -> Outcome:
    """Set the flags of a contact that belong to it, and no others.

    BEP 11: 0x02 is "seed/upload_only", 0x08 "peer indicated ut_holepunch support", 0x10 "outgoing
    connection, peer is reachable".
    """
    observer = await PexObserver.of(case)
    plain, puncher = await joined(case, 7001), await joined(case, 7002, ut_holepunch=4)
    flags: dict[bytes, int] = {}
    while not {plain.contact, puncher.contact} <= set(flags):
        found = await observer.next(FIRST_S)
        if found is None:
            raise observer.unseen("the peers were not named")
        flags |= found.flags or dict.fromkeys(found.contacts(b"added"), 0)
    both = flags[plain.contact] | flags[puncher.contact]
    detail = f"{flags[plain.contact]:#x}, {flags[puncher.contact]:#x} with ut_holepunch"
    if both & (SEED_FLAG | OUTGOING_FLAG) or flags[plain.contact] & HOLEPUNCH_FLAG:
        return Outcome("wrong", detail)
    is_set = bool(flags[puncher.contact] & HOLEPUNCH_FLAG)
    return Outcome("right" if is_set else "not all set", detail)


@rule("BEP11-PX-10", Level.STATED, 130, {"where it listens": P, "another port": F})
async def port_of_a_contact(case: Case) -> Outcome:
    """Name the port where a peer listens, not the one that it connected from.

    BEP 10: "p" is the "Local TCP listen port. Allows each side to learn about the TCP port number
    of the other side."
    """
    observer, other = await PexObserver.of(case), await joined(case)
    host = other.contact[:4]
    while (found := await observer.next(FIRST_S)) is not None:
        for each in found.contacts(b"added"):
            if each[:4] == host:
                name = "where it listens" if each == other.contact else "another port"
                return Outcome(name, str(int.from_bytes(each[4:], "big")))
    raise observer.unseen("the peer was not named")


ODD: Final[tuple[bytes, ...]] = (
    b"",
    b"le",
    b"d",
    bencode({b"added": b"odd", b"added.f": b"\xff" * 50}),
    bencode({b"added": 7, b"dropped": [b"x"], b"added6": {}}),
    bencode({b"added6": bytes(17), b"dropped": bytes(5)}),
)


@rule("BEP11-PX-11", Level.ROBUST, 10, IGNORED_OR_CLOSED)
async def lists_that_are_none(case: Case) -> str:
    """Go on, or close, after messages of ut_pex with odd lengths, or that are no dictionaries.

    No BEP states it.
    """
    observer = await PexObserver.of(case)
    for payload in ODD:
        await observer.peer.send(extended(observer.number, payload), f"ut_pex {payload[:40]!r}")
    return await case.reaction(observer.peer)


@rule("BEP11-PX-15", Level.STATED, 130, {"no message": P, "a message": F})
async def peer_without_peer_exchange(case: Case) -> Outcome:
    """Send a peer no message of an extension that it does not offer.

    BEP 10: "The extension message IDs are the IDs used to send the extension messages to the peer
    sending this handshake."
    """
    observer = await PexObserver.of(case)
    silent = await joined(case)
    if await observer.next(FIRST_S) is None:
        raise observer.unseen()
    frames = await silent.peer.watch(GRACE_S * case.patience)
    told = [
        each
        for each in [*silent.peer.seen, *frames]
        if each.number == FrameType.EXTENDED and each.payload[:1] != b"\0"
    ]
    return Outcome("a message" if told else "no message", f"{len(told)} messages")
