"""Policy on the IP addresses that untrusted URLs may resolve to.

Source: fault model, row D1. Link-local and other addresses of cloud metadata services, multicast
and the unspecified address are always refused; private ones and loopback by policy. Names occur
only if a proxy resolves them: they count as public, except those of loopback and private networks.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from socket import inet_aton
from typing import Final

from torrent_engine.base.errors import HttpError
from torrent_engine.base.operators import embedded_ipv4

IPAddress = IPv4Address | IPv6Address
_LOOPBACK: Final = IPv4Address("127.0.0.1")
_LOOPBACK_NAMES: Final = (
    ".localhost",
    ".localhost.localdomain",
    ".ip6-localhost",
    ".ip6-loopback",
)
_LOCAL_NAMES: Final = (".internal", ".local", ".localdomain", ".home.arpa")
"""Of private networks and of clouds' metadata services (IANA, RFC 6762, RFC 8375)."""
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_CLOUD_SECRETS: Final = frozenset(
    map(ip_address, ("192.0.0.192", "100.100.100.200", "fd00:ec2::254", "fd20:ce::254"))
)
"""Metadata services of clouds at other than link-local addresses."""
_NOT_GLOBAL: Final = tuple(map(ip_network, ("192.0.0.0/24", "192.88.99.0/24", "3fff::/20")))
"""Special-purpose networks (IANA) that some versions of Python treat as global."""


class AddressRefusedError(HttpError):
    """The policy does not allow any address of a host."""


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """The allowed addresses of a URL's host."""

    allow_non_global: bool
    """Allow loopback, private and other non-global addresses."""
    loopback_paths: tuple[str, ...] = ()
    """If not empty, the last path element of a loopback URL must begin with one of these."""


TRACKER_POLICY: Final = AddressPolicy(allow_non_global=True, loopback_paths=("announce", "scrape"))
"""Trackers may be local, but a torrent must not cause other requests to local services."""
WEB_SEED_POLICY: Final = AddressPolicy(allow_non_global=False)
USER_POLICY: Final = AddressPolicy(allow_non_global=True)
"""For URLs from the user."""


def real_address(literal: str) -> IPAddress:
    """Parse a literal address; return IPv4 for one embedded in IPv6 (mapped, 6to4, NAT64, Teredo).

    Raises ValueError for other text.
    """
    address = ip_address(literal.partition("%")[0])
    if isinstance(address, IPv4Address):
        return address
    return embedded_ipv4(address) or address


def is_global(host: str) -> bool:
    """Return whether a literal address is globally reachable; of a name, whether it may be."""
    address = _address_of(host)
    if address is None:
        name = host.lower().rstrip(".")
        return "." in name and not name.endswith(_LOCAL_NAMES)
    if isinstance(address, IPv6Address) and address.is_site_local:
        return False  # deprecated site-local addresses
    if any(address in network for network in _NOT_GLOBAL):
        return False
    return address.is_global and not address.is_multicast


def check_address(literal: str, policy: AddressPolicy, *, path: str = "/") -> None:
    """Check an address against ``policy``; ``path`` is that of the URL.

    Raises AddressRefusedError, with the rule but without the URL.
    """
    address = _address_of(literal)
    if address is None:
        if not policy.allow_non_global and not is_global(literal):
            raise AddressRefusedError(f"refused to connect to {literal}: not a public name")
        return
    is_secret = address.is_link_local or address in _CLOUD_SECRETS
    if is_secret or address.is_multicast or address.is_unspecified:
        raise AddressRefusedError(f"refused to connect to {literal}: never allowed")
    if "%" in literal or (address.is_reserved and not address.is_loopback):
        raise AddressRefusedError(f"refused to connect to {literal}: reserved or scoped address")
    if not policy.allow_non_global and not is_global(literal):
        raise AddressRefusedError(f"refused to connect to {literal}: not a public address")
    if address.is_loopback and not _is_loopback_path(path, policy):
        raise AddressRefusedError(f"refused to connect to {literal}: no such path on this machine")


def allowed_addresses(
    literals: Sequence[str], policy: AddressPolicy, *, path: str = "/"
) -> list[str]:
    """Return the addresses that the policy allows. Raises HttpError if there are none."""
    refusals: list[HttpError] = []
    allowed: list[str] = []
    for literal in literals:
        try:
            check_address(literal, policy, path=path)
        except HttpError as error:
            refusals.append(error)
        else:
            allowed.append(literal)
    if not allowed:
        raise refusals[0] if refusals else HttpError("the host has no address")
    return allowed


def _address_of(host: str) -> IPAddress | None:
    """Return a literal address, or loopback for a loopback name; None for other names."""
    try:
        return real_address(host)
    except ValueError:
        name = host.lower().rstrip(".")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):  # 127.1, 0x7f.1: a resolver takes them
        with suppress(OSError):
            return IPv4Address(inet_aton(name))
    return _LOOPBACK if f".{name}".endswith(_LOOPBACK_NAMES) else None


def _is_loopback_path(path: str, policy: AddressPolicy) -> bool:
    if not policy.loopback_paths:
        return True
    last = path.partition("?")[0].rpartition("/")[2]
    return last.startswith(policy.loopback_paths)
