"""Types of the values of options that say how peers are reached."""

import re
from collections.abc import Collection
from typing import Final
from urllib.parse import unquote

import click

from torrent_engine.base.config import ProxyConfig, ProxyKind
from torrent_engine.base.errors import IpFilterError
from torrent_engine.cli.options.common import ParsedType, parse_peer, parse_port
from torrent_engine.policy.ip_filter.lines import parse_range

PROXY_USES: Final = ("peers", "trackers", "web-seeds")
_KINDS: Final = {
    "socks5": ProxyKind.SOCKS5,
    "socks5h": ProxyKind.SOCKS5,
    "socks4": ProxyKind.SOCKS4,
    "socks4a": ProxyKind.SOCKS4,
    "http": ProxyKind.HTTP,
}
_PROXY_FORM: Final = "a proxy is KIND://[USER:PASSWORD@]HOST:PORT"
_INTERFACE: Final = re.compile(r"[^\s/]{1,64}")


def parse_proxy(text: str) -> ProxyConfig:
    """Read a proxy's URL. Raises ValueError, which does not repeat the URL: it may have a secret.

    User and password may be escaped as in any URL.
    """
    scheme, colon, rest = text.partition("://")
    kind = _KINDS.get(scheme.lower())
    if not colon or kind is None:
        raise ValueError(f"{_PROXY_FORM}, of kind socks5, socks4 or http")
    credentials, _, place = rest.rpartition("@")
    try:
        host, port = parse_peer(place.removesuffix("/"))
    except ValueError:
        raise ValueError(_PROXY_FORM) from None
    user, _, password = credentials.partition(":")
    if kind is ProxyKind.SOCKS4 and password:
        raise ValueError("SOCKS4 knows users, and no passwords")
    return ProxyConfig(kind, host, port, username=unquote(user), password=unquote(password))


def parse_proxy_uses(text: str) -> frozenset[str]:
    """Read what goes through the proxy, with commas between. Raises ValueError."""
    uses = frozenset(word.strip() for word in text.lower().split(","))
    if not uses <= set(PROXY_USES):
        raise ValueError(f"some of {', '.join(PROXY_USES)}, with commas between, are needed")
    return uses


def parse_port_ranges(text: str) -> tuple[tuple[int, int], ...]:
    """Read ports and ranges of them, with commas between. Raises ValueError."""
    return tuple(_port_range(part.strip()) for part in text.split(","))


def _port_range(text: str) -> tuple[int, int]:
    first_text, dash, last_text = text.partition("-")
    first = parse_port(first_text.strip())
    last = parse_port(last_text.strip()) if dash else first
    if not 0 < first <= last:
        raise ValueError("ports are numbers and ranges such as 1-1023,6881, from 1 to 65535")
    return first, last


def parse_ip_range(text: str) -> str:
    """Return a range of addresses if it is one. Raises ValueError."""
    try:
        parse_range(text)
    except IpFilterError:
        raise ValueError("a range is ADDRESS, ADDRESS/LENGTH or FIRST-LAST") from None
    return text


def parse_interface(text: str) -> str:
    """Return the name of an interface, or an address. Raises ValueError."""
    if _INTERFACE.fullmatch(text) is None:
        raise ValueError("the name of an interface, such as tun0, or an address of ours is needed")
    return text


def values_of(choices: Collection[str]) -> click.Choice[str]:
    """Return the type of an option with some values."""
    return click.Choice([str(each) for each in choices], case_sensitive=False)


PROXY: Final = ParsedType("url", parse_proxy, is_secret=True)
PROXY_USE: Final = ParsedType("uses", parse_proxy_uses)
PORT_RANGES: Final = ParsedType("ports", parse_port_ranges)
IP_RANGE: Final = ParsedType("range", parse_ip_range)
INTERFACE: Final = ParsedType("interface", parse_interface)
