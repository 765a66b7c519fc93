"""Owns one fact: who is banned, and until when.

A ban names a peer by its address and by its peer id, so that an honest peer behind the same NAT
stays welcome; only several banned peers of one operator, an IPv4 address or an IPv6 /64, ban all of
it (row B7).
"""

from collections import OrderedDict
from typing import Final

from torrent_engine.base.config import PoolConfig
from torrent_engine.base.ids import PeerAddress, PeerId
from torrent_engine.base.operators import operator_of
from torrent_engine.policy.addresses import may_be_shared

MAX_BANS: Final = 10_000  # ours: entries of memory; the oldest go first

_Name = int | PeerId | None  # a port, a peer id, or None: everything of an operator


class BanList:
    """Bans that end by themselves; ``now`` must not run backwards."""

    def __init__(self, config: PoolConfig) -> None:
        self._config = config
        self._ends: OrderedDict[tuple[str, _Name], float] = OrderedDict()
        self._strikes: OrderedDict[str, list[float]] = OrderedDict()

    def ban(self, address: PeerAddress, peer_id: PeerId | None, now: float) -> None:
        """Ban a peer; the third one of an operator bans all of it, except where many share it.

        Banning again whom a ban already names only moves its end.
        """
        known = self.is_banned(address, peer_id, now)
        operator = operator_of(address.host)
        self._set(address.host, address.port, now)
        if peer_id is not None:
            self._set(operator, peer_id, now)
        if not known and not may_be_shared(address.host, self._config):
            self._strike(operator, now)

    def is_banned(self, address: PeerAddress, peer_id: PeerId | None, now: float) -> bool:
        """Return whether a peer is banned: its operator, its port, or its peer id there."""
        if not self._ends:
            return False
        host, operator, ends = address.host, operator_of(address.host), self._ends
        names = ((operator, None), (host, address.port), (operator, peer_id))
        return any(ends.get(name, now) > now for name in names)

    def _set(self, host: str, name: _Name, now: float) -> None:
        self._ends[host, name] = now + self._config.ban_s
        self._ends.move_to_end((host, name))
        if len(self._ends) > MAX_BANS:
            self._ends.popitem(last=False)

    def _strike(self, operator: str, now: float) -> None:
        """Count a further bad peer of an operator."""
        live = [end for end in self._strikes.get(operator, ()) if end > now]
        live.append(now + self._config.ban_s)
        self._strikes[operator] = live[-self._config.bans_before_ip_ban :]
        self._strikes.move_to_end(operator)
        if len(live) >= self._config.bans_before_ip_ban:
            self._set(operator, None, now)
        if len(self._strikes) > MAX_BANS:
            self._strikes.popitem(last=False)
