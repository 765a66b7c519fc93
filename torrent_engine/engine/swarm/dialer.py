"""Dialling of candidates over TCP and uTP, with and without encryption.

A peer that closes the connection without an answer may require the other kind of handshake or, if
it closes both, the other protocol. A candidate has failed when all attempts have, or when the dial
limit allows no further one: that one comes first the next time. Source: BEP 29 (uTP), Message
Stream Encryption; row B9.
"""

import logging
from collections.abc import Callable
from enum import Enum, auto
from typing import Final, NamedTuple

import anyio

from torrent_engine.base.config import TransportProtocol
from torrent_engine.base.errors import EncryptionError, NetworkError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.engine.resources.network import Network
from torrent_engine.engine.swarm.connections import Connections, Opened
from torrent_engine.engine.swarm.context import Swarm
from torrent_engine.engine.swarm.pool_limits import ConnectionPlace
from torrent_engine.net.peers.encryption_handshake import encrypt_outgoing
from torrent_engine.net.peers.happy_eyeballs import REFUSED_TIMEOUT_S, RaceRules, connect
from torrent_engine.net.peers.transport import Transport
from torrent_engine.policy.peers.candidates import CandidateList
from torrent_engine.policy.peers.dial_strategy import DialAttempt
from torrent_engine.protocol.wire.connection import PeerConnection

logger = logging.getLogger(__name__)


class AttemptOutcome(Enum):
    """What one way to dial led to."""

    DONE = auto()
    """A peer, or nothing that is the candidate's fault."""
    UNREACHED = auto()
    """No connection."""
    UNREADABLE = auto()
    """An answer that is no encrypted handshake."""
    REFUSED = auto()
    """A connection that was closed before any answer, as one is that has the wrong kind."""
    HUNG_UP = auto()
    """The same, but of the right kind."""
    SILENT = auto()
    """No answer in time."""
    WRONG = auto()
    """An answer that is no handshake of this torrent."""


class AttemptResult(NamedTuple):
    """What came of one way to dial, and over what."""

    outcome: AttemptOutcome
    carrier: TransportProtocol | None = None
    """None: nothing connected."""


OTHER_WAY_AT_ONCE: Final = frozenset({AttemptOutcome.UNREADABLE, AttemptOutcome.REFUSED})
OTHER_WAY_NEXT_TIME: Final = OTHER_WAY_AT_ONCE | {AttemptOutcome.SILENT}
WAS_THERE: Final = frozenset({AttemptOutcome.REFUSED, AttemptOutcome.HUNG_UP})


