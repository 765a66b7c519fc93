"""Holepunching among the peers of one torrent (BEP 55), as relay, initiator and target.

Source: BEP 55. We are the relay between two of our peers; the initiator after a failed dial to an
address that a peer says it is connected to; and the target when others ask one of our peers for us.
"""

import logging
from collections.abc import Callable, Collection
from typing import Final, Protocol

from torrent_engine.base.config import HolepunchConfig, TransportProtocol
from torrent_engine.base.ids import PeerAddress
from torrent_engine.engine.swarm.own_addresses import OwnAddresses
from torrent_engine.engine.swarm.peer import Peer
from torrent_engine.policy.peers.candidates import CandidateList, Source
from torrent_engine.policy.peers.holepunch import HolepunchPeer, HolepunchRules, RelayDecision
from torrent_engine.policy.peers.holepunch_requests import HolepunchRequests
from torrent_engine.protocol.wire.holepunch import (
    UT_HOLEPUNCH,
    HolepunchKind,
    HolepunchMessage,
    HolepunchRefusal,
    decode_holepunch,
    encode_holepunch,
    encode_refusal,
)

logger = logging.getLogger(__name__)

REFUSALS: Final = {
    RelayDecision.NO_SUCH_PEER: HolepunchRefusal.NO_SUCH_PEER,
    RelayDecision.NOT_CONNECTED: HolepunchRefusal.NOT_CONNECTED,
    RelayDecision.NO_SUPPORT: HolepunchRefusal.NO_SUPPORT,
    RelayDecision.NO_SELF: HolepunchRefusal.NO_SELF,
}


class HolepunchPool(Protocol):
    """The links of the torrent, as far as introductions need them."""

    candidates: CandidateList
    own: OwnAddresses

    def dial_now(self, address: PeerAddress, *, only: TransportProtocol | None = None) -> bool:
        """Dial a candidate before its turn; return False if that is not allowed."""


class Holepunch:
    """Not for private torrents: nobody but their tracker may name their peers (BEP 27)."""

    def __init__(
        self,
        config: HolepunchConfig,
        peers: Collection[Peer],
        pool: HolepunchPool,
        clock: Callable[[], float],
        sources_of: Callable[[PeerAddress], list[Peer]],
    ) -> None:
        self._peers = peers
        self._pool = pool
        self._clock = clock
        self._peers_that_named = sources_of
        """Returns the peers that say they are connected to an address."""
        self._rules = HolepunchRules[Peer](config)
        self._rendezvous = HolepunchRequests[Peer](config)
        self._handlers = {
            HolepunchKind.CONNECT: self._on_connect,
            HolepunchKind.ERROR: self._on_error,
        }

    # -- messages of peers ---------------------------------------------------------------

    def on_message(self, peer: Peer, payload: bytes) -> None:
        """Process a ut_holepunch message; RemoteProtocolError if it is malformed."""
        message = decode_holepunch(payload)
        if message is None or not _speaks(peer):
            return
        if message.kind is HolepunchKind.RENDEZVOUS:
            self._on_rendezvous(peer, message.address, payload)
        else:
            self._handlers[message.kind](peer, message.address)

    def on_left(self, peer: Peer) -> None:
        """Remove a peer that could have been a relay."""
        self._rendezvous.left(peer)

    def note_support(self, address: PeerAddress) -> None:
        """Record that the peer at an address supports holepunching."""
        self._rendezvous.heard(address)

    def was_introduced(self, address: PeerAddress) -> bool:
        """Return whether we dialled this peer because a relay introduced it."""
        return self._rendezvous.was_followed(address)

    def not_reached(self, address: PeerAddress) -> None:
        """Request an introduction to a candidate that no dial could reach."""
        relays = [peer for peer in self._peers_that_named(address) if _speaks(peer)]
        relay = self._rendezvous.ask(address, relays, self._clock())
        if relay is not None:
            self._ask(relay, address)

    # -- as the initiator and the target ----------------------------------------------------

    def _ask(self, relay: Peer, address: PeerAddress) -> None:
        logger.debug("%s is asked to introduce us to %s", relay.address, address)
        _send(relay, encode_holepunch(HolepunchMessage(HolepunchKind.RENDEZVOUS, address)))

    def _on_error(self, relay: Peer, address: PeerAddress) -> None:
        following = self._rendezvous.refused(address, relay)
        if following is not None:
            self._ask(following, address)

    def _on_connect(self, relay: Peer, address: PeerAddress) -> None:
        """Dial whom a relay introduces, unless we know each other already."""
        now, candidates = self._clock(), self._pool.candidates
        was_asked = self._rendezvous.introduced(address, relay)
        host = relay.address.host
        if not self._rules.may_connect(address, host, now, was_asked=was_asked):
            return
        if self._peer_at(address) is not None or candidates.is_banned(address, None, now):
            return
        candidates.add(address, Source.PEX, now)
        is_dialled = self._pool.dial_now(address, only=TransportProtocol.UTP)
        logger.debug("%s introduces us to %s: %s", relay.address, address, is_dialled)
        if is_dialled:
            self._rendezvous.followed(address, relay, now)

    # -- as the relay -----------------------------------------------------------------------

    def _on_rendezvous(self, initiator: Peer, wanted: PeerAddress, payload: bytes) -> None:
        now = self._clock()
        if not self._rules.may_rendezvous(initiator.address.host, now):
            return
        target = self._peer_at(wanted)
        answer = RelayDecision.NO_SELF
        if not self._pool.own.is_own(wanted):
            other = None if target is None else _holepunch_peer(target)
            answer = self._rules.answer(_holepunch_peer(initiator), wanted, other, now)
        logger.debug("%s wants to meet %s: %s", initiator.address, wanted, answer.name)
        if answer in REFUSALS:
            _send(initiator, encode_refusal(payload, REFUSALS[answer]))
        elif answer is RelayDecision.INTRODUCE and target is not None:
            _introduce(target, initiator)
            _introduce(initiator, target)

    def _peer_at(self, address: PeerAddress) -> Peer | None:
        """Return our peer at an address, rather than one that only says so."""
        named = [peer for peer in self._peers if address in {peer.address, peer.listens_at}]
        return min(named, key=lambda peer: peer.address != address, default=None)


def _introduce(peer: Peer, other: Peer) -> None:
    """Send a connect message that names another peer."""
    place = _meeting_place(other)
    if place is not None:
        _send(peer, encode_holepunch(HolepunchMessage(HolepunchKind.CONNECT, place)))


def _send(peer: Peer, payload: bytes) -> None:
    peer.connection.sender.send_extension(UT_HOLEPUNCH, payload)
    peer.link.flush()


def _speaks(peer: Peer) -> bool:
    return bool(peer.connection.state.peer_extensions.get(UT_HOLEPUNCH))


def _holepunch_peer(peer: Peer) -> HolepunchPeer[Peer]:
    return HolepunchPeer(peer, _meeting_place(peer), _speaks(peer))


def _meeting_place(peer: Peer) -> PeerAddress | None:
    """Return from where a peer sends its uTP packets; None if we cannot know."""
    is_over_utp = peer.link.transport.protocol is TransportProtocol.UTP
    return peer.address if is_over_utp else peer.listens_at
