"""What the kit reads from the other side: bencoding and frames."""

import struct
from contextlib import suppress

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conformance.scripted_seed import memory_pair
from torrent_engine.conformance.bencoding import bencode, parse, parse_dictionary
from torrent_engine.conformance.errors import KitBencodeError
from torrent_engine.conformance.frames import FrameReader, message
from torrent_engine.conformance.mse import (
    RC4,
    KitRc4,
    MseOffer,
    encrypt,
    masked_hash,
    public_key,
    shared_secret,
)
from torrent_engine.conformance.mse_answers import (
    TakenOffer,
    answer_offer,
    go_on_encrypted,
    take_offer,
)
from torrent_engine.conformance.raw_peer import RawPeer
from torrent_engine.conformance.rules.bep6_allowed_fast import canonical_set
from torrent_engine.conformance.swarm.http_tracker import http_response, parse_announce
from torrent_engine.conformance.swarm.udp_tracker import (
    MAGIC,
    parse_udp_announce,
    parse_udp_request,
    url_data,
)
from torrent_engine.conformance.swarm.web_server import cut, parse_web_request
from torrent_engine.conformance.torrent_set import INFO_BYTES, basic_torrent
from torrent_engine.conformance.wire_log import WireLog

MALFORMED = {
    "nothing": b"",
    "leading_zero": b"i03e",
    "negative_zero": b"i-0e",
    "no_digits": b"ie",
    "no_end": b"i3",
    "short_string": b"5:spam",
    "negative_length": b"-1:a",
    "open_list": b"li1e",
    "key_is_a_number": b"di1ei2ee",
    "value_missing": b"d1:ae",
    "too_deep": b"l" * 1_000,
    "thousand_digits": b"i" + b"9" * 1_000 + b"e",
}
VALUES = st.recursive(
    st.integers(-(2**60), 2**60) | st.binary(max_size=20),
    lambda each: (
        st.lists(each, max_size=4) | st.dictionaries(st.binary(max_size=5), each, max_size=4)
    ),
    max_leaves=10,
)


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_bep3_malformed_bencoding_is_refused(data: bytes) -> None:
    with pytest.raises(KitBencodeError):
        parse(data)


@given(st.binary(max_size=200) | st.text("0123456789ilde:-").map(str.encode))
def test_parse_raises_nothing_but_its_error(data: bytes) -> None:
    try:
        parsed = parse(data)
    except KitBencodeError:
        return
    assert parsed.end <= len(data)
    assert not parsed.keys_sorted or bencode(parsed.value) == data[: parsed.end]


@given(VALUES)
def test_what_is_encoded_is_read_again(value) -> None:
    parsed = parse(bencode(value))
    assert (parsed.value, parsed.keys_sorted) == (value, True)


def test_unsorted_and_repeated_keys_are_noticed() -> None:
    assert not parse(b"d1:bi1e1:ai2ee").keys_sorted
    assert not parse(b"d1:ai1e1:ai2ee").keys_sorted


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.integers(1, 50))
def test_frames_are_the_same_in_every_chunking(bodies: list[bytes], chunk: int) -> None:
    reader, found = FrameReader(), []
    data = b"".join(message(each[0], each[1:]) for each in bodies)
    for start in range(0, len(data), chunk):
        found += reader.feed(data[start : start + chunk])
    assert [bytes([each.number]) + each.payload for each in found] == bodies


@given(st.binary(max_size=300))
def test_frames_of_any_bytes_can_be_described(data: bytes) -> None:
    frames = []
    with suppress(ValueError):
        frames = FrameReader().feed(data)
    assert all(each.describe() for each in frames)


def test_the_sample_torrent_is_the_same_everywhere() -> None:
    torrent = basic_torrent()
    assert torrent.info_hash.hex() == "a2962d7f3826d5ce35ef02d79c4ac519421e0a15"
    assert (len(torrent.info), torrent.piece_count) == (INFO_BYTES, 21)


def test_bep6_allowed_fast_set_is_that_of_the_text() -> None:
    pieces = canonical_set("80.4.4.200", b"\xaa" * 20, 1313, 9)
    assert pieces == [1059, 431, 808, 1217, 287, 376, 1188, 353, 508]
    assert canonical_set("80.4.4.1", b"\xaa" * 20, 1313, 7) == pieces[:7]
    assert sorted(canonical_set("80.4.4.1", b"\xaa" * 20, 5, 7)) == [0, 1, 2, 3, 4]


