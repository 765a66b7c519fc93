"""Owns which IP addresses may be connected to for a URL that came from a stranger.

Source: RELIABILITY row D1. Link-local addresses and others where clouds keep their secrets,
multicast and the unspecified address are refused for everybody; private ones and loopback by
policy. A name stands here only where a proxy looks it up: it counts as public, unless it is known
to mean loopback.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from torrent_engine.base.errors import HttpError
from torrent_engine.base.operators import embedded_ipv4

IPAddress = IPv4Address | IPv6Address
_LOOPBACK: Final = IPv4Address("127.0.0.1")
_LOOPBACK_NAMES: Final = (".localhost", ".localhost.localdomain", ".ip6-localhost")
_CLOUD_SECRETS: Final = frozenset(
    map(ip_address, ("192.0.0.192", "100.100.100.200", "fd00:ec2::254", "fd20:ce::254"))
)
"""Where clouds keep their secrets beside the link-local addresses."""
_NOT_GLOBAL: Final = tuple(map(ip_network, ("192.0.0.0/24", "192.88.99.0/24", "3fff::/20")))
"""Special networks (IANA) that some versions of Python hold for public ones."""


class AddressRefusedError(HttpError):
    """The policy does not allow any address of a host."""


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """What the addresses of a URL's host must be."""

    allow_non_global: bool
    """Loopback, private and other addresses that are not of the public internet."""
    loopback_paths: tuple[str, ...] = ()
    """If not empty: on loopback the last path element must begin with one of these words."""


TRACKER_POLICY: Final = AddressPolicy(allow_non_global=True, loopback_paths=("announce", "scrape"))
"""A tracker may be local, but a torrent must not make us GET anything else of a local service."""
WEB_SEED_POLICY: Final = AddressPolicy(allow_non_global=False)
USER_POLICY: Final = AddressPolicy(allow_non_global=True)
"""For URLs that the user typed."""


def real_address(literal: str) -> IPAddress:
    """Parse a literal address; IPv4 inside IPv6 (mapped, 6to4, NAT64, Teredo) comes out as IPv4.

    Raises ValueError if it is none.
    """
    address = ip_address(literal.partition("%")[0])
    if isinstance(address, IPv4Address):
        return address
    return embedded_ipv4(address) or address


def is_global(host: str) -> bool:
    """Say whether a literal address belongs to the public internet; a name does."""
    address = _address_of(host)
    if address is None:
        return True
    if isinstance(address, IPv6Address) and address.is_site_local:
        return False  # retired, and yet used by some as private
    if any(address in network for network in _NOT_GLOBAL):
        return False
    return address.is_global and not address.is_multicast


def check_address(literal: str, policy: AddressPolicy, *, path: str = "/") -> None:
    """Refuse an address that ``policy`` does not allow; ``path`` is that of the URL.

    Raises AddressRefusedError, an HttpError that names the rule and not the URL.
    """
    address = _address_of(literal)
    if address is None:
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
    """Return those addresses that the policy allows; HttpError, the first one's, if none is."""
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
    """Return the address, or that which a name stands for; None for another name."""
    try:
        return real_address(host)
    except ValueError:
        is_loopback = f".{host.lower().rstrip('.')}".endswith(_LOOPBACK_NAMES)
        return _LOOPBACK if is_loopback else None


def _is_loopback_path(path: str, policy: AddressPolicy) -> bool:
    if not policy.loopback_paths:
        return True
    last = path.partition("?")[0].rpartition("/")[2]
    return last.startswith(policy.loopback_paths)
