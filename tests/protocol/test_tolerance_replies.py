"""Replies and messages that are not quite right: each row of docs/tolerance-replies.md."""

from collections.abc import Callable
from pathlib import Path
from struct import pack
from typing import Any, Final

import pytest

from tests.support.peer_pair import feed, open_connection
from torrent_engine.base.errors import KrpcError, RemoteProtocolError
from torrent_engine.base.ids import InfoHash, NodeId, PeerAddress, PieceIndex
from torrent_engine.codec import bencode
from torrent_engine.protocol.dht.events import PeersFound
from torrent_engine.protocol.dht.krpc import (
    Bencoded,
    ErrorReply,
    NodeInfo,
    Query,
    Response,
    decode_message,
    decode_nodes,
)
from torrent_engine.protocol.dht.lookup_tasks import GetPeers
from torrent_engine.protocol.tracker import http_announce, udp_announce
from torrent_engine.protocol.tracker.announce import AnnounceResponse, ScrapeCounts
from torrent_engine.protocol.wire.exchange import PexContact, PexFlag, PexMessage, decode_pex
from torrent_engine.protocol.wire.extension import (
    ExtensionHandshake,
    decode_extension_handshake,
)
from torrent_engine.protocol.wire.messages import PeerLost, encode_extended
from torrent_engine.protocol.wire.metadata import (
    MetadataData,
    MetadataReject,
    MetadataRequest,
    decode_metadata_message,
)

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "tolerance-replies.md"
REFUSED: Final = object()
"""What is expected of a message that is refused."""
HASH: Final = InfoHash(b"h" * 20)
OTHER: Final = InfoHash(b"o" * 20)
ID: Final = NodeId(b"n" * 20)
ONE, TWO = PeerAddress("192.0.2.1", 80), PeerAddress("192.0.2.2", 81)
SIX: Final = PeerAddress("2001:db8::1", 80)
PACKED: Final = bytes((192, 0, 2, 1, 0, 80))
PACKED_TWO: Final = bytes((192, 0, 2, 2, 0, 81))
PACKED_SIX: Final = bytes.fromhex("20010db8000000000000000000000001") + b"\0\x50"
NODE: Final = ID + PACKED
ALL_BITS: Final = b"i18446744073709551615e"
ENTRY: Final = {"ip": "192.0.2.1", "port": 80}
Rows = dict[str, tuple[Any, Any]]


def encode(value: Any) -> bytes:
    return bencode.encode(value)


def answer(*peers: PeerAddress, **changes: Any) -> AnnounceResponse:
    return AnnounceResponse(**{"interval_s": 1800.0, "peers": peers, **changes})


def announced(**fields: Any) -> bytes:
    named = {name.replace("_", " "): value for name, value in fields.items()}
    return encode({"interval": 1800, **named})


