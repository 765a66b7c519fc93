"""The first messages of a connection: bitfield, extension handshake, port.

Source: BEP 3 (bitfield), BEP 5 (port), BEP 6 (allowed fast), BEP 9 (metadata_size), BEP 10,
BEP 16 (super-seeding), BEP 21 (upload only), BEP 54 (lt_donthave).
"""

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from torrent_engine.base.config import SharedConfig
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.geometry import Geometry
from torrent_engine.engine.resources.privacy import client_name
from torrent_engine.engine.swarm.context import Swarm, Torrent
from torrent_engine.engine.swarm.extension_ids import local_extensions
from torrent_engine.engine.swarm.peer import Peer
from torrent_engine.protocol.wire.connection import PeerConnection
from torrent_engine.protocol.wire.extension import DONT_HAVE, UPLOAD_ONLY, ExtensionHandshake
from torrent_engine.protocol.wire.fast import allowed_fast_set
from torrent_engine.protocol.wire.metadata import UT_METADATA

MAX_MISSING_HAVES: Final = 8_192  # ours: 72 KiB of "have" messages, which take 0.3 ms
MAX_DONT_HAVES: Final = 256  # ours: pieces that are gone; more take more than 0.1 ms


class Greeting(Protocol):
    """The first messages to a peer; ``listen_port`` is where we accept connections."""

    extensions: Mapping[str, int]
    geometry: Geometry | None

    def dht_port(self) -> int | None:
        """Return where our DHT node is; None: none that this swarm may know of."""

    def is_complete(self) -> bool:
        """Return whether we have all that we want."""

    def greet(self, peer: Peer, listen_port: int | None) -> None:
        """Queue the first messages; the bitfield must come first (BEP 3)."""


def new_connection(
    swarm: Swarm, greeting: Greeting, *, is_v2: bool | None = None
) -> PeerConnection:
    """Return a connection for a link that begins with our handshake, or its answer.

    ``is_v2`` says of a hybrid whether we begin with its v2 info-hash; None: the peer begins.
    """
    connection = _new_connection(swarm, greeting, is_v2=bool(is_v2))
    sender, has_dht = connection.sender, greeting.dht_port() is not None
    (sender.answer_handshake if is_v2 is None else sender.send_handshake)(dht=has_dht)
    return connection


def _new_connection(swarm: Swarm, greeting: Greeting, *, is_v2: bool) -> PeerConnection:
    config, v1_hash, v2_hash = swarm.shared_config, swarm.info_hash, swarm.v2_hash
    if swarm.v1_hash is not None:
        v1_hash, v2_hash = swarm.v1_hash, swarm.info_hash
    return PeerConnection(
        geometry=greeting.geometry,
        info_hash=v1_hash,
        peer_id=swarm.peer_id,
        limits=config.wire,
        transfer=config.transfer,
        extensions=greeting.extensions,
        buffers=swarm.buffers,
        requests=swarm.link_budget.requests,
        joins_blocks=True,
        is_v2=swarm.is_v2 or (is_v2 and v2_hash is not None),
        v2_hash=v2_hash,
        now=swarm.clock(),
    )


class TorrentGreeting:
    """Handshake messages of a torrent whose metadata is known."""

    def __init__(
        self,
        torrent: Torrent,
        dht_port: Callable[[], int | None],
        hides_pieces: Callable[[], bool] = lambda: False,
    ) -> None:
        self.geometry: Geometry | None = torrent.metainfo.geometry
        self.extensions = local_extensions(
            torrent.shared_config, is_private=torrent.metainfo.is_private
        )
        self._torrent = torrent
        self._dht_port = dht_port
        self._hides_pieces = hides_pieces
        """Whether to send an empty bitfield (BEP 16)."""

    def dht_port(self) -> int | None:
        """Return where our DHT node is; None for a private torrent (BEP 27)."""
        return None if self._torrent.metainfo.is_private else self._dht_port()

    def is_complete(self) -> bool:
        """Return whether we have all that we want."""
        return self._torrent.is_complete

    def greet(self, peer: Peer, listen_port: int | None) -> None:
        """Queue bitfield, extension handshake, port and allowed-fast messages."""
        torrent, connection = self._torrent, peer.connection
        have, metainfo = torrent.table.have, torrent.metainfo
        is_hiding = self._hides_pieces()
        if is_hiding:
            have = Bitfield(metainfo.piece_count)
        if peer.is_adopted and is_hiding:
            _part_if_it_knows_pieces(peer)
        elif peer.is_adopted:
            _send_changes(peer, have)
        else:
            connection.sender.send_bitfield(have)
        if connection.state.extensions_enabled:
            self._send_extensions(peer, listen_port, is_upload_only=self._is_upload_only())
        if not peer.is_adopted:
            send_dht_port(peer, self.dht_port())
        if connection.state.fast_enabled and not have.none():
            pieces = allowed_fast_set(peer.address.host, metainfo.info_hash, metainfo.piece_count)
            connection.sender.allow_fast([piece for piece in pieces if have.has(piece)])

    def _send_extensions(
        self, peer: Peer, listen_port: int | None, *, is_upload_only: bool
    ) -> None:
        peer.told_upload_only = is_upload_only
        peer.connection.sender.send_extension_handshake(
            extension_handshake(
                peer,
                self._torrent.shared_config,
                self._extensions_for(peer),
                listen_port,
                is_upload_only=is_upload_only,
                metadata_bytes=self._metadata_bytes(),
            )
        )

    def _is_upload_only(self) -> bool:
        return self.is_complete() and not self._hides_pieces()

    def tell_changes(
        self, peers: Iterable[Peer], port_seen_by: Callable[[str], int | None]
    ) -> None:
        """Send peers whether we download, where they were told otherwise (BEP 21).

        In a further extension handshake, and in the message of libtorrent, which takes only that
        for a no. Who has the whole torrent has said so by its pieces.
        """
        if self._torrent.table.have.all():
            return
        is_upload_only = self._is_upload_only()
        for peer in peers:
            if peer.told_upload_only == is_upload_only:
                continue
            if peer.connection.state.extensions_enabled:
                port = port_seen_by(peer.address.host)
                self._send_extensions(peer, port, is_upload_only=is_upload_only)
                peer.connection.sender.send_extension(UPLOAD_ONLY, bytes([is_upload_only]))
                peer.link.flush()

    def _metadata_bytes(self) -> int | None:
        """Return how much metadata there is to be had from us."""
        is_given = UT_METADATA in self.extensions
        return len(self._torrent.metainfo.info_bytes) if is_given else None

    def _extensions_for(self, peer: Peer) -> Mapping[str, int]:
        """Return our extensions; those of an adopted peer that we lost get id 0 (BEP 10)."""
        if not peer.is_adopted:
            return self.extensions
        before = local_extensions(self._torrent.shared_config, is_private=False)
        return {**dict.fromkeys(before, 0), **self.extensions}


