"""The list of banned addresses, each with the time when the ban ends.

A ban applies to a port or a peer id at an address, so that other peers behind the same NAT are not
affected; several banned peers of one operator (an IPv4 address or an IPv6 /64) ban the whole
operator (row B7).
"""

from collections import OrderedDict
from typing import Final, NamedTuple

from torrent_engine.base.config import PoolConfig
from torrent_engine.base.ids import PeerAddress, PeerId
from torrent_engine.base.operators import operator_of
from torrent_engine.policy.addresses import may_be_shared

MAX_BANS: Final = 10_000  # ours: the oldest entries are dropped first

_Name = int | PeerId | None  # a port, a peer id, or None: everything of an operator


class ListedBan(NamedTuple):
    """One ban as :meth:`BanList.listed` has it."""

    host: str
    name: _Name
    ends_s: float
    """Infinity: never."""
    is_by_user: bool


class BanList:
    """Temporary bans, and those of the user; ``now`` must not run backwards."""

    def __init__(self, config: PoolConfig) -> None:
        self._config = config
        self._ends: OrderedDict[tuple[str, _Name], float] = OrderedDict()
        self._strikes: OrderedDict[str, list[float]] = OrderedDict()
        self._by_user: dict[str, float] = {}
        """Hosts, each with the end of its ban; peers cannot push these out."""
        self.generation = 0
        """Grows with each ban by the user: links are checked again."""
        self.refusals = 0
        """How often :meth:`refuses` returned True."""

    def ban(self, address: PeerAddress, peer_id: PeerId | None, now: float) -> None:
        """Ban a peer; several banned peers of an operator ban it whole, unless it may be shared.

        Banning a banned peer again only extends its ban.
        """
        known = self.is_banned(address, peer_id, now)
        operator = operator_of(address.host)
        self._set(address.host, address.port, now)
        if peer_id is not None:
            self._set(operator, peer_id, now)
        if not known and not may_be_shared(address.host, self._config):
            self._strike(operator, now)

    def refuses(self, address: PeerAddress, peer_id: PeerId | None, now: float) -> bool:
        """Return the same as :meth:`is_banned`, and count it: a connection is refused."""
        is_banned = self.is_banned(address, peer_id, now)
        self.refusals += is_banned
        return is_banned

    def is_banned(self, address: PeerAddress, peer_id: PeerId | None, now: float) -> bool:
        """Return whether a peer is banned: its operator, its port, or its peer id there."""
        if self._by_user and self._by_user.get(address.host, now) > now:
            return True
        if not self._ends:
            return False
        host, operator, ends = address.host, operator_of(address.host), self._ends
        names = ((operator, None), (host, address.port), (operator, peer_id))
        return any(ends.get(name, now) > now for name in names)

    def ban_host(self, host: str, ends_s: float) -> None:
        """Ban an address for the user, as it is written by :mod:`ipaddress`."""
        self._by_user[host] = ends_s
        self.generation += 1

    def unban_host(self, host: str, now: float) -> bool:
        """End all bans of an address and of the peers there; return whether there were any."""
        operator = operator_of(host)
        ended = self._by_user.pop(host, now) > now
        for key in [key for key in self._ends if key[0] in {host, operator}]:
            ended = self._ends.pop(key) > now or ended
        self._strikes.pop(operator, None)
        return ended

    def listed(self, now: float) -> list[ListedBan]:
        """Return all bans that hold, those of the user first."""
        own = [ListedBan(host, None, end, is_by_user=True) for host, end in self._by_user.items()]
        others = [ListedBan(*key, end, is_by_user=False) for key, end in self._ends.items()]
        return [each for each in (*own, *others) if each.ends_s > now]

    def _set(self, host: str, name: _Name, now: float) -> None:
        self._ends[host, name] = now + self._config.ban_s
        self._ends.move_to_end((host, name))
        if len(self._ends) > MAX_BANS:
            self._ends.popitem(last=False)

    def _strike(self, operator: str, now: float) -> None:
        """Count one more banned peer of an operator."""
        live = [end for end in self._strikes.get(operator, ()) if end > now]
        live.append(now + self._config.ban_s)
        self._strikes[operator] = live[-self._config.bans_before_ip_ban :]
        self._strikes.move_to_end(operator)
        if len(live) >= self._config.bans_before_ip_ban:
            self._set(operator, None, now)
        if len(self._strikes) > MAX_BANS:
            self._strikes.popitem(last=False)
