"""Owns the dial of one candidate: in one way after the other, until one leads to a peer.

Who closes the connection before any answer may want the other kind of handshake or, where it closes
both, another protocol. A candidate has failed when all ways have, or the limit of dials leaves no
room for the next: that comes first the next time. Source: BEP 29 (uTP), Message Stream Encryption;
row B9.
"""

import logging
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, NamedTuple

import anyio

from torrent_engine.base.errors import EncryptionError, NetworkError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.base.network_config import LinkProtocol
from torrent_engine.engine.link_lives import LinkLives, Opened
from torrent_engine.engine.network import Network
from torrent_engine.engine.pool_places import Place
from torrent_engine.engine.torrent import Swarm
from torrent_engine.net.dialler import REFUSED_TIMEOUT_S, RaceRules, connect
from torrent_engine.net.encryption_handshake import encrypt_outgoing
from torrent_engine.net.transport import Transport
from torrent_engine.policy.candidates import CandidateList
from torrent_engine.policy.reach import Attempt
from torrent_engine.protocol.wire.connection import PeerConnection

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)


class Outcome(Enum):
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


class Result(NamedTuple):
    """What came of one way to dial, and over what."""

    outcome: Outcome
    carrier: LinkProtocol | None = None
    """None: nothing connected."""


OTHER_WAY_AT_ONCE: Final = frozenset({Outcome.UNREADABLE, Outcome.REFUSED})
OTHER_WAY_NEXT_TIME: Final = OTHER_WAY_AT_ONCE | {Outcome.SILENT}
WAS_THERE: Final = frozenset({Outcome.REFUSED, Outcome.HUNG_UP})


class PeerDialling:
    """Dials candidates, each in a task of its caller."""

    def __init__(
        self, swarm: Swarm, candidates: CandidateList, lives: LinkLives, network: Network
    ) -> None:
        self.on_unreached: Callable[[PeerAddress], None] = lambda _address: None
        """Hears of candidates that no connection could be made to."""
        self._swarm = swarm
        self._config = swarm.shared_config
        self._candidates = candidates
        self._lives = lives
        self._network = network

    async def dial(self, address: PeerAddress, only: LinkProtocol | None, place: Place) -> None:
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
        self, protocols: list[LinkProtocol], address: PeerAddress, place: Place
    ) -> None:
        reach, was_there = self._network.reach, False
        attempts, result = reach.plan(address, protocols), Result(Outcome.UNREACHED)
        while attempts:
            result = await self._try(attempts.pop(0), address, place, was_there=was_there)
            outcome = result.outcome
            was_there = was_there or outcome in WAS_THERE
            if outcome is Outcome.DONE:
                return
            if outcome is Outcome.REFUSED and not attempts:
                protocols = [each for each in protocols if each is not result.carrier]
                attempts = reach.plan_without(result.carrier, address, protocols)
            if outcome not in OTHER_WAY_AT_ONCE or not (attempts and self._may_dial(address)):
                break
        if attempts and result.outcome in OTHER_WAY_NEXT_TIME:
            reach.not_tried(address, attempts[0])
        self._candidates.mark_failed(address, self._swarm.clock(), hung_up=was_there)
        if result.outcome is Outcome.UNREACHED and not was_there:
            self.on_unreached(address)

    def _may_dial(self, address: PeerAddress) -> bool:
        return self._candidates.dial_again(address, self._swarm.clock())

    async def _try(
        self, attempt: Attempt, address: PeerAddress, place: Place, *, was_there: bool
    ) -> Result:
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
            return Result(Outcome.UNREACHED)
        outcome = await self._serve(transport, attempt, address, place)
        return Result(outcome, transport.protocol)

    async def _serve(
        self, transport: Transport, attempt: Attempt, address: PeerAddress, place: Place
    ) -> Outcome:
        timeout_s = self._config.wire.handshake_timeout_s
        connection, began_s = self._lives.new_connection(), anyio.current_time()
        if attempt.is_encrypted:
            encrypted = await self._encrypt(transport, connection, timeout_s)
            if isinstance(encrypted, Outcome):
                return encrypted
            transport = encrypted
        left_s = timeout_s - (anyio.current_time() - began_s)
        source = self._candidates.sources(address)
        ending = await self._lives.serve(
            Opened(transport, address, source, connection, left_s), place
        )
        if ending.is_nobodys_fault:
            return Outcome.DONE
        if ending.was_hung_up_on:
            return Outcome.HUNG_UP if attempt.is_encrypted else Outcome.REFUSED
        return Outcome.WRONG if ending.was_answered else Outcome.SILENT

    async def _encrypt(
        self, transport: Transport, connection: PeerConnection, timeout_s: float
    ) -> Transport | Outcome:
        """Shake hands, and send the first of the link along; close the connection if it fails."""
        first = b"".join(connection.data_to_send())
        outcome = Outcome.SILENT
        try:
            with anyio.move_on_after(timeout_s):
                config = self._config.network.encryption
                return await encrypt_outgoing(transport, self._swarm.info_hash, config, first=first)
        except EncryptionError as error:
            logger.debug("%s", error)
            outcome = Outcome.UNREADABLE
        except NetworkError as error:
            logger.debug("%s", error)
            outcome = Outcome.REFUSED
        except BaseException:
            transport.close()
            raise
        transport.close()
        return outcome
