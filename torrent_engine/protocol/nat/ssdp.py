"""SSDP: discovery of UPnP gateways and of their description URLs.

Source: UPnP Device Architecture 1.1, section 1.3. Messages have headers as in HTTP. The description
URL of a device must be at the address of the device.
"""

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from torrent_engine.base.errors import GatewayError

GROUP_IPV4: Final = "239.255.255.250"
SSDP_PORT: Final = 1_900
MAX_DATAGRAM_BYTES: Final = 2_048  # ours
MAX_LOCATION_CHARS: Final = 1_024  # ours
GATEWAY_TYPES: Final = (
    "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
    "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
)


@dataclass(frozen=True, slots=True)
class DeviceFound:
    """A response to a search."""

    search_target: str
    """The searched device type."""
    location: str
    """URL of its description: http, at the address of the responder."""


def encode_search(target: str, group: str, max_wait_s: int) -> bytes:
    """Encode a search for a device type; responses arrive within ``max_wait_s``."""
    lines = (
        "M-SEARCH * HTTP/1.1",
        f"HOST: {group}:{SSDP_PORT}",
        'MAN: "ssdp:discover"',
        f"MX: {max_wait_s}",
        f"ST: {target}",
    )
    return "\r\n".join((*lines, "", "")).encode("ascii")


def decode_answer(data: bytes, sender: str) -> DeviceFound:
    """Decode the response to a search; ``sender`` is its literal source address.

    Raises GatewayError if it is malformed, of another device type, or refers to another address.
    """
    if len(data) > MAX_DATAGRAM_BYTES:
        raise GatewayError(f"SSDP response of {len(data)} bytes")
    status, *lines = data.decode("latin-1").replace("\r\n", "\n").split("\n")
    if status.split()[:2] not in (["HTTP/1.1", "200"], ["HTTP/1.0", "200"]):
        raise GatewayError("not an SSDP response")
    headers = _headers(lines)
    kind = headers.get("st", "")
    if kind not in GATEWAY_TYPES:
        raise GatewayError("SSDP response of another device type")
    location = headers.get("location", "")
    check_url(location, sender)
    return DeviceFound(kind, location)


def check_url(url: str, host: str) -> None:
    """Raise GatewayError unless a URL is http at a literal address (row D1)."""
    if not 0 < len(url) <= MAX_LOCATION_CHARS or not url.isascii() or not url.isprintable():
        raise GatewayError("a URL of UPnP that is none")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise GatewayError("a URL of UPnP that is none") from error
    if parts.scheme != "http" or parts.username is not None or port == 0:
        raise GatewayError("UPnP URL is not plain http")
    if parts.hostname != host:
        raise GatewayError(f"UPnP URL is not at {host}")


def _headers(lines: list[str]) -> dict[str, str]:
    """Return lower-case header name -> value; the first value of repeated headers."""
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not line or not colon:
            continue
        headers.setdefault(name.strip().lower(), value.strip())
    return headers
