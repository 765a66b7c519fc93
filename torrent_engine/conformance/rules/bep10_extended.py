"""Rules of the extension protocol (BEP 10) for a seed."""

import ipaddress
from typing import Final

import anyio

from torrent_engine.conformance.bencoding import Bencodable, bencode, parse, parse_dictionary
from torrent_engine.conformance.case import (
    CLOSED,
    IGNORED_OR_CLOSED,
    SILENT,
    WORKS,
    WRONG,
    Case,
)
from torrent_engine.conformance.errors import KitBencodeError, NotOfferedError, UndecidedError
from torrent_engine.conformance.extensions import (
    HANDSHAKE_ID,
    OWN_METADATA_ID,
    bare_peer,
    content_of,
    extended_peer,
    is_handshake,
    metadata_request,
    number_of,
    own_handshake,
    read_metadata,
    receive_handshake,
)
from torrent_engine.conformance.frames import (
    FAST,
    Frame,
    FrameType,
    bencoded_payload,
    extended,
    message,
)
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.verdicts import Level, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
SURVIVES: Final = {WORKS: P, CLOSED: F, WRONG: F}
MAX_ID: Final = 255
HIGH_ID: Final = 201
WAIT_S: Final = 5.0


@rule("BEP10-EX-01", Level.INFO, 10, {"offered": P})
async def extension_protocol_is_offered(case: Case) -> str:
    """Record whether the bit of the extension protocol is set."""
    await bare_peer(case)
    return "offered"


@rule("BEP10-EX-02", Level.SHOULD, 10, {"at once": P, "later": N, "never": F})
async def extended_handshake_comes_at_once(case: Case) -> str:
    """Send the extended handshake as the first or second message.

    BEP 10: "This message should be sent immediately after the standard bittorrent handshake to any
    peer that supports this extension protocol."
    """
    peer = await bare_peer(case)
    await peer.wait_for(is_handshake, case.limit_s)
    place = next((place for place, each in enumerate(peer.seen) if is_handshake(each)), None)
    if place is None:
        return "never"
    return "at once" if place < 2 else "later"


@rule("BEP10-EX-03", Level.STATED, 10, {"none": P, "an extended message": F})
async def no_extended_message_without_its_bit(case: Case) -> str:
    """Send no extended message to a peer that did not set the bit.

    BEP 10: the bit is there "to advertise to other clients that you support" it.
    """
    peer = await case.greet(FAST)
    await case.reaction(peer)
    found = any(each.number == FrameType.EXTENDED for each in peer.seen)
    return "an extended message" if found else "none"


async def _their_handshake(case: Case) -> Frame:
    return await receive_handshake(case, await bare_peer(case))


@rule(
    "BEP10-EX-04",
    Level.STATED,
    10,
    {"unique": P, "shared": F, "out of range": F, "not a dictionary": F},
)
async def extended_numbers_are_unique(case: Case) -> Outcome:
    """Give each extension a number of its own, from 1 to 255, in a bencoded dictionary.

    BEP 10: "The only requirement on these IDs is that no extension message share the same one."
    """
    try:
        content = parse_dictionary(bencoded_payload(await _their_handshake(case)))
    except KitBencodeError as error:
        return Outcome("not a dictionary", str(error))
    numbers = content.get(b"m", {})
    if not isinstance(numbers, dict):
        return Outcome("not a dictionary", "m")
    found = [each for each in numbers.values() if each != 0]
    if not all(isinstance(each, int) and 0 < each <= MAX_ID for each in found):
        return Outcome("out of range", repr(numbers))
    return Outcome(
        "unique" if len(set(map(repr, found))) == len(found) else "shared", repr(numbers)
    )


@rule("BEP10-EX-05", Level.STATED, 10, {"sorted": P, "unsorted": N, "not bencoded": F})
async def extended_handshake_has_sorted_keys(case: Case) -> str:
    """Sort the keys of the extended handshake.

    BEP 3: "Keys must be strings and appear in sorted order".
    """
    try:
        parsed = parse(bencoded_payload(await _their_handshake(case)))
    except KitBencodeError:
        return "not bencoded"
    return "sorted" if parsed.keys_sorted else "unsorted"


@rule("BEP10-EX-07", Level.STATED, 10, {"text": P, "no text": F})
async def name_and_version_are_text(case: Case) -> Outcome:
    """Send name and version as UTF-8.

    BEP 10, v: "Client name and version (as a utf-8 string)."
    """
    value = await _offered(case, b"v")
    try:
        text = value.decode() if isinstance(value, bytes) else ""
    except UnicodeDecodeError:
        text = ""
    return Outcome("text" if text else "no text", repr(value))


