"""Owns one fact: who is banned, and until when.

A ban names a peer by its address and by its peer id, so that an honest peer behind the same NAT
stays welcome; only several banned peers of one IP address ban the address itself (row B7).
"""

from collections import OrderedDict
from typing import Final

from torrent_engine.base.config import PoolConfig
from torrent_engine.base.ids import PeerAddress, PeerId
from torrent_engine.policy.addresses import may_be_shared

MAX_BANS: Final = 10_000  # ours: entries of memory; the oldest go first

_Name = int | PeerId | None  # a port, a peer id, or None: the whole IP address


class BanList:
    """Bans that end by themselves; ``now`` must not run backwards."""

    def __init__(self, config: PoolConfig) -> None:
        self._config = config
        self._ends: OrderedDict[tuple[str, _Name], float] = OrderedDict()
        self._strikes: OrderedDict[str, list[float]] = OrderedDict()

    def ban(self, address: PeerAddress, peer_id: PeerId | None, now: float) -> None:
        """Ban a peer; the third one of an IP address bans the address, except where many share it.

        Banning again whom a ban already names only moves its end.
        """
        known = self.is_banned(address, peer_id, now)
        self._set(address.host, address.port, now)
        if peer_id is not None:
            self._set(address.host, peer_id, now)
        if not known and not may_be_shared(address.host, self._config):
            self._strike(address.host, now)

    def is_banned(self, address: PeerAddress, peer_id: PeerId | None, now: float) -> bool:
        """Tell whether a peer is banned by its IP address, its port there, or its peer id there."""
        if not self._ends:
            return False
        names: tuple[_Name, ...] = (None, address.port, peer_id)
        return any(self._ends.get((address.host, name), now) > now for name in names)

    def _set(self, host: str, name: _Name, now: float) -> None:
        self._ends[host, name] = now + self._config.ban_s
        self._ends.move_to_end((host, name))
        if len(self._ends) > MAX_BANS:
            self._ends.popitem(last=False)

    def _strike(self, host: str, now: float) -> None:
        """Count a further bad peer of an IP address."""
        live = [end for end in self._strikes.get(host, ()) if end > now]
        live.append(now + self._config.ban_s)
        self._strikes[host] = live[-self._config.bans_before_ip_ban :]
        self._strikes.move_to_end(host)
        if len(live) >= self._config.bans_before_ip_ban:
            self._set(host, None, now)
        if len(self._strikes) > MAX_BANS:
            self._strikes.popitem(last=False)
