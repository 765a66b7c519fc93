"""The IP filter: which addresses are blocked, allowed, or exempt from rate limits.

Source: what libtorrent calls IP filter, port filter and peer classes.
"""

from dataclasses import dataclass
from typing import Protocol

from torrent_engine.base.config import ClassRule
from torrent_engine.base.ids import PeerAddress
from torrent_engine.policy.addresses import is_local
from torrent_engine.policy.ip_filter.ranges import AddressRanges


@dataclass(frozen=True, slots=True)
class AddressSet:
    """The addresses of one class."""

    name: str
    rule: ClassRule
    ranges: AddressRanges


class AddressVerdicts(Protocol):
    """The read interface of an IP filter, fixed or reloadable."""

    @property
    def generation(self) -> int:
        """Increases with each change; existing connections are then checked again."""

    def allows(self, address: PeerAddress) -> bool:
        """Return whether there may be a link with who is at an address, whoever dialled."""

    def allows_dial(self, address: PeerAddress) -> bool:
        """Return whether an address may be dialled."""


class IpFilter:
    """An immutable filter made of classes of addresses.

    An address in a class with the rule "allowed" is allowed whatever other classes say; so is the
    local network with ``always_allow_local``.
    """

    generation = 0

    def __init__(
        self,
        classes: tuple[AddressSet, ...] = (),
        *,
        blocked_ports: tuple[tuple[int, int], ...] = (),
        always_allow_local: bool = False,
    ) -> None:
        self.classes = classes
        self._blocked = _with_rule(classes, ClassRule.BLOCKED)
        self._allowed = _with_rule(classes, ClassRule.ALLOWED)
        self._unlimited = _with_rule(classes, ClassRule.UNLIMITED)
        self._ports = blocked_ports
        self._allows_local = always_allow_local

    def allows(self, address: PeerAddress) -> bool:
        """Return whether there may be a link with who is at an address, whoever dialled.

        Takes a few microseconds. Ports are ignored: the source port of an incoming connection is
        arbitrary.
        """
        return self.blocked_by(address.host) is None

    def allows_dial(self, address: PeerAddress) -> bool:
        """Return whether an address may be dialled."""
        port = address.port
        if any(first <= port <= last for first, last in self._ports):
            return False
        return self.allows(address)

    def blocked_by(self, host: str) -> str | None:
        """Return the name of a class that blocks an address; None if it is allowed."""
        for each in self._blocked:
            if host in each.ranges:
                return None if self._is_exempt(host) else each.name
        return None

    def is_unlimited(self, host: str) -> bool:
        """Return whether an address is exempt from the rate limits."""
        return any(host in each.ranges for each in self._unlimited)

    def _is_exempt(self, host: str) -> bool:
        if self._allows_local and is_local(host.partition("%")[0]):
            return True
        return any(host in each.ranges for each in self._allowed)


def _with_rule(classes: tuple[AddressSet, ...], rule: ClassRule) -> tuple[AddressSet, ...]:
    return tuple(each for each in classes if each.rule is rule and len(each.ranges))
