"""Owns the decisions of hole punching: whom we introduce, and whose introductions we follow.

Source: BEP 55. None of the three parties can be made to do much: a relay acts on so many wishes of
a peer, names one peer to others so often, and only to who could reach it; who is introduced follows
so many introductions of one relay that it did not ask for.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable
from enum import Enum, auto
from typing import Final, Generic, NamedTuple, TypeVar

from torrent_engine.base.ids import PeerAddress
from torrent_engine.base.network_config import HolepunchConfig
from torrent_engine.base.operators import operator_of
from torrent_engine.policy.addresses import is_dialable, is_in_reach

PERIOD_S: Final = 60.0

Key = TypeVar("Key", bound=Hashable)


class Answer(Enum):
    """What a relay does about a rendezvous."""

    INTRODUCE = auto()
    """Tell both to dial each other."""
    SILENCE = auto()
    NO_SUCH_PEER = auto()
    NOT_CONNECTED = auto()
    NO_SUPPORT = auto()
    NO_SELF = auto()


class Party(NamedTuple, Generic[Key]):
    """A peer of ours, as far as an introduction needs it."""

    key: Key
    address: PeerAddress | None
    """Where a packet of another peer comes out of its router; None: we do not know."""
    speaks: bool
    """It named the extension."""


class Allowance(Generic[Key]):
    """So many events a minute for each key, for as many keys as are remembered."""

    def __init__(self, per_minute: int, max_keys: int) -> None:
        self._per_minute = per_minute
        self._max_keys = max_keys
        self._times: OrderedDict[Key, deque[float]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many keys are remembered."""
        return len(self._times)

    def is_used_up(self, key: Key, now: float) -> bool:
        """Tell whether nothing more is allowed at the moment."""
        times = self._times.get(key)
        if not times:
            return not self._per_minute
        return len(times) >= self._per_minute and times[0] > now - PERIOD_S

    def take(self, key: Key, now: float) -> bool:
        """Count one event and return True, or return False if it is one too many."""
        if self.is_used_up(key, now):
            return False
        self._times.setdefault(key, deque(maxlen=self._per_minute)).append(now)
        self._times.move_to_end(key)
        if len(self._times) > self._max_keys:
            self._times.popitem(last=False)
        return True


class IntroductionRules(Generic[Key]):
    """Peers are named by keys of any kind; ``now`` must not run backwards."""

    def __init__(self, config: HolepunchConfig) -> None:
        limit = config.max_remembered
        self._wishes = Allowance[str](config.max_rendezvous_per_minute, limit)
        self._named = Allowance[str](config.max_introductions_per_minute, limit)
        self._followed = Allowance[str](config.max_connects_per_minute, limit)

    def may_ask(self, host: str, now: float) -> bool:
        """Count a rendezvous of a peer at an IP address; False: it is to be passed over."""
        return self._wishes.take(operator_of(host), now)

    def answer(
        self,
        asker: Party[Key],
        wanted: PeerAddress,
        target: Party[Key] | None,
        now: float,
    ) -> Answer:
        """Decide on a rendezvous; ``target`` is our peer at the wanted address, if there is one.

        Of one address family only, and a local address only among locals: two others cannot meet,
        or would learn what does not concern them.
        """
        if not is_dialable(wanted):
            return Answer.NO_SUCH_PEER
        if target is None:
            return Answer.NOT_CONNECTED
        if target.key == asker.key:
            return Answer.NO_SELF
        if not target.speaks:
            return Answer.NO_SUPPORT
        if not _can_meet(asker.address, target.address):
            return Answer.NOT_CONNECTED
        is_allowed = self._named.take(operator_of(wanted.host), now)
        return Answer.INTRODUCE if is_allowed else Answer.SILENCE

    def may_follow(
        self, address: PeerAddress, relay_host: str, now: float, *, was_asked: bool
    ) -> bool:
        """Tell whether to dial whom a relay introduces; ``was_asked``: we wished for it."""
        if not is_dialable(address) or not is_in_reach(address.host, relay_host):
            return False
        return was_asked or self._followed.take(operator_of(relay_host), now)


def _can_meet(one: PeerAddress | None, other: PeerAddress | None) -> bool:
    if one is None or other is None or (":" in one.host) != (":" in other.host):
        return False
    return is_in_reach(one.host, other.host) and is_in_reach(other.host, one.host)