def test_bep3_announce_is_cut_into_path_and_unescaped_values() -> None:
    found = parse_announce(
        b"GET /announce?info_hash=%00%ff+a&port=1&x&port=2 HTTP/1.1\r\nA: b", 2.5
    )
    assert (found.at, found.path) == (2.5, "/announce")
    assert found.value("info_hash") == b"\x00\xff+a"
    assert (found.value("port"), found.value("x"), found.value("y")) == (b"1", b"", b"")


ODD_HEADS = [
    b"",
    b"GET",
    b"GET ",
    b"GET  HTTP/1.1",
    b"GET /?%&=&%zz=%f HTTP/1.1",
    b"\xff\0 \xfe?\x80",
]


@pytest.mark.parametrize("head", ODD_HEADS)
def test_odd_announces_have_no_port(head: bytes) -> None:
    assert parse_announce(head, 0.0).value("port") == b""


@given(st.binary(max_size=200))
def test_any_head_is_read_as_an_announce(head: bytes) -> None:
    assert parse_announce(head, 0.0).at == 0.0


def test_http_response_has_its_length() -> None:
    assert http_response(b"de").endswith(b"Content-Length: 2\r\nConnection: close\r\n\r\nde")


def test_amounts_of_an_announce_are_numbers_in_base_ten() -> None:
    found = parse_announce(b"GET /announce?left=17&up=-1&down=0x1&long=" + b"1" * 40, 0.0)
    assert found.number("left") == 17
    assert [found.number(key) for key in ("up", "down", "long", "none")] == [None] * 4


def test_torrent_file_has_its_tiers_and_may_be_private() -> None:
    torrent = basic_torrent()
    content = parse_dictionary(torrent.torrent_file("http://a", [["http://b"], ["http://c"]]))
    assert content[b"announce-list"] == [[b"http://b"], [b"http://c"]]
    private = parse(torrent.made_private().info)
    assert private.keys_sorted
    assert isinstance(private.value, dict)
    assert private.value[b"private"] == 1


UDP_CONNECT = bytes.fromhex("0000041727101980 00000000 0badcafe")
URL_OPTIONS = {
    b"": b"",
    b"\2\0": b"",
    b"\2\3/ab\0junk": b"/ab",
    b"\1\1\2\2/a\2\1b": b"/ab",
    b"\7\2xx\2\1/": b"/",
    b"\2": None,
    b"\2\5/ab": None,
    b"\1\7\1": None,
}


@pytest.mark.parametrize("options", URL_OPTIONS)
def test_bep41_options_give_the_path_and_query(options: bytes) -> None:
    assert url_data(options) == URL_OPTIONS[options]


def test_bep15_requests_have_a_head_and_announces_their_fields() -> None:
    connect = parse_udp_request(UDP_CONNECT, 1.5)
    assert connect is not None
    assert (connect.connection_id, connect.action, connect.transaction) == (MAGIC, 0, 0x0BADCAFE)
    assert parse_udp_announce(connect) is None
    fields = struct.pack(">QQQIIIiH", 1, 2, 3, 2, 0, 9, -1, 6881)
    request = parse_udp_request(UDP_CONNECT + b"h" * 20 + b"p" * 20 + fields + b"\2\1/", 0.0)
    assert request is not None
    found = parse_udp_announce(request)
    assert found is not None
    assert (found.downloaded, found.left, found.uploaded) == (1, 2, 3)
    assert (found.event, found.num_want, found.port, found.options) == (2, -1, 6881, b"\2\1/")


@given(st.binary(max_size=200))
def test_any_datagram_is_read_or_left(data: bytes) -> None:
    request = parse_udp_request(data, 0.0)
    assert (request is None) == (len(data) < 16)
    if request is not None and (announce := parse_udp_announce(request)) is not None:
        assert len(url_data(announce.options) or b"") <= len(data)