@rule("BEP10-EX-08", Level.STATED, 10, {"our address": P, "another address": F})
async def yourip_is_our_address(case: Case) -> Outcome:
    """Send the other side its address, as 4 or 16 bytes.

    BEP 10, yourip: "the compact representation of the ip address this peer sees you as".
    """
    peer = await bare_peer(case)
    content = content_of(await receive_handshake(case, peer))
    value = _present(content, b"yourip")
    own = ipaddress.ip_address(peer.address)
    name = "our address" if value in _spellings(own) else "another address"
    return Outcome(name, f"{value!r} for {peer.address}")


def _spellings(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> tuple[bytes, ...]:
    mapped = bytes(10) + b"\xff\xff" + address.packed
    return (address.packed, mapped) if address.version == 4 else (address.packed,)


@rule("BEP10-EX-09", Level.STATED, 10, {"positive": P, "not positive": F})
async def reqq_is_positive(case: Case) -> Outcome:
    """Announce a positive number of requests.

    BEP 10, reqq: "An integer, the number of outstanding request messages this client supports".
    """
    value = await _offered(case, b"reqq")
    is_positive = isinstance(value, int) and value > 0
    return Outcome("positive" if is_positive else "not positive", repr(value))


async def _offered(case: Case, key: bytes) -> Bencodable:
    return _present(content_of(await _their_handshake(case)), key)


def _present(content: dict[bytes, Bencodable], key: bytes) -> Bencodable:
    if key not in content:
        raise NotOfferedError(f"no {key.decode()}")
    return content[key]


@rule("BEP10-EX-10", Level.SHOULD, 5, SURVIVES)
async def unknown_names_are_ignored(case: Case) -> str:
    """Ignore names of extensions and keys that you do not know.

    BEP 10: "Any unknown names should be ignored by the client."
    """
    peer = await bare_peer(case)
    numbers: dict[bytes, Bencodable] = {b"xx_unknown%d" % each: each for each in range(1, 51)}
    content: dict[bytes, Bencodable] = {b"xx_key%d" % each: [each, b"x"] for each in range(50)}
    data = extended(HANDSHAKE_ID, bencode({b"m": numbers, **content}))
    await peer.send(data, "extended handshake with 50 unknown extensions and 50 unknown keys")
    return await case.reaction(peer)


@rule("BEP10-EX-11", Level.CONV, 5, {WORKS: P, CLOSED: N, WRONG: F})
async def unknown_extended_number(case: Case) -> str:
    """Ignore an extended message with a number that you never gave.

    No BEP states what follows.
    """
    peer, content = await extended_peer(case, {})
    numbers = content.get(b"m", {})
    used = numbers.values() if isinstance(numbers, dict) else ()
    number = next(each for each in range(99, MAX_ID) if each not in used)
    await peer.send(extended(number, b"de"), f"extended message {number}")
    return await case.reaction(peer)


@rule("BEP10-EX-12", Level.SHOULD, 5, SURVIVES)
async def second_extended_handshake(case: Case) -> str:
    """Take a second extended handshake.

    BEP 10: "It is valid to send the handshake message more than once during the lifetime of a
    connection, the sending client should not be disconnected."
    """
    peer, _ = await extended_peer(case, {b"ut_metadata": OWN_METADATA_ID})
    await peer.send(own_handshake({b"ut_metadata": OWN_METADATA_ID}), "extended handshake again")
    return await case.reaction(peer)


@rule("BEP10-EX-13", Level.STATED, 5, {"nothing": P, CLOSED: N, "a message": F})
async def number_zero_disables(case: Case) -> str:
    """Send no message of an extension that the other side has disabled.

    BEP 10: "Setting an extension number to zero means that the extension is not
    supported/disabled."
    """
    peer, content = await extended_peer(case, {b"ut_metadata": 0})
    number = number_of(content, b"ut_metadata")
    await peer.send(metadata_request(number, 0), "metadata request 0")
    await peer.watch(WAIT_S * case.patience)
    if any(b"msg_type" in each.payload[:200] for each in peer.seen if _is_extended(each)):
        return "a message"
    return CLOSED if peer.is_closed else "nothing"


def _is_extended(frame: Frame) -> bool:
    return frame.number == FrameType.EXTENDED


@rule("BEP10-EX-15", Level.STATED, 10, {"our number": P, "another number": F})
async def answers_come_with_our_number(case: Case) -> Outcome:
    """Send extended messages with the number that the other side gave.

    BEP 10: "The extension message IDs are the IDs used to send the extension messages to the peer
    sending this handshake."
    """
    peer, content = await extended_peer(case, {b"ut_metadata": HIGH_ID})
    number = number_of(content, b"ut_metadata")
    await peer.send(metadata_request(number, 0), "metadata request 0")
    frame = await peer.wait_for(_is_metadata, case.limit_s)
    if frame is None:
        raise UndecidedError("no answer to a request for metadata")
    name = "our number" if frame.payload[0] == HIGH_ID else "another number"
    return Outcome(name, f"{frame.payload[0]} for {HIGH_ID}")


def _is_metadata(frame: Frame) -> bool:
    return _is_extended(frame) and b"msg_type" in frame.payload[:200]


@rule("BEP10-EX-16", Level.ROBUST, 5, IGNORED_OR_CLOSED)
async def handshake_that_is_no_dictionary(case: Case) -> str:
    """Close or ignore an extended handshake of noise, a number or a list.

    BEP 10: "The payload of the handshake message is a bencoded dictionary."
    """
    reactions = []
    for payload in (b"\xff" * 40, b"i42e", b"l1:ae"):
        peer = await bare_peer(case, another_address=True)
        await peer.send(extended(HANDSHAKE_ID, payload), f"extended handshake {payload!r}")
        reactions.append(await case.reaction(peer))
        await peer.close()
    return _worst(reactions)


def _worst(reactions: list[str]) -> str:
    return next(each for each in (WRONG, SILENT, CLOSED, WORKS) if each in reactions)


@rule("BEP10-EX-17", Level.ROBUST, 5, IGNORED_OR_CLOSED)
async def extended_message_without_a_number(case: Case) -> str:
    """Close or ignore an extended message that has not even a number.

    BEP 10: "At the start of the payload of the message, is a single byte message identifier."
    """
    peer = await bare_peer(case)
    await peer.send(message(FrameType.EXTENDED), "extended message without a number")
    return await case.reaction(peer)


@rule("BEP10-EX-18", Level.ROBUST, 5, IGNORED_OR_CLOSED)
async def extended_message_without_the_bit(case: Case) -> str:
    """Close or ignore an extended message of a peer that did not set the bit.

    No BEP states what follows.
    """
    peer = await case.greet()
    await peer.send(own_handshake({}), "extended handshake")
    return await case.reaction(peer)


@rule("BEP10-EX-19", Level.ROBUST, 10, IGNORED_OR_CLOSED, is_alone=True, is_destructive=True)
async def handshake_that_is_huge_or_deep(case: Case) -> str:
    """Survive an extended handshake of a megabyte, and one of ten thousand nested lists.

    No BEP states it.
    """
    reactions = []
    deep = b"d1:m" + b"l" * 10_000 + b"e" * 10_000 + b"e"
    for payload in (bencode({b"v": bytes(1024 * 1024)}), deep):
        peer = await bare_peer(case, another_address=True)
        await peer.send(extended(HANDSHAKE_ID, payload), f"handshake of {len(payload)} bytes")
        reactions.append(await case.reaction(peer))
        await peer.close()
    return _worst(reactions)


@rule("BEP10-EX-20", Level.ROBUST, 5, {WORKS: P, CLOSED: N, WRONG: F})
async def numbers_that_are_none(case: Case) -> str:
    """Ignore extension numbers that are negative, too large, or no numbers.

    BEP 10: an extended message has "a single byte message identifier"; what follows otherwise is
    not stated.
    """
    peer = await bare_peer(case)
    values: dict[bytes, Bencodable] = {
        b"ut_metadata": -1,
        b"ut_pex": 256,
        b"lt_donthave": b"7",
        b"ut_holepunch": 2**62,
    }
    await peer.send(own_handshake(values), f"extended handshake {values}")
    return await case.reaction(peer)


@rule("BEP10-EX-23", Level.ROBUST, 15, {"taken": P, "not taken": F, CLOSED: F})
async def late_extended_handshake(case: Case) -> str:
    """Take an extended handshake that comes after other messages.

    BEP 10: "It is valid to send the handshake message more than once", so also late.
    """
    peer = await bare_peer(case)
    number = number_of(content_of(await receive_handshake(case, peer)), b"ut_metadata")
    await case.reaction(peer)
    await anyio.sleep(WAIT_S)
    await peer.send(own_handshake({b"ut_metadata": OWN_METADATA_ID}), "extended handshake")
    await peer.send(metadata_request(number, 0), "metadata request 0")
    frame = await peer.wait_for(
        lambda each: read_metadata(each, OWN_METADATA_ID) is not None, case.limit_s
    )
    if frame is None:
        return CLOSED if peer.is_closed else "not taken"
    return "taken"
