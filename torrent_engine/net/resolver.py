"""Owns name look-ups: a host in, literal addresses out, in the order to try them."""

import socket
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

import anyio

from torrent_engine.base.errors import NetworkError

Resolver = Callable[[str, int], Awaitable[list[str]]]
"""Takes host and port, returns literal addresses; raises NetworkError if there is none."""


def is_literal(host: str) -> bool:
    """Say whether ``host`` is an IPv4 or IPv6 address and no name."""
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


async def resolve(host: str, port: int) -> list[str]:
    """Look a host up in a worker thread; literal addresses are returned as they are.

    Raises NetworkError if the name does not exist or the look-up fails.
    """
    if is_literal(host):
        return [host]
    try:
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NetworkError(f"cannot resolve {host}: {error}") from error
    return list(dict.fromkeys(str(address[4][0]) for address in found))


async def refuse_names(host: str, _port: int) -> list[str]:
    """Return a literal address as it is; NetworkError for a name, which must not be asked for."""
    if is_literal(host):
        return [host]
    raise NetworkError(f"{host} is not looked up: everything must go through the proxy")


async def keep_name(host: str, _port: int) -> list[str]:
    """Return a name as it is: a proxy looks it up."""
    return [host]
