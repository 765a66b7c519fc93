"""Incoming peer exchange: responsibility of peers for the addresses they send.

Source: BEP 11; row B9. If hardly any address of a peer is reachable, or the peer is banned, its
further messages are ignored, and addresses that only it sent are forgotten.
"""

from collections import OrderedDict, deque
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from torrent_engine.base.config import PexConfig, PoolConfig
from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.base.operators import operator_of
from torrent_engine.policy.addresses import is_dialable, is_reachable_from, may_be_shared

MAX_REMEMBERED: Final = 1_000  # ours: the oldest entries are dropped first

Key = TypeVar("Key", bound=Hashable)
T = TypeVar("T")
MessageLog = deque[tuple[float, int]]
"""Recent messages: when each was received, and how many of its addresses were accepted."""


@dataclass(eq=False, slots=True)
class _PexSender:
    """One peer that sends PEX messages."""

    host: str
    name: str
    """Its identity across connections: its operator, or its address if that may be shared."""
    heard: MessageLog
    """Also the messages of earlier connections, which may have been another peer's."""
    sent_s: deque[float] = field(default_factory=deque)
    """When its own recent messages were received."""
    addresses: dict[PeerAddress, None] = field(default_factory=dict)
    """Accepted addresses that it claims to be connected to."""
    operators: set[str] = field(default_factory=set)
    charged: set[PeerAddress] = field(default_factory=set)
    """Addresses that it was the first to send and that were not dialled yet."""
    reached: int = 0
    failed: int = 0


class PexTrust(Generic[Key]):
    """The addresses sent by each peer, and trust in the peers, identified by keys of any kind."""

    def __init__(self, config: PexConfig, pool: PoolConfig) -> None:
        self._config = config
        self._pool = pool
        self._senders: dict[Key, _PexSender] = {}
        self._responsible: OrderedDict[PeerAddress, _PexSender] = OrderedDict()
        self._logs: OrderedDict[str, MessageLog] = OrderedDict()
        """Message log by name, for peers that reconnect."""
        self._distrusted: OrderedDict[str, float] = OrderedDict()
        """Name of an ignored peer -> end of that time."""

    def joined(self, key: Key, address: PeerAddress) -> None:
        """Add a peer; ``address`` is the other end of its connection."""
        if key not in self._senders:
            host = address.host
            is_shared = may_be_shared(host, self._pool)
            name = str(address) if is_shared else operator_of(host)
            self._senders[key] = _PexSender(address.host, name, self._logs.get(name, deque()))

    def left(self, key: Key) -> None:
        """Remove a disconnected peer; it stays responsible for the addresses that it sent."""
        self._senders.pop(key, None)

    def addresses_of(self, key: Key) -> Collection[PeerAddress]:
        """Return the addresses to which a peer claims to be connected."""
        return self._senders[key].addresses if key in self._senders else ()

    def sources_of(self, address: PeerAddress, now: float) -> list[Key]:
        """Return the peers that claim to be connected to an address, without ignored ones."""
        return [
            key
            for key, sender in self._senders.items()
            if address in sender.addresses and self._is_trusted(sender, now)
        ]

    def heard(
        self, key: Key, added: Sequence[PeerAddress], dropped: Collection[PeerAddress], now: float
    ) -> list[PeerAddress]:
        """Process one message of a peer that :meth:`joined`; return the addresses to try.

        What it adds is ignored if there were too many messages of its name. Raises
        RemoteProtocolError if so many were its own.
        """
        sender = self._senders[key]
        is_heard = self._count_message(sender, now)
        for address in dropped:
            _forget(sender, address)
        if not is_heard:
            return []
        accepted: list[PeerAddress] = []
        if self._is_trusted(sender, now):
            room = self._room(sender)
            for address in added:
                if (
                    len(accepted) < room
                    and address not in dropped
                    and self._accept(sender, address)
                ):
                    accepted.append(address)
        sender.heard.append((now, len(accepted)))
        _remember(self._logs, sender.name, sender.heard)
        return accepted

    def charge(self, key: Key, address: PeerAddress) -> None:
        """Make a peer responsible for an address that it was the first to send."""
        if (sender := self._senders.get(key)) is None:
            return
        if (earlier := self._responsible.pop(address, None)) is not None:
            earlier.charged.discard(address)
        self._responsible[address] = sender
        sender.charged.add(address)
        if len(self._responsible) > self._pool.max_candidates:
            oldest, its_sender = self._responsible.popitem(last=False)
            its_sender.charged.discard(oldest)

    def dialled(self, address: PeerAddress, now: float, *, reached: bool) -> list[PeerAddress]:
        """Record the result of a dial for the responsible peer; return addresses to remove."""
        sender = self._responsible.pop(address, None)
        if sender is None:
            return []
        sender.charged.discard(address)
        sender.reached += reached
        sender.failed += not reached
        judged = sender.reached + sender.failed
        if (
            judged < self._config.min_judged
            or sender.reached >= judged * self._config.min_reached_share
        ):
            return []
        return self._distrust(sender, now)

    def distrust(self, key: Key, now: float) -> list[PeerAddress]:
        """Ignore a peer for a while; return the addresses that only it sent."""
        sender = self._senders.get(key)
        return [] if sender is None else self._distrust(sender, now)

    def _distrust(self, sender: _PexSender, now: float) -> list[PeerAddress]:
        _remember(self._distrusted, sender.name, now + self._config.distrust_s)
        others = [each.addresses for each in self._senders.values() if self._is_trusted(each, now)]
        unique = [
            each for each in sender.charged if not any(each in addresses for addresses in others)
        ]
        for address in sender.charged:
            del self._responsible[address]
        sender.charged.clear()
        return unique

    def _is_trusted(self, sender: _PexSender, now: float) -> bool:
        return self._distrusted.get(sender.name, now) <= now

    def _count_message(self, sender: _PexSender, now: float) -> bool:
        """Count a message, and return whether it is listened to."""
        config, heard, sent_s = self._config, sender.heard, sender.sent_s
        while heard and heard[0][0] <= now - config.interval_s:
            heard.popleft()
        while sent_s and sent_s[0] <= now - config.interval_s:
            sent_s.popleft()
        if len(sent_s) >= config.max_messages_per_interval:
            raise RemoteProtocolError(
                f"more than {config.max_messages_per_interval} ut_pex in {config.interval_s:g} s",
                bep=11,
            )
        sent_s.append(now)
        return len(heard) < config.max_messages_per_interval

    def _room(self, sender: _PexSender) -> int:
        accepted_recently = sum(count for _, count in sender.heard)
        return self._config.max_contacts - max(accepted_recently, len(sender.addresses))

    def _accept(self, sender: _PexSender, address: PeerAddress) -> bool:
        """Accept an address: one for each operator, and none that the sender cannot reach."""
        if not is_dialable(address) or not is_reachable_from(address.host, sender.host):
            return False
        shared = may_be_shared(address.host, self._pool)
        operator = operator_of(address.host)
        if address in sender.addresses or (operator in sender.operators and not shared):
            return False
        sender.addresses[address] = None
        sender.operators.add(operator)
        return True


def _forget(sender: _PexSender, address: PeerAddress) -> None:
    if address in sender.addresses:
        del sender.addresses[address]
        sender.operators.discard(operator_of(address.host))


def _remember(memory: OrderedDict[str, T], name: str, value: T) -> None:
    memory[name] = value
    memory.move_to_end(name)
    if len(memory) > MAX_REMEMBERED:
        memory.popitem(last=False)
