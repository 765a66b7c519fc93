"""Which hosts and origins a request may name: against DNS rebinding and other sites' pages."""

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:/@\s]+)(?::([0-9]{1,5}))?")
_ALWAYS: Final = frozenset({"localhost"})
_PORTS: Final = {"http": "80", "https": "443"}


def name_of(host: str) -> str | None:
    """Return the name or address in a Host, in small letters; None if it is malformed."""
    found = _HOST.fullmatch(host)
    return None if found is None else found[1].strip("[]").lower().removesuffix(".")


class HostRule:
    """Names under which the daemon answers: IP addresses, ``localhost``, and configured ones.

    A page of another site that makes its name point to us still sends its own name.
    """

    def __init__(self, hosts: Sequence[str] = ()) -> None:
        names = [host.lower().removesuffix(".") for host in hosts]
        self._names = _ALWAYS | {name for name in names if not name.startswith("*.")}
        self._suffixes = tuple(name[1:] for name in names if name.startswith("*."))

    def allows(self, host: str) -> bool:
        """Return whether a Host is one of ours."""
        name = name_of(host)
        if name is None:
            return False
        if name in self._names or _is_address(name):
            return True
        return bool(self._suffixes) and name.endswith(self._suffixes)


@lru_cache(maxsize=1024)
def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def origin_of(scheme: str, host: str) -> str:
    """Return the origin of a request's own address, without a default port."""
    found = _HOST.fullmatch(host)
    if found is None:
        return ""
    name, port = found[1].lower(), found[2]
    is_default = port is None or port == _PORTS.get(scheme)
    return f"{scheme}://{name}" if is_default else f"{scheme}://{name}:{port}"


class OriginRule:
    """Sites whose pages may ask: our own, and configured ones."""

    def __init__(self, origins: Sequence[str] = ()) -> None:
        self._origins = frozenset(origin.lower().rstrip("/") for origin in origins)

    def is_listed(self, origin: str | None) -> bool:
        """Return whether an origin was configured."""
        return origin is not None and origin.lower() in self._origins

    def refuses(self, origin: str | None, fetch_site: str | None, own: str) -> bool:
        """Return whether a request that changes something comes from a page of another site."""
        if origin is not None and self.is_listed(origin):
            return False
        if origin is not None and origin != "null" and origin.lower() != own:
            return True
        return fetch_site == "cross-site"