ANNOUNCES: Rows = {
    "a line feed behind it": (announced(peers=PACKED) + b"\n", answer(ONE)),
    "an HTML comment behind it": (announced(peers=PACKED) + b"<!-- 1 ms -->", answer(ONE)),
    "keys unsorted": (b"d5:peers6:%b8:intervali1800ee" % PACKED, answer(ONE)),
    "peers twice": (
        b"d8:intervali1800e5:peers6:%b5:peers6:%be" % (PACKED, PACKED_TWO),
        answer(ONE),
    ),
    "interval with a leading zero": (b"d8:intervali01800e5:peers6:%be" % PACKED, answer(ONE)),
    "a string length with a leading zero": (
        b"d8:intervali1800e5:peers06:%be" % PACKED,
        answer(ONE),
    ),
    "a bad entry among good ones": (
        announced(peers=[ENTRY, 7, {"ip": "192.0.2.2", "port": 81}]),
        answer(ONE, TWO),
    ),
    "an entry without ip": (announced(peers=[{"port": 1}, ENTRY]), answer(ONE)),
    "an entry without port": (announced(peers=[{"ip": "192.0.2.9"}, ENTRY]), answer(ONE)),
    "an entry whose port is a string": (
        announced(peers=[{"ip": "192.0.2.9", "port": "80"}, ENTRY]),
        answer(ONE),
    ),
    "an entry whose ip is an integer": (
        announced(peers=[{"ip": 5, "port": 80}, ENTRY]),
        answer(ONE),
    ),
    "an entry with port 70000": (
        announced(peers=[{"ip": "192.0.2.9", "port": 70_000}, ENTRY]),
        answer(ONE),
    ),
    "an entry with port -1": (
        announced(peers=[{"ip": "192.0.2.9", "port": -1}, ENTRY]),
        answer(ONE),
    ),
    "an entry with a peer id of 3 bytes": (
        announced(peers=[{**ENTRY, "peer id": "abc"}]),
        answer(ONE),
    ),
    "entries none of which is right": (announced(peers=[1, {"port": 2}]), REFUSED),
    "the same, with good peers6": (announced(peers=[1], peers6=PACKED_SIX), answer(SIX)),
    "compact peers cut in the last": (announced(peers=PACKED + b"\1\2\3"), answer(ONE)),
    "compact peers6 cut in the last": (announced(peers6=PACKED_SIX + b"\1"), answer(SIX)),
    "peers an integer": (announced(peers=5, peers6=PACKED_SIX), answer(SIX)),
    "peers a dictionary": (announced(peers={}), answer()),
    "no peers": (announced(), answer()),
    "peers6 an empty list": (announced(peers=PACKED, peers6=[]), answer(ONE)),
    "peers6 a list of entries": (
        announced(peers=PACKED, peers6=[{"ip": "2001:db8::1", "port": 80}]),
        answer(SIX, ONE),
    ),
    "peers6 an integer": (announced(peers=PACKED, peers6=1), answer(ONE)),
    "counters of 2^64-1": (
        b"d8:complete%b10:downloaded%b10:incomplete%b8:intervali1800e5:peers6:%be"
        % (ALL_BITS, ALL_BITS, ALL_BITS, PACKED),
        answer(ONE),
    ),
    "counters of -1": (announced(complete=-1, incomplete=-1, peers=PACKED), answer(ONE)),
    "a counter that is a string": (
        announced(complete="5", incomplete=6, peers=PACKED),
        answer(ONE, leeches=6),
    ),
    "interval of 2^64-1": (
        b"d8:interval%b5:peers6:%be" % (ALL_BITS, PACKED),
        answer(ONE, interval_s=None),
    ),
    "interval of 0": (encode({"interval": 0, "peers": PACKED}), answer(ONE, interval_s=None)),
    "interval of -1": (encode({"interval": -1, "peers": PACKED}), answer(ONE, interval_s=None)),
    "interval a string": (
        encode({"interval": "1800", "peers": PACKED}),
        answer(ONE, interval_s=None),
    ),
    "no interval": (encode({"peers": PACKED}), answer(ONE, interval_s=None)),
    "a warning that is not UTF-8": (
        announced(warning_message=b"\xe9t\xe9", peers=PACKED),
        answer(ONE, warning="\ufffdt\ufffd"),
    ),
    "a warning that is an integer": (announced(warning_message=1, peers=PACKED), answer(ONE)),
    "a tracker id that is an integer": (announced(tracker_id=1, peers=PACKED), answer(ONE)),
    "an external ip of 5 bytes": (announced(external_ip=b"12345", peers=PACKED), answer(ONE)),
    "a failure reason that is an integer": (
        announced(failure_reason=0, peers=PACKED),
        answer(ONE),
    ),
    "its last byte missing": (announced(peers=PACKED)[:-1], REFUSED),
    "a line feed in front of it": (b"\n" + announced(peers=PACKED), REFUSED),
    "an HTML page": (b"<html>", REFUSED),
}


def counts(seeds: int | None, leeches: int | None = 2) -> dict[InfoHash, ScrapeCounts]:
    return {HASH: ScrapeCounts(seeds, leeches, 3)}


def scraped(**changes: Any) -> bytes:
    return encode({"files": {HASH: {"complete": 1, "incomplete": 2, "downloaded": 3, **changes}}})


