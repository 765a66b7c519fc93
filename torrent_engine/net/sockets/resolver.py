"""The resolver interface: from a host to literal addresses, in the order to try them."""

import socket
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

import anyio

from torrent_engine.base.errors import NameResolutionError, NetworkError

Resolver = Callable[[str, int], Awaitable[list[str]]]
"""Takes host and port, returns literal addresses; raises NetworkError if there are none."""


def is_literal(host: str) -> bool:
    """Return whether ``host`` is a literal IPv4 or IPv6 address."""
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


async def resolve(host: str, port: int) -> list[str]:
    """Resolve a host in a worker thread; literal addresses are returned unchanged.

    Raises NameResolutionError if the name does not exist or the lookup fails.
    """
    if is_literal(host):
        return [host]
    try:
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NameResolutionError(f"cannot resolve {host}: {error}") from error
    return list(dict.fromkeys(str(address[4][0]) for address in found))


def name_failure(error: BaseException | None) -> NameResolutionError | None:
    """Return the failed lookup that caused an error; its text has no secrets of URLs."""
    while error is not None and not isinstance(error, NameResolutionError):
        error = error.__cause__
    return error


async def refuse_names(host: str, _port: int) -> list[str]:
    """Return a literal address unchanged. Raises NetworkError for a name."""
    if is_literal(host):
        return [host]
    raise NetworkError(f"{host} is not resolved: all traffic must use the proxy")


async def keep_name(host: str, _port: int) -> list[str]:
    """Return a name unchanged, for resolution by the proxy."""
    return [host]
