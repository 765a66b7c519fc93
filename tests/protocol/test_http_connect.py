"""Asking an HTTP proxy for a way through: the request, and every answer in every chunking."""

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.errors import ProxyError
from torrent_engine.protocol.http_connect import (
    MAX_HEADER_BYTES,
    MAX_INTERIM_RESPONSES,
    ConnectResponse,
    connect_request,
)

OK = b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n"
PAYLOAD = b"\x13BitTorrent protocol\r\n\r\n"

GRANTED = {
    "short": b"HTTP/1.0 200\r\n\r\n",
    "with_header": OK,
    "bare_newlines": b"HTTP/1.1 200 OK\nA: b\n\n",
    "no_content": b"HTTP/1.1 204 \r\n\r\n",
    "length_is_none_of_ours": b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",
    "after_interim": b"HTTP/1.1 102 Wait\r\nA: b\r\n\r\n" + OK,
    "longest": b"HTTP/1.1 200 OK\r\nA: ".ljust(MAX_HEADER_BYTES - 4, b"a") + b"\r\n\r\n",
}
MALFORMED = {
    "socks": b"\x05\x00\r\n\r\n",
    "empty": b"\r\n\r\n",
    "other_version": b"HTTP/2.0 200 OK\r\n\r\n",
    "no_status": b"HTTP/1.1 OK\r\n\r\n",
    "status_of_two_digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "status_of_four_digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "status_zero": b"HTTP/1.1 000 OK\r\n\r\n",
    "bytes_before": b"x" + OK,
    "too_long": b"HTTP/1.1 200 OK\r\nA: ".ljust(MAX_HEADER_BYTES + 1, b"a"),
    "too_long_with_end": b"HTTP/1.1 200 OK\r\nA: ".ljust(MAX_HEADER_BYTES, b"a") + b"\r\n\r\n",
    "put_off": b"HTTP/1.1 100 Wait\r\n\r\n" * (MAX_INTERIM_RESPONSES + 1),
}


def fed(data: bytes, chunk_bytes: int) -> tuple[ConnectResponse, int]:
    """Feed all of it as a socket would give it; return how much was taken."""
    answer, at = ConnectResponse(), 0
    while at < len(data) and not answer.is_done:
        chunk = data[at : at + chunk_bytes]
        at += answer.receive_data(chunk)
    return answer, at


@pytest.mark.parametrize("chunk_bytes", [1, 3, 100_000])
@pytest.mark.parametrize("granted", GRANTED.values(), ids=GRANTED.keys())
def test_a_way_is_open_and_what_follows_is_left(granted: bytes, chunk_bytes: int) -> None:
    answer, taken = fed(granted + PAYLOAD, chunk_bytes)
    assert answer.is_done
    assert taken == len(granted)
    assert answer.receive_data(PAYLOAD) == 0


@pytest.mark.parametrize("chunk_bytes", [1, 3, 100_000])
@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_no_answer_is_a_proxy_error(data: bytes, chunk_bytes: int) -> None:
    with pytest.raises(ProxyError):
        fed(data, chunk_bytes)


def test_half_an_answer_opens_nothing() -> None:
    answer, taken = fed(OK[:-1], 7)
    assert not answer.is_done
    assert taken == len(OK) - 1


def test_a_refusal_is_repeated_without_escapes() -> None:
    with pytest.raises(ProxyError, match=r"^the proxy refused the connection: 403 Filtered\?\[1m$"):
        fed(b"HTTP/1.1 403 Filtered\x1b[1m\r\n\r\n", 100)


def test_a_refusal_without_words_is_its_number() -> None:
    with pytest.raises(ProxyError, match=r"^the proxy refused the connection: 502$"):
        fed(b"HTTP/1.1 502\r\n\r\n", 100)


def test_a_wrong_password_is_said() -> None:
    with pytest.raises(ProxyError, match="password"):
        fed(b"HTTP/1.1 407 Authentication required\r\n\r\n", 100)


def test_the_request_names_the_host_twice_and_no_secret_that_is_not_given() -> None:
    assert connect_request("example.net", 443) == (
        b"CONNECT example.net:443 HTTP/1.1\r\nHost: example.net:443\r\n\r\n"
    )
    assert connect_request("2001:db8::1", 80).startswith(b"CONNECT [2001:db8::1]:80 HTTP/1.1\r\n")


def test_user_and_password_go_as_basic_authentication() -> None:
    request = connect_request("example.net", 443, username="Zoë", password="a:b")
    (line,) = [line for line in request.split(b"\r\n") if line.startswith(b"Proxy-Auth")]
    assert base64.b64decode(line.split()[-1]).decode() == "Zoë:a:b"


@pytest.mark.parametrize("host", ["", "a b", "a\r\nX: y", "é", "a" * 256])
def test_a_host_that_would_break_the_request_is_refused(host: str) -> None:
    with pytest.raises(ProxyError):
        connect_request(host, 80)


@given(st.binary(max_size=300) | st.binary(max_size=60).map(lambda tail: OK[:20] + tail))
def test_any_answer_is_taken_or_a_proxy_error(data: bytes) -> None:
    with suppress(ProxyError):
        answer, taken = fed(data, 5)
        assert answer.is_done or taken == len(data)