SCRAPES: Rows = {
    "a line feed behind it": (scraped() + b"\n", counts(1)),
    "a counter of 2^64-1": (
        b"d5:filesd20:%bd8:complete%b10:downloadedi3e10:incompletei2eeee" % (HASH, ALL_BITS),
        counts(None),
    ),
    "a counter of -1": (scraped(complete=-1), counts(None)),
    "a counter that is a string": (scraped(complete="1"), counts(None)),
    "flags and unknown keys": (scraped(name=5, flags=[]), counts(1)),
    "a torrent that is no dictionary": (
        encode({"files": {HASH: {"complete": 1, "incomplete": 2, "downloaded": 3}, OTHER: 5}}),
        counts(1),
    ),
    "files a list": (encode({"files": []}), REFUSED),
    "no files": (b"de", REFUSED),
}
UDP_ANNOUNCE: Final = pack(">IIIII", 1, 7, 1800, 2, 1)
UDP_SCRAPE: Final = pack(">II", 2, 7) + pack(">III", 1, 3, 2)
UDP_ANNOUNCES: Rows = {
    "3 bytes behind the peers": (
        UDP_ANNOUNCE + PACKED + b"abc",
        answer(ONE, seeds=1, leeches=2),
    ),
    "counters and interval of -1": (
        pack(">IIiii", 1, 7, -1, -1, -1) + PACKED,
        answer(ONE, interval_s=None),
    ),
    "19 bytes": (UDP_ANNOUNCE[:19], REFUSED),
}
UDP_SCRAPES: Rows = {
    "5 bytes behind it": (UDP_SCRAPE + b"abcde", counts(1)),
    "one torrent of two": (UDP_SCRAPE, counts(1)),
    "counters of -1": (
        pack(">IIiii", 2, 7, -1, -1, -1),
        {HASH: ScrapeCounts(None, None, None)},
    ),
    "no torrent": (UDP_SCRAPE[:8], REFUSED),
}
UDP_CONNECTS: Rows = {
    "2 bytes behind it": (pack(">IIQ", 0, 7, 99) + b"ab", 99),
    "15 bytes": (bytes(15), REFUSED),
}

HANDSHAKE: Final = ExtensionHandshake({"ut_pex": 1}, "x", 80)
HANDSHAKES: Rows = {
    "a tail": (b"d1:md6:ut_pexi1ee1:pi80e1:v1:xetail", HANDSHAKE),
    "a key twice": (b"d1:md6:ut_pexi1ee1:pi80e1:pi81e1:v1:xe", HANDSHAKE),
    "an extension twice": (b"d1:md6:ut_pexi1e6:ut_pexi2ee1:pi80e1:v1:xe", HANDSHAKE),
    "a leading zero": (b"d1:md6:ut_pexi01ee1:pi080e1:v1:xe", HANDSHAKE),
    "reqq of 2^64-1": (b"d1:md6:ut_pexi1ee1:pi80e4:reqq%b1:v1:xe" % ALL_BITS, HANDSHAKE),
    "metadata_size of 2^64-1": (
        b"d1:md6:ut_pexi1ee13:metadata_size%b1:pi80e1:v1:xe" % ALL_BITS,
        HANDSHAKE,
    ),
    "m an integer": (b"d1:mi1e1:v1:xe", ExtensionHandshake(client="x")),
    "m with a string among its ids": (
        b"d1:md6:ut_pexi1e2:xx1:1e1:pi80e1:v1:xe",
        HANDSHAKE,
    ),
    "m with an id of 256": (b"d1:md6:ut_pexi1e2:xxi256ee1:pi80e1:v1:xe", HANDSHAKE),
    "v an integer": (b"d1:vi1ee", ExtensionHandshake()),
    "v that is not UTF-8": (b"d1:v1:\xffe", ExtensionHandshake(client="\ufffd")),
    "p a string": (b"d1:p2:801:v1:xe", ExtensionHandshake(client="x")),
    "p of 65536": (b"d1:pi65536e1:v1:xe", ExtensionHandshake(client="x")),
    "yourip of 5 bytes": (b"d1:v1:x6:yourip5:12345e", ExtensionHandshake(client="x")),
    "upload_only of 2": (b"d11:upload_onlyi2ee", ExtensionHandshake(is_upload_only=True)),
    "upload_only a string": (b"d11:upload_only1:1e", ExtensionHandshake()),
    "no bencoding": (b"junk", REFUSED),
    "a list": (b"le", REFUSED),
    "cut": (b"d1:v1:x", REFUSED),
}
METADATA: Rows = {
    "a request with a tail": (b"d8:msg_typei0e5:piecei1eetail", MetadataRequest(1)),
    "a reject with a tail": (b"d8:msg_typei2e5:piecei1eetail", MetadataReject(1)),
    "piece twice": (b"d8:msg_typei0e5:piecei1e5:piecei2ee", MetadataRequest(1)),
    "a piece with a leading zero": (
        b"d8:msg_typei1e5:piecei01e10:total_sizei9eexyz",
        MetadataData(1, 9, b"xyz"),
    ),
    "a piece of 2^64-1": (b"d8:msg_typei0e5:piece%be" % ALL_BITS, MetadataRequest(2**63 - 1)),
    "total_size a string": (
        b"d8:msg_typei1e5:piecei0e10:total_size1:9exyz",
        MetadataData(0, None, b"xyz"),
    ),
    "total_size of 0": (
        b"d8:msg_typei1e5:piecei0e10:total_sizei0eexyz",
        MetadataData(0, None, b"xyz"),
    ),
    "a msg_type of 7": (b"d8:msg_typei7e5:piecei0ee", None),
    "piece a string": (b"d8:msg_typei0e5:piece1:0e", REFUSED),
    "no msg_type": (b"d5:piecei0ee", REFUSED),
    "a piece of 16385 bytes": (b"d8:msg_typei1e5:piecei0ee" + bytes(16_385), REFUSED),
    "no bencoding": (b"junk", REFUSED),
}
CONTACT: Final = PexContact(ONE, PexFlag.NONE)
PEX: Rows = {
    "a tail": (encode({"added": PACKED}) + b"\n", PexMessage((CONTACT,))),
    "added twice": (b"d5:added6:%b5:added6:%be" % (PACKED, PACKED_TWO), PexMessage((CONTACT,))),
    "added cut in the last": (encode({"added": PACKED + b"1"}), PexMessage((CONTACT,))),
    "added a list": (
        encode({"added": [PACKED], "added6": PACKED_SIX}),
        PexMessage((PexContact(SIX),)),
    ),
    "added.f too short": (
        encode({"added": PACKED + PACKED_TWO, "added.f": b"\2"}),
        PexMessage((PexContact(ONE, PexFlag.UPLOAD_ONLY), PexContact(TWO))),
    ),
    "added.f an integer": (encode({"added": PACKED, "added.f": 1}), PexMessage((CONTACT,))),
    "dropped an integer": (encode({"added": PACKED, "dropped": 5}), PexMessage((CONTACT,))),
    "dropped cut in the last": (
        encode({"dropped": PACKED + b"1"}),
        PexMessage((), (ONE,)),
    ),
    "no bencoding": (b"junk", REFUSED),
    "a list": (b"le", REFUSED),
}
DONT_HAVES: Rows = {
    "a tail": (bytes((0, 0, 0, 7, 9)), [PeerLost(PieceIndex(7))]),
    "3 bytes": (bytes(3), []),
    "a piece past the end": (b"\xff" * 4, REFUSED),
}

