"""Owns peer exchange of one torrent: what each peer is told of the others, and told us of them.

Source: BEP 11; row B9.
"""

import random
from collections.abc import Callable
from functools import reduce
from itertools import islice
from operator import or_
from typing import Final, Protocol

from torrent_engine.base.config import PexConfig, PoolConfig
from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.base.network_config import LinkEncryption, LinkProtocol
from torrent_engine.engine.peer import Peer
from torrent_engine.policy.candidates import CandidateList, Source
from torrent_engine.policy.hearsay import Hearsay
from torrent_engine.policy.peer_exchange import Change, ContactBook
from torrent_engine.protocol.wire.exchange import (
    UT_PEX,
    PexContact,
    PexFlag,
    PexMessage,
    decode_pex,
    encode_pex,
)
from torrent_engine.protocol.wire.holepunch import UT_HOLEPUNCH

MESSAGES_PER_TICK: Final = 25  # ours: with 200 peers each message takes 0.2 ms


class Introductions(Protocol):
    """Who makes use of what peers say of each other to be introduced (BEP 55)."""

    def heard_of(self, address: PeerAddress) -> None:
        """Learn that who is at an address can be introduced."""

    def brought_about(self, address: PeerAddress) -> bool:
        """Tell whether we met this peer by an introduction."""


class PeerExchange:
    """Takes the messages of peers as candidates, and tells them of each other.

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
        on_new: Callable[[], None],
    ) -> None:
        self._config = config
        self._candidates = candidates
        self._clock = clock
        self.on_new = on_new
        """Called when somebody is new; whoever takes the peers over may put its own here."""
        self._contacts = ContactBook[Peer](config, rng)
        self._hearsay = Hearsay[Peer](config, pool)
        self.introductions: Introductions | None = None
        self.on_prefers_encryption: Callable[[PeerAddress], None] = lambda _address: None
        """Hears of each address of which that is said."""
        self._is_stopped = not config.enabled
        candidates.on_reached = self._reached
        candidates.on_not_reached = self._not_reached

    def on_joined(self, peer: Peer) -> None:
        """Take note of a peer: after its handshake, and each time it named its extensions."""
        self._hearsay.joined(peer, peer.address)
        if (address := peer.listens_at) is not None:
            self._contacts.connected(peer, address, is_dialled=not peer.is_incoming)
        if peer.connection.peer_extensions.get(UT_PEX):
            self._contacts.listens(peer, peer.address.host)

    def on_left(self, peer: Peer) -> None:
        """Forget a peer; if it is banned, what only it named is forgotten with it."""
        now = self._clock()
        if self._candidates.is_banned(peer.address, peer.identity.peer_id, now):
            self._distrust(peer, now)
        self._contacts.left(peer)
        self._hearsay.left(peer)

    def on_message(self, peer: Peer, payload: bytes) -> None:
        """Take what a peer says of its peers.

        Raises RemoteProtocolError if the message is malformed, or one too many.
        """
        if self._is_stopped:
            return
        now = self._clock()
        self._hearsay.joined(peer, peer.address)
        try:
            message = decode_pex(payload, self._config)
            flags = dict(message.added)
            taken = self._hearsay.heard(peer, list(flags), message.dropped, now)
        except RemoteProtocolError:
            self._distrust(peer, now)
            raise
        for address in taken:
            self._note(address, flags[address])
        if [address for address in taken if self._take(peer, address, flags[address], now)]:
            self.on_new()

    def tick(self, now: float) -> None:
        """Send what is due, to a few peers at a time; at most one message a peer and minute."""
        if self._is_stopped:
            return
        changes = self._contacts.changes(now, self._hearsay.told_by)
        for peer, change in islice(changes, MESSAGES_PER_TICK):
            peer.connection.send_extension(UT_PEX, encode_pex(self._message(change)))
            peer.link.flush()

    def who_told(self, address: PeerAddress) -> list[Peer]:
        """Return the peers that say they are connected to an address."""
        return self._hearsay.who_told(address, self._clock())

    def stop(self) -> None:
        """Send nothing and take nothing any more."""
        self._is_stopped = True

    def _take(self, peer: Peer, address: PeerAddress, flags: PexFlag, now: float) -> bool:
        """Make a candidate of an address, unless it is that of a peer; return whether it is new."""
        if address in self._contacts or not self._candidates.add(address, Source.PEX, now):
            return False
        self._hearsay.charge(peer, address)
        if flags & PexFlag.UPLOAD_ONLY:
            self._candidates.note_seed(address, is_seed=True)
        return True

    def _note(self, address: PeerAddress, flags: PexFlag) -> None:
        """Take what is said of an address beyond that a peer is there."""
        if flags & PexFlag.PREFERS_ENCRYPTION:
            self.on_prefers_encryption(address)
        if flags & PexFlag.SUPPORTS_HOLEPUNCH and self.introductions is not None:
            self.introductions.heard_of(address)

    def _distrust(self, peer: Peer, now: float) -> None:
        self._candidates.forget(self._hearsay.distrust(peer, now), Source.PEX)

    def _reached(self, address: PeerAddress) -> None:
        self._hearsay.dialled(address, self._clock(), reached=True)

    def _not_reached(self, address: PeerAddress) -> None:
        forgotten = self._hearsay.dialled(address, self._clock(), reached=False)
        self._candidates.forget(forgotten, Source.PEX)

    def _message(self, change: Change[Peer]) -> PexMessage:
        added = (PexContact(each.address, self._flags(each.key)) for each in change.added)
        return PexMessage(tuple(added), tuple(change.dropped))

    def _flags(self, peer: Peer) -> PexFlag:
        """Return what others are told of a peer."""
        transport, met = peer.link.transport, self.introductions
        is_introduced = met is not None and met.brought_about(peer.address)
        is_encrypted = transport.encryption is not LinkEncryption.NONE
        facts = {
            PexFlag.PREFERS_ENCRYPTION: peer.prefers_encryption or is_encrypted,
            PexFlag.UPLOAD_ONLY: peer.wants_nothing,
            PexFlag.SUPPORTS_UTP: transport.protocol is LinkProtocol.UTP,
            PexFlag.SUPPORTS_HOLEPUNCH: bool(peer.connection.peer_extensions.get(UT_HOLEPUNCH)),
            PexFlag.REACHABLE: not peer.is_incoming and not is_introduced,
        }
        return reduce(or_, (flag for flag, is_true in facts.items() if is_true), PexFlag.NONE)