class PeerDialer:
    """Dials candidates, each in a task of its caller."""

    def __init__(
        self,
        swarm: Swarm,
        candidates: CandidateList,
        connections: Connections,
        network: Network,
        on_unreached: Callable[[PeerAddress], None],
    ) -> None:
        """Call ``on_unreached`` with each candidate that no connection could be made to."""
        self._on_unreached = on_unreached
        self._swarm = swarm
        self._config = swarm.shared_config
        self._candidates = candidates
        self._connections = connections
        self._network = network

    async def dial(
        self, address: PeerAddress, only: TransportProtocol | None, place: ConnectionPlace
    ) -> None:
        """Dial a candidate, over one protocol only or any, and serve it to the end of its link."""
        protocols = [each for each in self._network.protocols if only in {None, each}]
        try:
            await self._dial_each_way(protocols, address, place)
        except Exception:
            self._candidates.mark_failed(address, self._swarm.clock())
            raise
        finally:
            place.end()

    async def _dial_each_way(
        self, protocols: list[TransportProtocol], address: PeerAddress, place: ConnectionPlace
    ) -> None:
        strategy, was_there = self._network.dial_strategy, False
        attempts, result = (
            strategy.plan(address, protocols),
            AttemptResult(AttemptOutcome.UNREACHED),
        )
        while attempts:
            result = await self._try(attempts.pop(0), address, place, was_there=was_there)
            outcome = result.outcome
            self._network.dial_outcomes[outcome.name.lower()] += 1
            was_there = was_there or outcome in WAS_THERE
            if outcome is AttemptOutcome.DONE:
                return
            if outcome is AttemptOutcome.REFUSED and not attempts:
                protocols = [each for each in protocols if each is not result.carrier]
                attempts = strategy.plan_without(result.carrier, address, protocols)
            if outcome not in OTHER_WAY_AT_ONCE or not (attempts and self._may_dial(address)):
                break
        if attempts and result.outcome in OTHER_WAY_NEXT_TIME:
            strategy.not_tried(address, attempts[0])
        if was_there:
            self._try_other_hash(address)
        self._candidates.mark_failed(address, self._swarm.clock(), hung_up=was_there)
        if result.outcome is AttemptOutcome.UNREACHED and not was_there:
            self._on_unreached(address)

    def _try_other_hash(self, address: PeerAddress) -> None:
        """Dial a candidate the next time with the other hash of a hybrid: it may know that alone.

        Of one that is known by its v1 hash nobody but who was found in the v2 swarm may.
        """
        of_v2 = self._candidates.of_v2
        if address in of_v2:
            of_v2.discard(address)
        elif self._swarm.v1_hash is not None:
            of_v2.add(address)

    def _may_dial(self, address: PeerAddress) -> bool:
        return self._candidates.dial_again(address, self._swarm.clock())

    async def _try(
        self, attempt: DialAttempt, address: PeerAddress, place: ConnectionPlace, *, was_there: bool
    ) -> AttemptResult:
        timeout_s = self._config.pool.connect_timeout_s
        rules = RaceRules(
            min(timeout_s, REFUSED_TIMEOUT_S) if was_there else timeout_s,
            self._config.network.utp.tcp_head_start_s,
            lambda: self._may_dial(address),
        )
        try:
            transport = await connect(self._network, address, attempt, rules)
        except NetworkError as error:
            logger.debug("dial: %s", error)
            return AttemptResult(AttemptOutcome.UNREACHED)
        outcome = await self._serve(transport, attempt, address, place)
        return AttemptResult(outcome, transport.protocol)

    async def _serve(
        self,
        transport: Transport,
        attempt: DialAttempt,
        address: PeerAddress,
        place: ConnectionPlace,
    ) -> AttemptOutcome:
        timeout_s = self._config.wire.handshake_timeout_s
        connection = self._connections.new_connection(is_v2=address in self._candidates.of_v2)
        began_s = anyio.current_time()
        if attempt.is_encrypted:
            encrypted = await self._encrypt(transport, connection, timeout_s)
            if isinstance(encrypted, AttemptOutcome):
                return encrypted
            transport = encrypted
        left_s = timeout_s - (anyio.current_time() - began_s)
        source = self._candidates.sources(address)
        ending = await self._connections.serve(
            Opened(transport, address, source, connection, left_s), place
        )
        if ending.is_nobodys_fault:
            return AttemptOutcome.DONE
        if ending.was_hung_up_on:
            return AttemptOutcome.HUNG_UP if attempt.is_encrypted else AttemptOutcome.REFUSED
        return AttemptOutcome.WRONG if ending.was_answered else AttemptOutcome.SILENT

    async def _encrypt(
        self, transport: Transport, connection: PeerConnection, timeout_s: float
    ) -> Transport | AttemptOutcome:
        """Encrypt the connection, sending our first bytes along; close it if that fails."""
        first = b"".join(connection.data_to_send())
        outcome = AttemptOutcome.SILENT
        try:
            with anyio.move_on_after(timeout_s):
                config = self._network.config.encryption
                torrent = connection.state.info_hash
                return await encrypt_outgoing(transport, torrent, config, first=first)
        except EncryptionError as error:
            logger.debug("%s", error)
            outcome = AttemptOutcome.UNREADABLE
        except NetworkError as error:
            logger.debug("%s", error)
            outcome = AttemptOutcome.REFUSED
        except BaseException:
            transport.close()
            raise
        transport.close()
        return outcome
