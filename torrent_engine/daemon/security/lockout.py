"""Lock-out of addresses that failed to log in too often; bounded, and never of everybody."""

import logging
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final

import anyio

from torrent_engine.codec.paths import escape_for_terminal
from torrent_engine.daemon.http.limits import address_group
from torrent_engine.daemon.security.request_facts import RequestFacts

logger = logging.getLogger(__name__)

MAX_FAILURES: Final = 5
WINDOW_S: Final = 600.0
LOCKED_S: Final = 3_600.0
MAX_ADDRESSES: Final = 10_000
LOGINS: Final = frozenset({"/api/v1/session", "/api/v2/auth/login"})
MAX_DELAY_S: Final = 30.0
"""Loopback is not locked out but delayed: 1, 2, 4 ... seconds."""


@dataclass(slots=True)
class _Failures:
    times: list[float] = field(default_factory=list)
    locked_until_s: float = 0.0


class Lockout:
    """Failures by IPv4 address or IPv6 /64; the oldest are forgotten first.

    Loopback is never locked out, since a program with an old password would lock out all others:
    there the answers to failures come late. Unix sockets tell who asks, and are left alone.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._addresses: OrderedDict[str, _Failures] = OrderedDict()
        self.failures: Counter[str] = Counter(login=0, credential=0)
        """Since the start, by "login" (of a form) or "credential" (of another request)."""

    def __len__(self) -> int:
        """How many addresses have failures."""
        return len(self._addresses)

    def wait_s(self, client: str | None) -> float:
        """Return how long an address is still refused; 0 if it is not. None: a unix socket."""
        if client is None or (found := self._addresses.get(address_group(client))) is None:
            return 0.0
        return max(0.0, found.locked_until_s - self._clock())

    async def failed(self, facts: RequestFacts) -> None:
        """Count a failed login and log it, then wait if it came from this machine.

        Others may have the place of a connection that waits. The wording is fixed, for programs
        that read logs.
        """
        client, path = facts.client, facts.path
        self.failures["login" if path in LOGINS else "credential"] += 1
        shown = escape_for_terminal(path[:200])
        logger.warning("authentication failed from %s for %s", client or "unix", shown)
        if client is None:
            return
        failures = self._count(client)
        if is_loopback(client):
            with facts.held():
                await self._sleep(min(MAX_DELAY_S, 2.0 ** (failures - 1)))

    def _count(self, client: str) -> int:
        group, now = address_group(client), self._clock()
        found = self._addresses.pop(group, None) or _Failures()
        self._addresses[group] = found
        found.times = [time for time in found.times if now - time < WINDOW_S][-MAX_FAILURES * 2 :]
        found.times.append(now)
        if len(found.times) >= MAX_FAILURES and not is_loopback(client):
            found.locked_until_s = now + LOCKED_S
        while len(self._addresses) > MAX_ADDRESSES:
            self._addresses.popitem(last=False)
        return len(found.times)

    def succeeded(self, client: str | None) -> None:
        """Forget the failures of an address from which somebody logged in with full rights.

        Requests with a credential do not count: whoever has a lesser one, or guesses from the
        address of somebody who is logged in, would otherwise never be locked out.
        """
        if client is not None:
            self._addresses.pop(address_group(client), None)


def is_loopback(client: str) -> bool:
    """Return whether an address is one of this machine."""
    try:
        address = ip_address(client.partition("%")[0])
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
