"""Owns the introductions among the peers of one torrent: those we make, ask for, and follow.

Source: BEP 55. We are the relay of two peers of ours, the initiator where a dial reached nobody and
a peer says that it is connected there, and the target of who asks a peer of ours for us.
"""

import logging
from collections.abc import Callable, Collection
from typing import Final, Protocol

from torrent_engine.base.ids import PeerAddress
from torrent_engine.base.network_config import HolepunchConfig, LinkProtocol
from torrent_engine.engine.extensions import punches_holes
from torrent_engine.engine.own_endpoints import OwnEndpoints
from torrent_engine.engine.peer import Peer
from torrent_engine.engine.peer_events import ExtensionHandler
from torrent_engine.engine.peer_exchange import PeerExchange
from torrent_engine.engine.peer_pool import PeerPool
from torrent_engine.engine.torrent import Swarm
from torrent_engine.policy.candidates import CandidateList, Source
from torrent_engine.policy.holepunch import Answer, IntroductionRules, Party
from torrent_engine.policy.rendezvous import Rendezvous
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
    Answer.NO_SUCH_PEER: HolepunchRefusal.NO_SUCH_PEER,
    Answer.NOT_CONNECTED: HolepunchRefusal.NOT_CONNECTED,
    Answer.NO_SUPPORT: HolepunchRefusal.NO_SUPPORT,
    Answer.NO_SELF: HolepunchRefusal.NO_SELF,
}


class Links(Protocol):
    """The links of the torrent, as far as introductions need them."""

    candidates: CandidateList
    own: OwnEndpoints

    def reach(self, address: PeerAddress, *, only: LinkProtocol | None = None) -> bool:
        """Dial a candidate now; False if that may not be."""


class Holepunch:
    """Not for private torrents: nobody but their tracker may name their peers (BEP 27)."""

    def __init__(
        self,
        config: HolepunchConfig,
        peers: Collection[Peer],
        pool: Links,
        clock: Callable[[], float],
        who_told: Callable[[PeerAddress], list[Peer]],
    ) -> None:
        self._peers = peers
        self._pool = pool
        self._clock = clock
        self._who_told = who_told
        """Returns the peers that say they are connected to an address."""
        self._rules = IntroductionRules[Peer](config)
        self._rendezvous = Rendezvous[Peer](config)
        self._handlers = {
            HolepunchKind.CONNECT: self._on_connect,
            HolepunchKind.ERROR: self._on_error,
        }

    # -- what the others tell ---------------------------------------------------------------

    def on_message(self, peer: Peer, payload: bytes) -> None:
        """Take a message of a peer; RemoteProtocolError if it is malformed."""
        message = decode_holepunch(payload)
        if message is None or not _speaks(peer):
            return
        if message.kind is HolepunchKind.RENDEZVOUS:
            self._on_rendezvous(peer, message.address, payload)
        else:
            self._handlers[message.kind](peer, message.address)

    def on_left(self, peer: Peer) -> None:
        """Ask a peer no more."""
        self._rendezvous.left(peer)

    def heard_of(self, address: PeerAddress) -> None:
        """Learn that who is at an address can be introduced."""
        self._rendezvous.heard(address)

    def brought_about(self, address: PeerAddress) -> bool:
        """Tell whether we dialled this peer at the word of a relay."""
        return self._rendezvous.was_followed(address)

    def not_reached(self, address: PeerAddress) -> None:
        """Learn of a candidate that no connection could be made to; ask for an introduction."""
        relays = [peer for peer in self._who_told(address) if _speaks(peer)]
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
        if not self._rules.may_follow(address, host, now, was_asked=was_asked):
            return
        if self._peer_at(address) is not None or candidates.is_banned(address, None, now):
            return
        candidates.add(address, Source.PEX, now)
        is_dialled = self._pool.reach(address, only=LinkProtocol.UTP)
        logger.debug("%s introduces us to %s: %s", relay.address, address, is_dialled)
        if is_dialled:
            self._rendezvous.followed(address, relay, now)

    # -- as the relay -----------------------------------------------------------------------

    def _on_rendezvous(self, asker: Peer, wanted: PeerAddress, payload: bytes) -> None:
        now = self._clock()
        if not self._rules.may_ask(asker.address.host, now):
            return
        target = self._peer_at(wanted)
        answer = Answer.NO_SELF
        if not self._pool.own.is_own(wanted):
            other = None if target is None else _party(target)
            answer = self._rules.answer(_party(asker), wanted, other, now)
        logger.debug("%s wants to meet %s: %s", asker.address, wanted, answer.name)
        if answer in REFUSALS:
            _send(asker, encode_refusal(payload, REFUSALS[answer]))
        elif answer is Answer.INTRODUCE and target is not None:
            _introduce(target, asker)
            _introduce(asker, target)

    def _peer_at(self, address: PeerAddress) -> Peer | None:
        """Return our peer at an address, rather than one that only says so."""
        named = [peer for peer in self._peers if address in {peer.address, peer.listens_at}]
        return min(named, key=lambda peer: peer.address != address, default=None)


def make_holepunch(
    swarm: Swarm,
    pool: PeerPool,
    pex: PeerExchange | None,
    extensions: dict[str, ExtensionHandler],
) -> Holepunch | None:
    """Return what introduces the peers of a pool, told of everything; None if that is off."""
    network = swarm.shared_config.network
    if not punches_holes(network):
        return None
    who_told = (lambda _address: []) if pex is None else pex.who_told
    holepunch = Holepunch(network.holepunch, swarm.peers, pool, swarm.clock, who_told)
    if pex is not None:
        pex.introductions = holepunch
    pool.dialling.on_unreached = holepunch.not_reached
    extensions[UT_HOLEPUNCH] = holepunch.on_message
    return holepunch


def _introduce(peer: Peer, other: Peer) -> None:
    """Tell one peer to dial another."""
    place = _meeting_place(other)
    if place is not None:
        _send(peer, encode_holepunch(HolepunchMessage(HolepunchKind.CONNECT, place)))


def _send(peer: Peer, payload: bytes) -> None:
    peer.connection.send_extension(UT_HOLEPUNCH, payload)
    peer.link.flush()


def _speaks(peer: Peer) -> bool:
    return bool(peer.connection.peer_extensions.get(UT_HOLEPUNCH))


def _party(peer: Peer) -> Party[Peer]:
    return Party(peer, _meeting_place(peer), _speaks(peer))


def _meeting_place(peer: Peer) -> PeerAddress | None:
    """Return from where a peer sends its uTP packets; None if we cannot know."""
    is_over_utp = peer.link.transport.protocol is LinkProtocol.UTP
    return peer.address if is_over_utp else peer.listens_at
