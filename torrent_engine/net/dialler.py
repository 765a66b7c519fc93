"""Owns one attempt to reach a peer over TCP, over uTP, or over whichever of both answers first.

Source: BEP 29. The loser of a race is closed at once.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

import anyio

from torrent_engine.base.errors import NetworkError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.base.network_config import LinkProtocol
from torrent_engine.net.transport import Transport
from torrent_engine.policy.reach import Attempt

REFUSED_TIMEOUT_S: Final = 3.0  # ours: who refuses one is there, and answers the other by then
NO_WAY: Final = "nothing can carry a link there"


class Dials(Protocol):
    """What dials, over each protocol; raises NetworkError if that fails or takes longer."""

    async def dial_tcp(self, address: PeerAddress, timeout_s: float) -> Transport:
        """Connect over TCP."""

    async def dial_utp(self, address: PeerAddress, timeout_s: float) -> Transport:
        """Connect over uTP."""


@dataclass(frozen=True, slots=True)
class RaceRules:
    """How two dials of one peer go on beside each other."""

    timeout_s: float
    """How long each may take."""
    head_start_s: float
    """How long the first goes on alone, unless it fails."""
    may_dial: Callable[[], bool]
    """Tells whether the second may begin, and counts it."""


async def connect(
    dials: Dials, address: PeerAddress, attempt: Attempt, rules: RaceRules
) -> Transport:
    """Return the connection that was there first; of two at the same time that over TCP.

    Raises NetworkError if there is none.
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
        raise NetworkError("; ".join(race.failures) or f"{address}: {NO_WAY}")
    return winner


class _Race:
    """One or two dials of the same peer."""

    def __init__(self, dials: Dials, address: PeerAddress, rules: RaceRules) -> None:
        self.failures: list[str] = []
        self._dials: dict[LinkProtocol, Callable[[PeerAddress, float], Awaitable[Transport]]] = {
            LinkProtocol.TCP: dials.dial_tcp,
            LinkProtocol.UTP: dials.dial_utp,
        }
        self._address = address
        self._rules = rules
        self._connected: dict[LinkProtocol, Transport] = {}
        self._over = anyio.Event()
        """The dial that has a head start has ended."""

    @property
    def winner(self) -> Transport | None:
        """What is connected; TCP, if both are."""
        return min(self._connected.values(), key=_is_utp, default=None)

    async def run(self, protocols: tuple[LinkProtocol, ...]) -> None:
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
        self, protocol: LinkProtocol, timeout_s: float, all_of_them: anyio.CancelScope
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
        """Close what is connected and not kept."""
        for transport in self._connected.values():
            if transport is not kept:
                transport.close()


def _is_utp(transport: Transport) -> bool:
    return transport.protocol is LinkProtocol.UTP
