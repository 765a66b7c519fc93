"""Dialling over TCP, over uTP, or over both in parallel.

Source: BEP 29. The loser of a race is closed at once.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

import anyio

from torrent_engine.base.config import TransportProtocol
from torrent_engine.base.errors import NetworkError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.peers.transport import Transport
from torrent_engine.policy.peers.dial_strategy import DialAttempt

REFUSED_TIMEOUT_S: Final = (
    3.0  # ours: timeout after a refusal of one protocol, as the peer is reachable
)
NO_TRANSPORT: Final = "no transport for this address"


class Dials(Protocol):
    """Dials over each protocol. They raise NetworkError on failure or timeout."""

    async def dial_tcp(self, address: PeerAddress, timeout_s: float) -> Transport:
        """Connect over TCP."""

    async def dial_utp(self, address: PeerAddress, timeout_s: float) -> Transport:
        """Connect over uTP."""


@dataclass(frozen=True, slots=True)
class RaceRules:
    """Timing of two parallel dials of one peer."""

    timeout_s: float
    """Timeout of each dial."""
    head_start_s: float
    """Delay of the second dial, unless the first fails."""
    may_dial: Callable[[], bool]
    """Return whether the second dial is allowed, and count it."""


async def connect(
    dials: Dials, address: PeerAddress, attempt: DialAttempt, rules: RaceRules
) -> Transport:
    """Return the first connection; TCP if both connect at the same time.

    Raises NetworkError if all dials fail.
    """
    race = _Race(dials, address, rules)
    try:
        await race.run(attempt.protocols)
    except BaseException:
        race.close_but(None)
        raise
    winner = race.winner
    race.close_but(winner)
    if winner is None:
        raise NetworkError("; ".join(race.failures) or f"{address}: {NO_TRANSPORT}")
    return winner


class _Race:
    """One or two dials of the same peer."""

    def __init__(self, dials: Dials, address: PeerAddress, rules: RaceRules) -> None:
        self.failures: list[str] = []
        self._dials: dict[
            TransportProtocol, Callable[[PeerAddress, float], Awaitable[Transport]]
        ] = {
            TransportProtocol.TCP: dials.dial_tcp,
            TransportProtocol.UTP: dials.dial_utp,
        }
        self._address = address
        self._rules = rules
        self._connected: dict[TransportProtocol, Transport] = {}
        self._over = anyio.Event()
        """Set when the first dial has ended."""

    @property
    def winner(self) -> Transport | None:
        """The connection to use; TCP if there are both."""
        return min(self._connected.values(), key=_is_utp, default=None)

    async def run(self, protocols: tuple[TransportProtocol, ...]) -> None:
        """Dial until one is connected or all have failed."""
        async with anyio.create_task_group() as tasks:
            timeout_s = self._rules.timeout_s
            for number, protocol in enumerate(protocols):
                if number:
                    with anyio.move_on_after(self._rules.head_start_s):
                        await self._over.wait()
                    if self._connected or not self._rules.may_dial():
                        return
                    if self.failures:
                        timeout_s = min(timeout_s, REFUSED_TIMEOUT_S)
                tasks.start_soon(self._dial, protocol, timeout_s, tasks.cancel_scope)

    async def _dial(
        self, protocol: TransportProtocol, timeout_s: float, all_of_them: anyio.CancelScope
    ) -> None:
        try:
            transport = await self._dials[protocol](self._address, timeout_s)
        except NetworkError as error:
            self.failures.append(f"{protocol}: {error}")
        else:
            self._connected[protocol] = transport
            all_of_them.cancel()
        self._over.set()

    def close_but(self, kept: Transport | None) -> None:
        """Close all connections but ``kept``."""
        for transport in self._connected.values():
            if transport is not kept:
                transport.close()


def _is_utp(transport: Transport) -> bool:
    return transport.protocol is TransportProtocol.UTP
