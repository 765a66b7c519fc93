"""What the checks look at of a request."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any, Final

AddressRange = IPv4Network | IPv6Network
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """A request as the first proxy that is not trusted saw it."""

    method: str
    path: str
    scheme: str
    host: str
    """The Host as sent, with its port."""
    client: str | None
    """Address of the client; None at a unix socket."""
    peer_uid: int | None
    """User at the other end of a unix socket, where the system tells."""
    listener: str
    query: bytes
    fields: Mapping[bytes, Sequence[bytes]]
    held: Callable[[], AbstractContextManager[None]] = nullcontext
    """While it is entered, others may have the place of the connection."""

    @property
    def is_safe(self) -> bool:
        """Whether the method changes nothing."""
        return self.method in SAFE_METHODS

    @property
    def is_unix(self) -> bool:
        """Whether it came by a unix socket."""
        return self.client is None

    def field(self, name: bytes) -> str | None:
        """Return the value of a field; None if it is missing, twice there or no text."""
        values = self.fields.get(name, ())
        if len(values) != 1:
            return None
        try:
            return values[0].decode("ascii")
        except UnicodeDecodeError:
            return None

    def has(self, name: bytes) -> bool:
        """Return whether a field is there, whatever its value."""
        return name in self.fields

    def cookie(self, name: str) -> str | None:
        """Return the value of a cookie; None if it is missing or twice there."""
        prefix = f"{name}="
        text = self.field(b"cookie") or ""
        found = [part.strip() for part in text.split(";") if part.strip().startswith(prefix)]
        return found[0][len(prefix) :] if len(found) == 1 else None


def facts_of(
    scope: Mapping[str, Any], trusted_proxies: Sequence[AddressRange] = ()
) -> RequestFacts:
    """Return the facts of a request from its ASGI scope."""
    fields: dict[bytes, list[bytes]] = {}
    for name, value in scope["headers"]:
        fields.setdefault(name, []).append(value)
    extensions = scope.get("extensions") or {}
    client = scope.get("client")
    facts = RequestFacts(
        method=scope["method"],
        path=scope["path"],
        scheme=scope.get("scheme") or "http",
        host=fields.get(b"host", [b""])[0].decode("latin-1"),
        client=None if client is None else str(client[0]),
        peer_uid=extensions.get("te.peer_uid"),
        listener=extensions.get("te.listener", ""),
        query=scope.get("query_string", b""),
        fields=fields,
        held=extensions.get("te.held", nullcontext),
    )
    if client is None or not is_within(facts.client or "", trusted_proxies):
        return facts
    return _forwarded(facts, trusted_proxies)


def is_within(host: str, networks: Sequence[AddressRange]) -> bool:
    """Return whether an address is in one of some networks."""
    if not networks:
        return False
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in networks)


def _forwarded(facts: RequestFacts, trusted: Sequence[AddressRange]) -> RequestFacts:
    """Return what a trusted proxy says of who asked it."""
    hops = [hop.strip() for hop in _joined(facts, b"x-forwarded-for").split(",") if hop.strip()]
    client = facts.client
    for hop in reversed(hops):
        client = _address(hop)
        if not is_within(client, trusted):
            break
    scheme = (facts.field(b"x-forwarded-proto") or facts.scheme).strip().lower()
    return RequestFacts(
        method=facts.method,
        path=facts.path,
        scheme=scheme if scheme in {"http", "https"} else facts.scheme,
        host=facts.field(b"x-forwarded-host") or facts.host,
        client=client,
        peer_uid=None,
        listener=facts.listener,
        query=facts.query,
        fields=facts.fields,
        held=facts.held,
    )


def _joined(facts: RequestFacts, name: bytes) -> str:
    return b",".join(facts.fields.get(name, ())).decode("latin-1")


def _address(hop: str) -> str:
    """Return a hop without its port: some proxies add it."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
