"""Who is a UPnP gateway, byte by byte, and which URLs of it are followed."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.errors import GatewayError
from torrent_engine.protocol.nat.ssdp import (
    GATEWAY_TYPES,
    GROUP_IPV4,
    DeviceFound,
    check_url,
    decode_answer,
    encode_search,
)

ROUTER = "192.168.1.1"
URL = f"http://{ROUTER}:5000/rootDesc.xml"


def answer(
    status: str = "HTTP/1.1 200 OK",
    kind: str = GATEWAY_TYPES[0],
    location: str = URL,
    end: str = "\r\n",
) -> bytes:
    lines = (status, "Cache-Control: max-age=120", f"st: {kind}", f"LOCATION: {location}", "EXT:")
    return end.join((*lines, "", "")).encode("latin-1")


def test_a_search_names_the_kind_of_device() -> None:
    text = encode_search(GATEWAY_TYPES[1], GROUP_IPV4, 2).decode()
    assert text.startswith("M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n")
    assert f"\r\nST: {GATEWAY_TYPES[1]}\r\n" in text
    assert text.endswith("\r\n\r\n")


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_a_gateway_says_where_its_description_is(end: str) -> None:
    assert decode_answer(answer(end=end), ROUTER) == DeviceFound(GATEWAY_TYPES[0], URL)


MALFORMED = {
    "empty": b"",
    "too long": answer() + bytes(3000),
    "no answer": answer(status="NOTIFY * HTTP/1.1"),
    "another status": answer(status="HTTP/1.1 404 Not Found"),
    "another version": answer(status="HTTP/2 200 OK"),
    "another device": answer(kind="urn:schemas-upnp-org:device:MediaServer:1"),
    "no kind": answer().replace(b"st:", b"xx:"),
    "no location": answer().replace(b"LOCATION:", b"xx:"),
    "location elsewhere": answer(location="http://192.168.1.9:5000/"),
    "location on the internet": answer(location="http://example.com/"),
    "location with another scheme": answer(location=f"https://{ROUTER}/"),
    "location of a file": answer(location="file:///etc/passwd"),
    "location with a user": answer(location=f"http://{ROUTER}@example.com/"),
    "location with a user at the router": answer(location=f"http://user@{ROUTER}/"),
    "location with port 0": answer(location=f"http://{ROUTER}:0/"),
    "location with a port that is none": answer(location=f"http://{ROUTER}:99999/"),
    "location with an open bracket": answer(location="http://[::1"),
    "location with a space": answer(location=f"http://{ROUTER}/a b\x7f"),
    "location that is not ASCII": answer(location=f"http://{ROUTER}/\xe4"),
    "location too long": answer(location=f"http://{ROUTER}/{'a' * 1500}"),
    "number in place of the address": answer(location="http://3232235777/"),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_no_answer_of_the_gateway(data: bytes) -> None:
    with pytest.raises(GatewayError):
        decode_answer(data, ROUTER)


@given(
    st.binary(max_size=300)
    | st.text(max_size=200).map(lambda text: answer(location="x") + text.encode())
)
def test_decode_raises_nothing_but_gateway_error(data: bytes) -> None:
    with suppress(GatewayError):
        assert decode_answer(data, ROUTER).location.startswith("http://")


@given(st.text(max_size=60).map(lambda text: f"http://{text}"))
def test_no_url_but_one_at_the_gateway_passes(url: str) -> None:
    with suppress(GatewayError):
        check_url(url, ROUTER)
        assert (
            url.partition("//")[2]
            .partition("/")[0]
            .partition("?")[0]
            .partition("#")[0]
            .split(":")[0]
            == ROUTER
        )
