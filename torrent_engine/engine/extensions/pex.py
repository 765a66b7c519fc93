"""Peer exchange of one torrent (BEP 11).

Source: BEP 11; row B9.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from torrent_engine.base.config import (
    ConnectionEncryption,
    PexConfig,
    PoolConfig,
    TransportProtocol,
)
from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.engine.swarm.peer import Peer
from torrent_engine.policy.peers.candidates import CandidateList, Source
from torrent_engine.policy.peers.pex_book import PexBook, PexChange
from torrent_engine.policy.peers.pex_trust import PexTrust
from torrent_engine.protocol.wire.exchange import (
    UT_PEX,
    PexContact,
    PexFlag,
    PexMessage,
    decode_pex,
    encode_pex,
)
from torrent_engine.protocol.wire.holepunch import UT_HOLEPUNCH

RECEIVERS_PER_TICK: Final = 8  # ours: a message to one of 500 peers takes up to 1 ms


class Introductions(Protocol):
    """Holepunching, as far as peer exchange concerns it (BEP 55)."""

    def note_support(self, address: PeerAddress) -> None:
        """Record that the peer at an address supports holepunching."""

    def was_introduced(self, address: PeerAddress) -> bool:
        """Return whether the connection with this peer began with an introduction."""


@dataclass(frozen=True, slots=True)
class PexPorts:
    """What peer exchange calls outside of itself."""

    on_new: Callable[[], None]
    """Called after new candidates were added."""
    on_prefers_encryption: Callable[[PeerAddress], None] = lambda _address: None
    """Called with each address whose flags say so."""
    introductions: Introductions | None = None


class PeerExchange:
    """Adds candidates from ut_pex messages and sends such messages.

    Not for private torrents (BEP 27); one that turns out to be private is :meth:`stop`-ped.
    """

    def __init__(
        self,
        config: PexConfig,
        pool: PoolConfig,
        candidates: CandidateList,
        *,
        clock: Callable[[], float],
        rng: random.Random,
        ports: PexPorts,
    ) -> None:
        self._config = config
        self._candidates = candidates
        self._clock = clock
        self._ports = ports
        self._contacts = PexBook[Peer](config, rng)
        self._pex_trust = PexTrust[Peer](config, pool)
        self._is_stopped = not config.enabled
        candidates.report_dials(self._reached, self._not_reached)

    def rebind(self, ports: PexPorts) -> None:
        """Serve another pool of the same torrent from now on."""
        self._ports = ports

    def on_joined(self, peer: Peer) -> None:
        """Record a peer; call it after the handshake and after each extension handshake."""
        self._pex_trust.joined(peer, peer.address)
        if (address := peer.listens_at) is not None:
            now = self._clock()
            self._contacts.connected(peer, address, now, is_dialled=not peer.is_incoming)
        if peer.connection.state.peer_extensions.get(UT_PEX):
            self._contacts.add_receiver(peer, peer.address.host)

    def on_left(self, peer: Peer) -> None:
        """Remove a peer; if it is banned, also the candidates that only it named."""
        now = self._clock()
        if self._candidates.is_banned(peer.address, peer.identity.peer_id, now):
            self._distrust(peer, now)
        self._contacts.left(peer)
        self._pex_trust.left(peer)

    def on_message(self, peer: Peer, payload: bytes) -> None:
        """Process a ut_pex message.

        Raises RemoteProtocolError if the message is malformed, or one too many.
        """
        if self._is_stopped:
            return
        now = self._clock()
        self._pex_trust.joined(peer, peer.address)
        try:
            message = decode_pex(payload, self._config)
            flags = dict(message.added)
            taken = self._pex_trust.heard(peer, list(flags), message.dropped, now)
        except RemoteProtocolError:
            self._distrust(peer, now)
            raise
        for address in taken:
            self._note(address, flags[address])
        if [address for address in taken if self._take(peer, address, flags[address], now)]:
            self._ports.on_new()

    def tick(self, now: float) -> None:
        """Send what is due, to a few peers at a time; at most one message a peer and minute."""
        if self._is_stopped:
            return
        known_to = self._pex_trust.addresses_of
        for peer, change in self._contacts.changes(now, known_to, RECEIVERS_PER_TICK):
            peer.connection.sender.send_extension(UT_PEX, encode_pex(self._message(change)))
            peer.link.flush()

    def sources_of(self, address: PeerAddress) -> list[Peer]:
        """Return the peers that say they are connected to an address."""
        return self._pex_trust.sources_of(address, self._clock())

    def stop(self) -> None:
        """Send nothing and take nothing any more."""
        self._is_stopped = True

    def _take(self, peer: Peer, address: PeerAddress, flags: PexFlag, now: float) -> bool:
        """Make a candidate of an address, unless it is that of a peer.

        Return whether it is new, or not said to be a seed any more.
        """
        is_seed = bool(flags & PexFlag.UPLOAD_ONLY)
        if address in self._contacts:
            return False
        if not self._candidates.add(address, Source.PEX, now):
            return not is_seed and self._candidates.note_seed(
                address, is_seed=False, by_hearsay=True
            )
        self._pex_trust.charge(peer, address)
        self._candidates.note_seed(address, is_seed=is_seed, by_hearsay=True)
        return True

    def _note(self, address: PeerAddress, flags: PexFlag) -> None:
        """Process the flags of an added address."""
        if flags & PexFlag.PREFERS_ENCRYPTION:
            self._ports.on_prefers_encryption(address)
        if flags & PexFlag.SUPPORTS_HOLEPUNCH and self._ports.introductions is not None:
            self._ports.introductions.note_support(address)

    def _distrust(self, peer: Peer, now: float) -> None:
        self._candidates.forget(self._pex_trust.distrust(peer, now), Source.PEX)

    def _reached(self, address: PeerAddress) -> None:
        self._pex_trust.dialled(address, self._clock(), reached=True)

    def _not_reached(self, address: PeerAddress) -> None:
        forgotten = self._pex_trust.dialled(address, self._clock(), reached=False)
        self._candidates.forget(forgotten, Source.PEX)

    def _message(self, change: PexChange[Peer]) -> PexMessage:
        added = (PexContact(each.address, self._flags(each.key)) for each in change.added)
        return PexMessage(tuple(added), tuple(change.dropped))

    def _flags(self, peer: Peer) -> PexFlag:
        """Return how a peer is described to others."""
        transport, introductions = peer.link.transport, self._ports.introductions
        is_introduced = introductions is not None and introductions.was_introduced(peer.address)
        is_encrypted = transport.encryption is not ConnectionEncryption.NONE
        punches_holes = bool(peer.connection.state.peer_extensions.get(UT_HOLEPUNCH))
        facts = (
            (PexFlag.PREFERS_ENCRYPTION, peer.prefers_encryption or is_encrypted),
            (PexFlag.UPLOAD_ONLY, peer.wants_nothing),
            (PexFlag.SUPPORTS_UTP, transport.protocol is TransportProtocol.UTP),
            (PexFlag.SUPPORTS_HOLEPUNCH, punches_holes),
            (PexFlag.REACHABLE, not peer.is_incoming and not is_introduced),
        )
        return PexFlag(sum(flag * is_true for flag, is_true in facts))  # a third of the time of |