class MagnetGreeting:
    """Handshake messages of a torrent without metadata."""

    def __init__(self, config: SharedConfig, dht_port: Callable[[], int | None]) -> None:
        self.geometry: Geometry | None = None
        self.extensions = local_extensions(config, is_private=False)
        self._config = config
        self._dht_port = dht_port

    def dht_port(self) -> int | None:
        """Return where our DHT node is."""
        return self._dht_port()

    def is_complete(self) -> bool:
        """Return False."""
        return False

    def greet(self, peer: Peer, listen_port: int | None) -> None:
        """Queue an empty bitfield, the extension handshake and the port message."""
        connection = peer.connection
        connection.sender.send_bitfield(Bitfield(1))  # "have none", or nothing at all
        if connection.state.extensions_enabled:
            connection.sender.send_extension_handshake(
                extension_handshake(peer, self._config, self.extensions, listen_port)
            )
        send_dht_port(peer, self.dht_port())


def extension_handshake(
    peer: Peer,
    config: SharedConfig,
    extensions: Mapping[str, int],
    listen_port: int | None,
    *,
    is_upload_only: bool = False,
    metadata_bytes: int | None = None,
) -> ExtensionHandshake:
    """Return our extension handshake for a peer (BEP 10)."""
    is_anonymous = config.network.anonymous
    return ExtensionHandshake(
        extensions=extensions,
        client=client_name(config),
        listen_port=None if is_anonymous else listen_port or None,
        your_ip=b"" if is_anonymous else ipaddress.ip_address(peer.address.host).packed,
        reqq=config.wire.reqq,
        is_upload_only=is_upload_only,
        metadata_bytes=metadata_bytes,
        prefers_encryption=config.network.encryption.is_preferred,
    )


def _part_if_it_knows_pieces(peer: Peer) -> None:
    """End the link of an adopted peer that was told what a super-seed hides (BEP 16)."""
    if peer.while_dormant is not None and any(peer.while_dormant.sent_bitfield):
        _end_to_begin_anew(peer, "super-seeding begins")


def _send_changes(peer: Peer, have: Bitfield) -> None:
    """Queue "have" and "lt_donthave" (BEP 54) for what an adopted peer does not know of.

    Its link is ended if it cannot be told, or if the pieces are very many: a new one begins with a
    bitfield, a 70th of the bytes.
    """
    present, count = have.to_bytes(), have.piece_count
    before = bytes(len(present)) if peer.while_dormant is None else peer.while_dormant.sent_bitfield
    if before == present:
        return
    known, ours = Bitfield.from_bytes(before, count).as_int(), have.as_int()
    added, lost = ours & ~known, known & ~ours
    if lost and not peer.connection.state.peer_extensions.get(DONT_HAVE):
        _end_to_begin_anew(peer, "to tell it that pieces are gone")
    elif added.bit_count() > MAX_MISSING_HAVES or lost.bit_count() > MAX_DONT_HAVES:
        _end_to_begin_anew(peer, "to tell it all pieces at once")
    else:
        sender = peer.connection.sender
        for piece in Bitfield.from_int(lost, count).present() if lost else ():
            sender.send_extension(DONT_HAVE, piece.to_bytes(4, "big"))
        sender.send_have(list(Bitfield.from_int(added, count).present()) if added else [])


def _end_to_begin_anew(peer: Peer, reason: str) -> None:
    """End a link whose peer is to come back, or to be dialled, at once."""
    peer.is_moving = True
    peer.link.end(reason)


def send_dht_port(peer: Peer, port: int | None) -> None:
    """Queue a port message, if both sides have a DHT node (BEP 5)."""
    handshake = peer.connection.state.handshake
    if port is not None and handshake is not None and handshake.supports_dht:
        peer.connection.sender.send_port(port)
