"""Requests that two programs could understand in two ways are refused before a route sees them."""

import pytest

from tests.support.http_server import Echo, served, statuses_of

H = b"Host: localhost\r\n"
NEXT = b"GET /next HTTP/1.1\r\n" + H + b"Connection: close\r\n\r\n"
HIDDEN = b"GET /hidden HTTP/1.1\r\n" + H + b"\r\n"


def post(*fields: bytes, body: bytes = b"", line: bytes = b"POST /first HTTP/1.1") -> bytes:
    return b"\r\n".join([line, H.strip(), *fields, b"", body])


CHUNKED = b"Transfer-Encoding: chunked"

REFUSED: dict[str, tuple[bytes, int]] = {
    "length_and_chunked": (post(b"Content-Length: 5", CHUNKED, body=b"0\r\n\r\n"), 400),
    "chunked_and_length": (post(CHUNKED, b"Content-Length: 5", body=b"0\r\n\r\n"), 400),
    "length_0_and_chunked": (post(b"Content-Length: 0", CHUNKED, body=b"0\r\n\r\n"), 400),
    "two_lengths": (post(b"Content-Length: 5", b"Content-Length: 6", body=b"hello!"), 400),
    "one_length_twice": (post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"), 400),
    "lengths_in_a_list": (post(b"Content-Length: 5, 5", body=b"hello"), 400),
    "different_lengths_in_a_list": (post(b"Content-Length: 5, 6", body=b"hello"), 400),
    "length_with_plus": (post(b"Content-Length: +5", body=b"hello"), 400),
    "length_with_minus": (post(b"Content-Length: -5", body=b"hello"), 400),
    "length_in_hexadecimal": (post(b"Content-Length: 0x5", body=b"hello"), 400),
    "length_with_underscore": (post(b"Content-Length: 1_0", body=b"hellohello"), 400),
    "length_of_20_digits": (post(b"Content-Length: 99999999999999999999", body=b"hello"), 400),
    "empty_length": (post(b"Content-Length: ", body=b"hello"), 400),
    "length_with_letter": (post(b"Content-Length: 5a", body=b"hello"), 400),
    "space_before_colon": (post(b"Content-Length : 5", body=b"hello"), 400),
    "tab_before_colon": (post(b"Transfer-Encoding\t: chunked", body=b"0\r\n\r\n"), 400),
    "chunked_and_identity": (post(b"Transfer-Encoding: chunked, identity"), 501),
    "identity": (post(b"Transfer-Encoding: identity"), 501),
    "gzip_then_chunked": (post(b"Transfer-Encoding: gzip, chunked"), 501),
    "chunked_twice": (post(CHUNKED, CHUNKED, body=b"0\r\n\r\n"), 501),
    "chunked_in_quotes": (post(b'Transfer-Encoding: "chunked"', body=b"0\r\n\r\n"), 501),
    "chunked_with_vertical_tab": (post(b"Transfer-Encoding: \x0bchunked"), 400),
    "chunked_in_http_1_0": (
        post(CHUNKED, body=b"0\r\n\r\n", line=b"POST /first HTTP/1.0"),
        400,
    ),
    "folded_coding": (post(b"Transfer-Encoding:", b" chunked", body=b"0\r\n\r\n"), 400),
    "folded_field": (post(b"X-A: 1", b" Content-Length: 5", body=b"hello"), 400),
    "lines_end_with_lf": (b"POST /first HTTP/1.1\n" + H + b"\n", 400),
    "one_line_ends_with_lf": (post(b"X-A: 1\nContent-Length: 5", body=b"hello"), 400),
    "bare_cr_in_a_value": (post(b"X-A: 1\rContent-Length: 5", body=b"hello"), 400),
    "nul_in_a_value": (post(b"X-A: a\0b"), 400),
    "nul_in_a_name": (post(b"X-\0A: b"), 400),
    "field_without_a_name": (post(b": 5"), 400),
    "field_without_a_colon": (post(b"Content-Length"), 400),
    "no_host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "no_host_in_http_1_0": (b"GET / HTTP/1.0\r\n\r\n", 400),
    "two_hosts": (b"GET / HTTP/1.1\r\n" + H + b"Host: other\r\n\r\n", 400),
    "host_with_userinfo": (b"GET / HTTP/1.1\r\nHost: a@localhost\r\n\r\n", 400),
    "host_with_path": (b"GET / HTTP/1.1\r\nHost: localhost/x\r\n\r\n", 400),
    "empty_host": (b"GET / HTTP/1.1\r\nHost: \r\n\r\n", 400),
    "target_names_another_host": (b"GET http://other/ HTTP/1.1\r\n" + H + b"\r\n", 400),
    "target_with_fragment": (b"GET /a#b HTTP/1.1\r\n" + H + b"\r\n", 400),
    "target_with_spaces": (b"GET /a b HTTP/1.1\r\n" + H + b"\r\n", 400),
    "target_is_no_path": (b"GET a HTTP/1.1\r\n" + H + b"\r\n", 400),
    "asterisk": (b"OPTIONS * HTTP/1.1\r\n" + H + b"\r\n", 400),
    "connect": (b"CONNECT localhost:80 HTTP/1.1\r\n" + H + b"\r\n", 405),
    "trace": (b"TRACE / HTTP/1.1\r\n" + H + b"\r\n", 405),
    "http_2_preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "http_0_9": (b"GET /\r\n\r\n", 400),
    "empty_line_before": (b"\r\n" + post(b"Content-Length: 0"), 400),
    "other_protocol": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400),
    "peer_protocol": (b"\x13BitTorrent protocol" + bytes(48), 400),
    "target_too_long": (b"GET /" + b"a" * 8_192 + b" HTTP/1.1\r\n" + H + b"\r\n", 414),
    "too_many_fields": (post(*(b"X-%d: 1" % n for n in range(100))), 431),
    "too_long_a_head": (post(b"X-A: " + b"a" * 33_000), 431),
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", REFUSED)
async def test_ambiguous_request_is_refused_and_nothing_behind_it_is_served(name: str) -> None:
    data, status = REFUSED[name]
    echo = Echo()
    async with served(echo) as here:
        answers = await here.talk(data + HIDDEN)
    assert statuses_of(answers) == [status]
    assert b"\r\nConnection: close\r\n" in answers
    assert echo.seen == []


BAD_CHUNKS: dict[str, bytes] = {
    "size_is_no_number": b"zz\r\nhello\r\n0\r\n\r\n",
    "size_with_minus": b"-5\r\nhello\r\n0\r\n\r\n",
    "size_with_prefix": b"0x5\r\nhello\r\n0\r\n\r\n",
    "size_of_30_digits": b"0" * 25 + b"fffff\r\nhello\r\n0\r\n\r\n",
    "no_crlf_behind_the_data": b"5\r\nhelloXX0\r\n\r\n",
    "size_line_ends_with_lf": b"5\nhello\r\n0\r\n\r\n",
    "very_many_small_ones": b"1\r\nx\r\n" * 600 + b"0\r\n\r\n",
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", BAD_CHUNKS)
async def test_malformed_chunk_ends_the_connection_and_the_request(name: str) -> None:
    echo = Echo()
    async with served(echo) as here:
        answers = await here.talk(post(CHUNKED, body=BAD_CHUNKS[name]) + HIDDEN)
    assert statuses_of(answers) == [400]
    assert echo.seen == []


ACCEPTED: dict[str, tuple[bytes, tuple[str, str, bytes]]] = {
    "length": (post(b"Content-Length: 5", body=b"hello"), ("POST", "/first", b"hello")),
    "chunks": (post(CHUNKED, body=b"5\r\nhello\r\n0\r\n\r\n"), ("POST", "/first", b"hello")),
    "many_small_chunks": (
        post(CHUNKED, body=b"1\r\nx\r\n" * 500 + b"0\r\n\r\n"),
        ("POST", "/first", b"x" * 500),
    ),
    "very_many_chunks": (
        post(CHUNKED, body=(b"100\r\n" + b"x" * 256 + b"\r\n") * 700 + b"0\r\n\r\n"),
        ("POST", "/first", b"x" * 256 * 700),
    ),
    "chunk_extension": (
        post(CHUNKED, body=b"5;a=b\r\nhello\r\n0\r\n\r\n"),
        ("POST", "/first", b"hello"),
    ),
    "trailer": (
        post(CHUNKED, body=b"0\r\nContent-Length: 9\r\n\r\n"),
        ("POST", "/first", b""),
    ),
    "coding_in_capitals": (
        post(b"Transfer-Encoding: CHUNKED", body=b"0\r\n\r\n"),
        ("POST", "/first", b""),
    ),
    "absolute_target": (
        b"GET http://localhost/first HTTP/1.1\r\n" + H + b"\r\n",
        ("GET", "/first", b""),
    ),
    "absolute_target_without_path": (
        b"GET http://localhost HTTP/1.1\r\n" + H + b"\r\n",
        ("GET", "/", b""),
    ),
    "encoded_path": (b"GET /a%2Fb%20c HTTP/1.1\r\n" + H + b"\r\n", ("GET", "/a/b c", b"")),
    "upgrade_is_ignored": (
        post(b"Connection: Upgrade", b"Upgrade: websocket", line=b"GET /first HTTP/1.1"),
        ("GET", "/first", b""),
    ),
    "upgrade_to_http_2_is_ignored": (
        post(b"Connection: Upgrade", b"Upgrade: h2c", line=b"GET /first HTTP/1.1"),
        ("GET", "/first", b""),
    ),
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", ACCEPTED)
async def test_request_is_served_and_so_is_the_next_one(name: str) -> None:
    data, expected = ACCEPTED[name]
    echo = Echo()
    async with served(echo) as here:
        answers = await here.talk(data + NEXT)
    assert statuses_of(answers) == [200, 200]
    assert echo.seen == [expected, ("GET", "/next", b"")]


def test_the_table_is_large() -> None:
    assert len(REFUSED) + len(BAD_CHUNKS) >= 40