PING: Final = b"d1:ad2:id20:%be1:q4:ping1:t2:aa1:y1:qe" % ID
PINGED: Final = Query(b"aa", b"ping", ID, {b"id": ID})
PONGED: Final = Response(b"aa", ID, {b"id": ID})
KRPC: Rows = {
    "a query with a line feed behind it": (PING + b"\n", PINGED),
    "a query with t twice": (
        b"d1:ad2:id20:%be1:q4:ping1:t2:aa1:t2:bb1:y1:qe" % ID,
        PINGED,
    ),
    "a query with ro a string": (
        b"d1:ad2:id20:%be1:q4:ping2:ro1:11:t2:aa1:y1:qe" % ID,
        PINGED,
    ),
    "a query with v an integer": (
        b"d1:ad2:id20:%be1:q4:ping1:t2:aa1:vi1e1:y1:qe" % ID,
        PINGED,
    ),
    "a query with an integer of 20 digits": (
        b"d1:ad2:id20:%b1:x%be1:q4:ping1:t2:aa1:y1:qe" % (ID, ALL_BITS),
        Query(b"aa", b"ping", ID, {b"id": ID, b"x": 2**63 - 1}),
    ),
    "a query without id": (b"d1:ade1:q4:ping1:t2:aa1:y1:qe", REFUSED),
    "a response with a tail": (b"d1:rd2:id20:%be1:t2:aa1:y1:retail" % ID, PONGED),
    "a response with id twice": (
        b"d1:rd2:id20:%b2:id20:%be1:t2:aa1:y1:re" % (ID, OTHER),
        PONGED,
    ),
    "a response with ip of 5 bytes": (
        b"d2:ip5:123451:rd2:id20:%be1:t2:aa1:y1:re" % ID,
        PONGED,
    ),
    "a value behind a tail": (
        b"d1:rd2:id20:%b1:vli1eee1:t2:aa1:y1:re\n" % ID,
        Response(b"aa", ID, {b"id": ID, b"v": [1]}, value=Bencoded(b"li1ee")),
    ),
    "a value that is not strict bencoding": (
        b"d1:rd2:id20:%b1:vli01eee1:t2:aa1:y1:re" % ID,
        Response(b"aa", ID, {b"id": ID, b"v": [1]}, value=None),
    ),
    "a response with an id of 19 bytes": (b"d1:rd2:id19:%be1:t2:aa1:y1:re" % ID[1:], REFUSED),
    "an error without text": (b"d1:eli203ee1:t2:aa1:y1:ee", ErrorReply(b"aa", 203, "")),
    "an error that is a string": (b"d1:e3:bad1:t2:aa1:y1:ee", ErrorReply(b"aa", 201, "bad")),
    "an error that is nothing": (b"d1:t2:aa1:y1:ee", ErrorReply(b"aa", 201, "")),
    "no t": (b"d1:ad2:id20:%be1:q4:ping1:y1:qe" % ID, REFUSED),
}
NODES: Rows = {
    "cut in the last": (NODE + b"123", [NodeInfo(ID, ONE)]),
    "an integer": (5, []),
}
VALUES: Rows = {
    "one string with all peers": ([PACKED + PACKED_TWO], (ONE, TWO)),
    "a bad entry among good ones": ([PACKED, 5, b"12345", PACKED_TWO], (ONE, TWO)),
}