RC4_VECTORS = {
    (b"Key", b"Plaintext"): "bbf316e8d940af0ad3",
    (b"Wiki", b"pedia"): "1021bf0420",
    (b"Secret", b"Attack at dawn"): "45a01f645fc35b383552544b9bf5",
}


@pytest.mark.parametrize(("key", "text"), RC4_VECTORS)
def test_rc4_is_that_of_its_vectors(key: bytes, text: bytes) -> None:
    assert KitRc4(key, 0).apply(text).hex() == RC4_VECTORS[key, text]


async def offer_from(data: bytes) -> TakenOffer | None:
    """Let the kit take an offer; ``data`` follows the key, as if it were the rest of one."""
    ours, theirs = memory_pair()
    peer = RawPeer(theirs, WireLog(lambda: 0.0), "a", "")
    await ours.send(data)
    await ours.send_eof()
    found = await take_offer(peer, bytes(20), 5.0)
    await peer.close()
    await ours.aclose()
    return found


@pytest.mark.anyio
@pytest.mark.parametrize("length", [0, 1, 95, 96, 97, 628, 629, 5_000])
async def test_mse_what_is_no_offer_is_none(length: int) -> None:
    assert await offer_from(bytes(range(256)) * (length // 256) + bytes(length % 256)) is None


@given(st.binary(max_size=900))
def test_mse_no_bytes_raise_where_an_offer_is_taken(data: bytes) -> None:
    assert anyio.run(offer_from, data) is None


@pytest.mark.anyio
@pytest.mark.parametrize("pad", [0, 512])
async def test_mse_offer_is_taken_with_its_first_data(pad: int) -> None:
    ours, theirs = memory_pair()
    peer = RawPeer(theirs, WireLog(lambda: 0.0), "a", "")
    other = RawPeer(ours, WireLog(lambda: 0.0), "b", "")
    offer = MseOffer(bytes(20), RC4, bytes(pad), bytes(pad), first_data=b"first")
    found: list[TakenOffer | None] = []

    async def take() -> None:
        found.append(await take_offer(peer, bytes(20), 5.0))
        assert found[0] is not None
        await answer_offer(peer, found[0], RC4)
        go_on_encrypted(peer, found[0])
        assert await peer.receive_bytes(9, 5.0) == b"firstnext"

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take)
        answer = await encrypt(other, offer, 5.0)
        await other.send(b"next")
    assert answer is not None
    assert answer.selected == RC4
    for each in (peer, other):
        await each.close()


def test_mse_both_sides_compute_one_secret() -> None:
    ours, theirs = 2**159 + 7, 2**158 + 11
    assert shared_secret(public_key(ours), theirs) == shared_secret(public_key(theirs), ours)
    assert len(masked_hash(bytes(20), public_key(ours))) == 20


@given(st.binary(min_size=1, max_size=40), st.lists(st.binary(max_size=50), max_size=5))
def test_rc4_does_not_care_where_data_is_cut(key: bytes, parts: list[bytes]) -> None:
    cut, whole = KitRc4(key), KitRc4(key)
    assert b"".join(map(cut.apply, parts)) == whole.apply(b"".join(parts))


ODD_RANGES = {
    b"": None,
    b"Range: bytes=5-9": (5, 9),
    b"range:bytes=5-": (5, None),
    b"Range: bytes=-5": None,
    b"Range: bytes=1-2,5-9": None,
    b"Range: lines=1-2": None,
}


@pytest.mark.parametrize("header", ODD_RANGES)
def test_range_of_a_web_request(header: bytes) -> None:
    asked = parse_web_request(b"GET /a%20b?piece=3 HTTP/1.1\r\n" + header + b"\r\n\r\n", 0.0)
    assert (asked.path, asked.span) == ("/a b", ODD_RANGES[header])
    assert asked.query.number("piece") == 3


@given(st.binary(max_size=200))
def test_any_head_is_read_as_a_web_request(head: bytes) -> None:
    asked = parse_web_request(head, 0.0)
    assert cut(b"data", asked.span).status in {200, 206, 416}


def test_ranges_of_a_file() -> None:
    assert cut(b"012345", (2, 3)).body == b"23"
    assert cut(b"012345", (4, None)).body == b"45"
    assert cut(b"012345", (6, None)).status == 416
