"""Owns one fact: which peer we asked to introduce us to which address, and who is asked next.

Source: BEP 55; BEP 11 says of an address whether who is there can be introduced.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from torrent_engine.base.ids import PeerAddress
from torrent_engine.base.network_config import HolepunchConfig

Key = TypeVar("Key", bound=Hashable)
T = TypeVar("T")


@dataclass(slots=True)
class _Attempt(Generic[Key]):
    """One wish to meet who is at an address."""

    began_s: float
    asked: Key
    others: list[Key]
    """Who may be asked when that relay refuses, the next one last."""
    is_answered: bool = False
    is_followed: bool = False


class Rendezvous(Generic[Key]):
    """Relays are named by keys of any kind; ``now`` must not run backwards."""

    def __init__(self, config: HolepunchConfig) -> None:
        self._config = config
        self._able: OrderedDict[PeerAddress, None] = OrderedDict()
        self._attempts: OrderedDict[PeerAddress, _Attempt[Key]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many attempts are remembered."""
        return len(self._attempts)

    def heard(self, address: PeerAddress) -> None:
        """Learn that who is at an address can be introduced, as somebody says."""
        _remember(self._able, address, None, self._config.max_able)

    def ask(self, address: PeerAddress, relays: Iterable[Key], now: float) -> Key | None:
        """Return which relay to ask for an address that a dial did not reach.

        None if there is none, nobody said that it can be introduced, or somebody was asked lately:
        an introduction that comes to nothing must not lead to the next. Who was asked the last time
        comes last.
        """
        if address not in self._able:
            return None
        before = self._attempts.get(address)
        if before is not None and now < before.began_s + self._config.retry_s:
            return None
        asked_before = None if before is None else before.asked
        order = sorted(relays, key=lambda relay: relay == asked_before)[: self._config.max_relays]
        if not order:
            return None
        attempt = _Attempt(now, order[0], order[:0:-1])
        _remember(self._attempts, address, attempt, self._config.max_remembered)
        return order[0]

    def refused(self, address: PeerAddress, relay: Key) -> Key | None:
        """Return which relay to ask after one refused, None if there is no other."""
        attempt = self._open(address, relay)
        if attempt is None or not attempt.others:
            return None
        attempt.asked = attempt.others.pop()
        return attempt.asked

    def introduced(self, address: PeerAddress, relay: Key) -> bool:
        """Tell whether we asked this relay for this address; each wish is fulfilled once."""
        attempt = self._open(address, relay)
        if attempt is not None:
            attempt.is_answered = True
        return attempt is not None

    def followed(self, address: PeerAddress, relay: Key, now: float) -> None:
        """Note that we dial whom a relay introduced, wished for or not: that is an attempt, too."""
        attempt = self._attempts.get(address)
        if attempt is None or attempt.asked != relay:
            attempt = _Attempt(now, relay, [], is_answered=True)
            _remember(self._attempts, address, attempt, self._config.max_remembered)
        attempt.is_followed = True

    def was_followed(self, address: PeerAddress) -> bool:
        """Tell whether we dialled this address at the word of a relay."""
        return address in self._attempts and self._attempts[address].is_followed

    def left(self, relay: Key) -> None:
        """Ask somebody no more."""
        for attempt in self._attempts.values():
            attempt.others = [each for each in attempt.others if each != relay]

    def _open(self, address: PeerAddress, relay: Key) -> _Attempt[Key] | None:
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
