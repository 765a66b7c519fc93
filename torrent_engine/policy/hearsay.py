"""Owns one fact: which peer told us of which address, and who is not listened to any more.

Source: BEP 11; row B9. Every peer answers for what it named: if hardly any of it can be reached, or
the peer is banned, nothing more is taken from it, and what only it named is forgotten.
"""

from collections import OrderedDict, deque
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from torrent_engine.base.config import PexConfig, PoolConfig
from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.base.operators import operator_of
from torrent_engine.policy.addresses import is_dialable, is_in_reach, may_be_shared

MAX_REMEMBERED: Final = 1_000  # ours: entries of memory; the oldest go first

Key = TypeVar("Key", bound=Hashable)
T = TypeVar("T")
Heard = deque[tuple[float, int]]
"""When the last messages came, and how many addresses were taken of each."""


@dataclass(eq=False, slots=True)
class _Teller:
    """One peer that tells."""

    host: str
    name: str
    """Under which it is remembered when it comes again."""
    heard: Heard
    told: dict[PeerAddress, None] = field(default_factory=dict)
    """What it says it is connected to, as far as we keep it."""
    operators: set[str] = field(default_factory=set)
    charged: set[PeerAddress] = field(default_factory=set)
    """What it was the first to name, and nobody dialled yet."""
    reached: int = 0
    failed: int = 0


class Hearsay(Generic[Key]):
    """Peers are named by keys of any kind; ``now`` must not run backwards."""

    def __init__(self, config: PexConfig, pool: PoolConfig) -> None:
        self._config = config
        self._pool = pool
        self._tellers: dict[Key, _Teller] = {}
        self._charges: OrderedDict[PeerAddress, _Teller] = OrderedDict()
        self._heard: OrderedDict[str, Heard] = OrderedDict()
        """The same for who hangs up and comes again."""
        self._distrusted: OrderedDict[str, float] = OrderedDict()
        """Whom nothing is taken from, and until when."""

    def joined(self, key: Key, address: PeerAddress) -> None:
        """Listen to a peer; ``address`` is the other end of its link."""
        if key not in self._tellers:
            host = address.host
            is_shared = may_be_shared(host, self._pool)
            name = str(address) if is_shared else operator_of(host)
            self._tellers[key] = _Teller(address.host, name, self._heard.get(name, deque()))

    def left(self, key: Key) -> None:
        """Forget what a peer is connected to; it still answers for it."""
        self._tellers.pop(key, None)

    def told_by(self, key: Key) -> Collection[PeerAddress]:
        """Return the addresses that a peer says it is connected to."""
        return self._tellers[key].told if key in self._tellers else ()

    def who_told(self, address: PeerAddress, now: float) -> list[Key]:
        """Return who says it is connected to an address, but for those not listened to."""
        return [
            key
            for key, teller in self._tellers.items()
            if address in teller.told and self._is_trusted(teller, now)
        ]

    def heard(
        self, key: Key, added: Sequence[PeerAddress], dropped: Collection[PeerAddress], now: float
    ) -> list[PeerAddress]:
        """Take one message of a peer that :meth:`joined`; return what of it may be dialled.

        Raises RemoteProtocolError if it sends messages too often.
        """
        teller = self._tellers[key]
        self._count_message(teller, now)
        for address in dropped:
            _forget(teller, address)
        taken: list[PeerAddress] = []
        if self._is_trusted(teller, now):
            room = self._room(teller)
            for address in added:
                if len(taken) < room and address not in dropped and self._keep(teller, address):
                    taken.append(address)
        teller.heard.append((now, len(taken)))
        _remember(self._heard, teller.name, teller.heard)
        return taken

    def charge(self, key: Key, address: PeerAddress) -> None:
        """Let a peer answer for an address that nobody else had named."""
        if (teller := self._tellers.get(key)) is None:
            return
        if (earlier := self._charges.pop(address, None)) is not None:
            earlier.charged.discard(address)
        self._charges[address] = teller
        teller.charged.add(address)
        if len(self._charges) > self._pool.max_candidates:
            oldest, its_teller = self._charges.popitem(last=False)
            its_teller.charged.discard(oldest)

    def dialled(self, address: PeerAddress, now: float, *, reached: bool) -> list[PeerAddress]:
        """Judge who named an address by what became of its dial; return what to forget."""
        teller = self._charges.pop(address, None)
        if teller is None:
            return []
        teller.charged.discard(address)
        teller.reached += reached
        teller.failed += not reached
        judged = teller.reached + teller.failed
        if (
            judged < self._config.min_judged
            or teller.reached >= judged * self._config.min_reached_share
        ):
            return []
        return self._distrust(teller, now)

    def distrust(self, key: Key, now: float) -> list[PeerAddress]:
        """Take nothing more from a peer for a while; return what only it named."""
        teller = self._tellers.get(key)
        return [] if teller is None else self._distrust(teller, now)

    def _distrust(self, teller: _Teller, now: float) -> list[PeerAddress]:
        _remember(self._distrusted, teller.name, now + self._config.distrust_s)
        others = [each.told for each in self._tellers.values() if self._is_trusted(each, now)]
        alone = [each for each in teller.charged if not any(each in told for told in others)]
        for address in teller.charged:
            del self._charges[address]
        teller.charged.clear()
        return alone

    def _is_trusted(self, teller: _Teller, now: float) -> bool:
        return self._distrusted.get(teller.name, now) <= now

    def _count_message(self, teller: _Teller, now: float) -> None:
        config = self._config
        while teller.heard and teller.heard[0][0] <= now - config.interval_s:
            teller.heard.popleft()
        if len(teller.heard) >= config.max_messages_per_interval:
            raise RemoteProtocolError(
                f"more than {config.max_messages_per_interval} ut_pex in {config.interval_s:g} s",
                bep=11,
            )

    def _room(self, teller: _Teller) -> int:
        taken_lately = sum(count for _, count in teller.heard)
        return self._config.max_contacts - max(taken_lately, len(teller.told))

    def _keep(self, teller: _Teller, address: PeerAddress) -> bool:
        """Note an address unless it is of no use: one an operator, no local ones from elsewhere."""
        if not is_dialable(address) or not is_in_reach(address.host, teller.host):
            return False
        shared = may_be_shared(address.host, self._pool)
        operator = operator_of(address.host)
        if address in teller.told or (operator in teller.operators and not shared):
            return False
        teller.told[address] = None
        teller.operators.add(operator)
        return True


def _forget(teller: _Teller, address: PeerAddress) -> None:
    if address in teller.told:
        del teller.told[address]
        teller.operators.discard(operator_of(address.host))


def _remember(memory: OrderedDict[str, T], name: str, value: T) -> None:
    memory[name] = value
    memory.move_to_end(name)
    if len(memory) > MAX_REMEMBERED:
        memory.popitem(last=False)
