"""Rules of hole punching (BEP 55), as the relaying and as the target peer.

Source: BEP 55. Everything is rate limited: the rendezvous messages of an initiating peer, the
introductions of a target peer, and the unrequested "connect" messages of a relay that we act on. A
relay introduces peers only if they can reach each other.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable
from enum import Enum, auto
from typing import Final, Generic, NamedTuple, TypeVar

from torrent_engine.base.config import HolepunchConfig
from torrent_engine.base.ids import PeerAddress
from torrent_engine.base.operators import operator_of
from torrent_engine.policy.addresses import is_dialable, is_reachable_from

PERIOD_S: Final = 60.0
ALL_RELAYS: Final = 3  # ours: all together may make us dial as often as so many of them alone

Key = TypeVar("Key", bound=Hashable)


class RelayDecision(Enum):
    """A relay's decision about a rendezvous message."""

    INTRODUCE = auto()
    """Send a "connect" message to both, so that they dial each other."""
    SILENCE = auto()
    NO_SUCH_PEER = auto()
    NOT_CONNECTED = auto()
    NO_SUPPORT = auto()
    NO_SELF = auto()


class HolepunchPeer(NamedTuple, Generic[Key]):
    """The facts about a connected peer that introductions depend on."""

    key: Key
    address: PeerAddress | None
    """Its external address; None: unknown."""
    supports_holepunch: bool
    """Whether it supports the extension."""


class Allowance(Generic[Key]):
    """A rate limit in events a minute for each key; the number of keys is bounded."""

    def __init__(self, per_minute: int, max_keys: int) -> None:
        self._per_minute = per_minute
        self._max_keys = max_keys
        self._times: OrderedDict[Key, deque[float]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many keys are remembered."""
        return len(self._times)

    def is_used_up(self, key: Key, now: float) -> bool:
        """Return whether no further event is allowed at the moment."""
        times = self._times.get(key)
        if not times:
            return not self._per_minute
        return len(times) >= self._per_minute and times[0] > now - PERIOD_S

    def take(self, key: Key, now: float) -> bool:
        """Count one event and return True, or return False if it is over the limit."""
        if self.is_used_up(key, now):
            return False
        self._times.setdefault(key, deque(maxlen=self._per_minute)).append(now)
        self._times.move_to_end(key)
        if len(self._times) > self._max_keys:
            self._times.popitem(last=False)
        return True


class HolepunchRules(Generic[Key]):
    """The limits on introductions; peers are identified by keys of any kind."""

    def __init__(self, config: HolepunchConfig) -> None:
        limit = config.max_remembered
        self._rendezvous = Allowance[str](config.max_rendezvous_per_minute, limit)
        self._introductions = Allowance[str](config.max_introductions_per_minute, limit)
        self._connects = Allowance[str](config.max_connects_per_minute, limit)
        self._all_connects = Allowance[None](ALL_RELAYS * config.max_connects_per_minute, 1)

    def may_rendezvous(self, host: str, now: float) -> bool:
        """Count a rendezvous message from an IP address; return False if it must be ignored."""
        return self._rendezvous.take(operator_of(host), now)

    def answer(
        self,
        initiator: HolepunchPeer[Key],
        target_address: PeerAddress,
        target: HolepunchPeer[Key] | None,
        now: float,
    ) -> RelayDecision:
        """Decide on a rendezvous; ``target`` is our peer at the target address, if there is one.

        Both must be of one address family and in reach of each other: other peers cannot connect,
        and would learn local addresses.
        """
        if not is_dialable(target_address):
            return RelayDecision.NO_SUCH_PEER
        if target is None:
            return RelayDecision.NOT_CONNECTED
        if target.key == initiator.key:
            return RelayDecision.NO_SELF
        if not target.supports_holepunch:
            return RelayDecision.NO_SUPPORT
        if not _can_connect(initiator.address, target.address):
            return RelayDecision.NOT_CONNECTED
        is_allowed = self._introductions.take(operator_of(target_address.host), now)
        return RelayDecision.INTRODUCE if is_allowed else RelayDecision.SILENCE

    def may_connect(
        self, address: PeerAddress, relay_host: str, now: float, *, was_asked: bool
    ) -> bool:
        """Return whether to dial the peer of a "connect"; ``was_asked``: we requested it.

        Unrequested ones are limited over all relays, too: each takes a place among the dials for
        up to ten seconds, and a few relays that name dead addresses would leave none.
        """
        if not is_dialable(address) or not is_reachable_from(address.host, relay_host):
            return False
        if was_asked:
            return True
        return self._connects.take(operator_of(relay_host), now) and self._all_connects.take(
            None, now
        )


def _can_connect(one: PeerAddress | None, other: PeerAddress | None) -> bool:
    if one is None or other is None or (":" in one.host) != (":" in other.host):
        return False
    return is_reachable_from(one.host, other.host) and is_reachable_from(other.host, one.host)
