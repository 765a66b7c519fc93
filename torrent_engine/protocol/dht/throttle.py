"""Limits on responses: queries of an address, bytes to it, and total bytes.

A datagram's source address may be spoofed, and its responses reach a victim (row C1). All tables
are bounded; the oldest entries are dropped first.
"""

from typing import Final, TypeVar

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.operators import operator_of

WINDOW_S: Final = 10.0
MINUTE_S: Final = 60.0
BUDGET_BURST_S: Final = (
    3.0  # ours: allows bursts, such as the queries of one lookup, above the average
)
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class QueryThrottle:
    """Query limits of each IP address (IPv6: /64); an address over them is ignored for a while."""

    def __init__(self, config: DhtConfig) -> None:
        self._per_s = config.max_queries_per_ip_per_s
        self._in_window = config.max_queries_per_ip_in_10_s
        self._silence_s = config.throttle_s
        self._max_hosts = config.max_throttled_ips
        self._counted: dict[str, _QueryWindow] = {}
        self._silent_until: dict[str, float] = {}

    def admits(self, host: str, now: float) -> bool:
        """Count a query; return whether it may be answered. Loopback addresses always may."""
        if self._per_s == 0 or host.startswith("127.") or host == "::1":
            return True
        key = operator_of(host)
        if self._silent_until and self._is_silent(key, now):
            return False
        window = self._counted.get(key)
        if window is None or now >= window.end_s:
            window = self._open(key, now)
        window.queries += 1
        if window.queries > self._in_window:
            self._silence(key, now)
            return False
        if now >= window.second_end_s:
            window.second_end_s, window.queries_this_second = now + 1.0, 0
        window.queries_this_second += 1
        return window.queries_this_second <= self._per_s

    def is_silent(self, host: str, now: float) -> bool:
        """Return whether queries of an address are ignored at the moment; does not count one."""
        return bool(self._silent_until) and self._is_silent(operator_of(host), now)

    def _is_silent(self, key: str, now: float) -> bool:
        until_s = self._silent_until.get(key)
        if until_s is None:
            return False
        if now < until_s:
            return True
        del self._silent_until[key]
        return False

    def _open(self, key: str, now: float) -> "_QueryWindow":
        self._counted.pop(key, None)
        window = self._counted[key] = _QueryWindow(now)
        _shrink(self._counted, self._max_hosts)
        return window

    def _silence(self, key: str, now: float) -> None:
        self._counted.pop(key, None)
        self._silent_until[key] = now + self._silence_s
        _shrink(self._silent_until, self._max_hosts)


class ProvenHosts:
    """Addresses verified not to be spoofed, which may get larger responses."""

    def __init__(self, config: DhtConfig) -> None:
        self._proven_s = config.verified_ip_s
        self._per_minute = config.max_large_replies_per_minute
        self._max_hosts = config.max_throttled_ips
        self._known: dict[str, _Proof] = {}

    def prove(self, host: str, now: float) -> None:
        """Record that an address responded to a query of ours, or returned a token."""
        proof = self._known.pop(host, None) or _Proof(now)
        proof.until_s = now + self._proven_s
        self._known[host] = proof
        _shrink(self._known, self._max_hosts)

    def may_get_more(self, host: str, now: float) -> bool:
        """Return whether a large answer may go to an address now; :meth:`charge` it if it does."""
        proof = self._known.get(host)
        if proof is None:
            return False
        if now >= proof.until_s:
            del self._known[host]
            return False
        return now >= proof.minute_end_s or proof.replies < self._per_minute

    def charge(self, host: str, now: float) -> None:
        """Charge a large response."""
        proof = self._known.get(host)
        if proof is None:
            return
        if now >= proof.minute_end_s:
            proof.minute_end_s, proof.replies = now + MINUTE_S, 0
        proof.replies += 1


class UploadBudget:
    """A limit on outgoing bytes: an average rate, with bursts of a few seconds."""

    def __init__(self, bytes_per_s: float) -> None:
        self._rate = max(bytes_per_s, 0.0)
        self._left = self._rate * BUDGET_BURST_S
        self._filled_s = float("-inf")

    def take(self, count_bytes: int, now: float) -> bool:
        """Consume all of ``count_bytes`` or nothing; return whether it was consumed."""
        if self._rate == 0:
            return True
        if now > self._filled_s:
            earned = (now - self._filled_s) * self._rate
            self._left = min(self._left + earned, self._rate * BUDGET_BURST_S)
            self._filled_s = now
        if self._left < count_bytes:
            return False
        self._left -= count_bytes
        return True


class _QueryWindow:
    """The queries of one address in ten seconds, and in one."""

    __slots__ = ("end_s", "queries", "queries_this_second", "second_end_s")

    def __init__(self, now: float) -> None:
        self.end_s = now + WINDOW_S
        self.second_end_s = now + 1.0
        self.queries = 0
        self.queries_this_second = 0


class _Proof:
    """The end of an address's verification, and its large responses of this minute."""

    __slots__ = ("minute_end_s", "replies", "until_s")

    def __init__(self, now: float) -> None:
        self.until_s = now
        self.minute_end_s = now + MINUTE_S
        self.replies = 0


def _shrink(mapping: dict[_Key, _Value], size: int) -> None:
    while len(mapping) > size:
        del mapping[next(iter(mapping))]
