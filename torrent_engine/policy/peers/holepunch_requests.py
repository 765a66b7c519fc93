"""Our rendezvous requests: the relay tried for each address, and the next one.

Source: BEP 55; a flag of BEP 11 says which peers support ut_holepunch.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from torrent_engine.base.config import HolepunchConfig
from torrent_engine.base.ids import PeerAddress

Key = TypeVar("Key", bound=Hashable)
T = TypeVar("T")


@dataclass(slots=True)
class _RequestedAddress(Generic[Key]):
    """An address for which a rendezvous was requested."""

    began_s: float
    asked: Key
    others: list[Key]
    """Relays to try when that one refuses, the next one last."""
    is_answered: bool = False
    is_followed: bool = False


class HolepunchRequests(Generic[Key]):
    """Rendezvous requests; relays are identified by keys of any kind."""

    def __init__(self, config: HolepunchConfig) -> None:
        self._config = config
        self._supporting: OrderedDict[PeerAddress, None] = OrderedDict()
        self._attempts: OrderedDict[PeerAddress, _RequestedAddress[Key]] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of remembered attempts."""
        return len(self._attempts)

    def heard(self, address: PeerAddress) -> None:
        """Record that the peer at an address supports ut_holepunch."""
        _remember(self._supporting, address, None, self._config.max_capable_peers)

    def ask(self, address: PeerAddress, relays: Iterable[Key], now: float) -> Key | None:
        """Return the relay to use for an address whose dial failed.

        None if there is no relay, the address is not known to support the extension, or the last
        attempt is recent, so that a failed introduction does not lead to the next one. The relay of
        the last attempt is tried last.
        """
        if address not in self._supporting:
            return None
        before = self._attempts.get(address)
        if before is not None and now < before.began_s + self._config.retry_s:
            return None
        asked_before = None if before is None else before.asked
        order = sorted(relays, key=lambda relay: relay == asked_before)[: self._config.max_relays]
        if not order:
            return None
        attempt = _RequestedAddress(now, order[0], order[:0:-1])
        _remember(self._attempts, address, attempt, self._config.max_remembered)
        return order[0]

    def refused(self, address: PeerAddress, relay: Key) -> Key | None:
        """Return the next relay after one refused, None if there is no other."""
        attempt = self._open(address, relay)
        if attempt is None or not attempt.others:
            return None
        attempt.asked = attempt.others.pop()
        return attempt.asked

    def introduced(self, address: PeerAddress, relay: Key) -> bool:
        """Return whether a "connect" answers our request to this relay; each counts once."""
        attempt = self._open(address, relay)
        if attempt is not None:
            attempt.is_answered = True
        return attempt is not None

    def followed(self, address: PeerAddress, relay: Key, now: float) -> None:
        """Record as an attempt that we dial the peer of a "connect" message, requested or not."""
        attempt = self._attempts.get(address)
        if attempt is None or attempt.asked != relay:
            attempt = _RequestedAddress(now, relay, [], is_answered=True)
            _remember(self._attempts, address, attempt, self._config.max_remembered)
        attempt.is_followed = True

    def was_followed(self, address: PeerAddress) -> bool:
        """Return whether we dialled this address because of a relay's "connect" message."""
        return address in self._attempts and self._attempts[address].is_followed

    def left(self, relay: Key) -> None:
        """Remove a relay."""
        for attempt in self._attempts.values():
            attempt.others = [each for each in attempt.others if each != relay]

    def _open(self, address: PeerAddress, relay: Key) -> _RequestedAddress[Key] | None:
        attempt = self._attempts.get(address)
        if attempt is None or attempt.is_answered or attempt.asked != relay:
            return None
        return attempt


def _remember(
    memory: OrderedDict[PeerAddress, T], address: PeerAddress, value: T, max_count: int
) -> None:
    memory[address] = value
    memory.move_to_end(address)
    if len(memory) > max_count:
        memory.popitem(last=False)