def announce(data: bytes) -> AnnounceResponse:
    return http_announce.parse_announce_response(data, max_peers=9)


def udp_answer(data: bytes) -> AnnounceResponse:
    return udp_announce.parse_announce_response(data, v6=False, max_peers=9)


def dont_have(body: bytes) -> list[Any]:
    events = feed(open_connection(extensions={"lt_donthave": 7}), encode_extended(7, body))
    for event in events:
        if error := getattr(event, "error", None):
            raise error
    return events


def peers_of(values: list[Any]) -> tuple[PeerAddress, ...]:
    response = Response(b"aa", ID, {b"id": ID, b"values": values})
    teller = NodeInfo(ID, PeerAddress("192.0.2.77", 7))
    events = list(GetPeers(HASH).take(1, teller, response))
    return tuple(peer for each in events if isinstance(each, PeersFound) for peer in each.peers)


KINDS: Final[dict[str, tuple[Callable[[Any], Any], Rows]]] = {
    "announce, HTTP": (announce, ANNOUNCES),
    "scrape, HTTP": (
        lambda data: http_announce.parse_scrape_response(data, [HASH, OTHER]),
        SCRAPES,
    ),
    "connect, UDP": (udp_announce.parse_connect_response, UDP_CONNECTS),
    "announce, UDP": (udp_answer, UDP_ANNOUNCES),
    "scrape, UDP": (
        lambda data: udp_announce.parse_scrape_response(data, [HASH, OTHER]),
        UDP_SCRAPES,
    ),
    "extension handshake": (decode_extension_handshake, HANDSHAKES),
    "ut_metadata": (decode_metadata_message, METADATA),
    "ut_pex": (decode_pex, PEX),
    "lt_donthave": (dont_have, DONT_HAVES),
    "KRPC": (decode_message, KRPC),
    "KRPC nodes": (lambda blob: decode_nodes(blob, is_ipv6=False), NODES),
    "KRPC values": (peers_of, VALUES),
}
CASES: Final = {
    (kind, what): row for kind, (_, rows) in KINDS.items() for what, row in rows.items()
}


def documented() -> dict[tuple[str, str], str]:
    """Return what the document says that this package does, by kind and row."""
    table = [line.strip("| \n").split(" | ") for line in DOCUMENT.read_text().splitlines()]
    return {(cells[0], cells[1]): cells[2] for cells in table if cells[0] in KINDS}


@pytest.mark.parametrize(("kind", "what"), CASES, ids=[" - ".join(case) for case in CASES])
def test_what_is_right_in_a_message_is_kept(kind: str, what: str) -> None:
    read, (data, expected) = KINDS[kind][0], CASES[kind, what]
    if expected is REFUSED:
        with pytest.raises((RemoteProtocolError, KrpcError)):
            read(data)
    else:
        assert read(data) == expected


def test_the_document_has_every_row_and_says_which_are_refused() -> None:
    said = documented()
    assert set(said) == set(CASES)
    refused = {case for case, (_, expected) in CASES.items() if expected is REFUSED}
    assert {case for case, text in said.items() if text.startswith("refused")} == refused
