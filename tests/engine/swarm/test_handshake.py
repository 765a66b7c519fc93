"""What we say to a peer first."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.cpu_time import cpu_time
from tests.support.peer_pair import open_connection
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import PexConfig, SharedConfig
from torrent_engine.base.ids import BLOCK_BYTES, PeerAddress
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.geometry import Geometry
from torrent_engine.engine.swarm.handshake import (
    MAX_DONT_HAVES,
    MAX_MISSING_HAVES,
    MagnetGreeting,
    TorrentGreeting,
    _send_changes,
)
from torrent_engine.engine.swarm.peer import DormantExchange
from torrent_engine.protocol.wire.messages import MessageId, encode_extended, encode_piece_index


def torrent_greeting(*, is_private: bool) -> TorrentGreeting:
    metainfo, _ = make_torrent(payload_of(20_000), is_private=is_private)
    torrent: Any = SimpleNamespace(metainfo=metainfo, shared_config=SharedConfig())
    return TorrentGreeting(torrent, lambda: 6881)


@pytest.mark.parametrize(
    ("is_private", "is_adopted", "number"),
    [(False, False, 1), (False, True, 1), (True, False, None), (True, True, 0)],
)
def test_b10_ut_pex_is_not_named_for_a_private_torrent_and_taken_back_if_it_was(
    is_private: bool, is_adopted: bool, number: int | None
) -> None:
    peer: Any = SimpleNamespace(is_adopted=is_adopted)
    named = torrent_greeting(is_private=is_private)._extensions_for(peer)
    assert named.get("ut_pex") == number
    assert named["lt_donthave"]


def test_b10_the_swarm_of_a_private_torrent_does_not_learn_where_our_dht_node_is() -> None:
    assert torrent_greeting(is_private=False).dht_port() == 6881
    assert torrent_greeting(is_private=True).dht_port() is None


def test_bep11_nothing_is_named_that_is_switched_off() -> None:
    off = SharedConfig(pex=PexConfig(enabled=False))
    assert "ut_pex" in MagnetGreeting(SharedConfig(), lambda: None).extensions
    assert "ut_pex" not in MagnetGreeting(off, lambda: None).extensions


class Adopted:
    """A peer of an earlier run, and what we say to it now."""

    def __init__(
        self,
        piece_count: int,
        sent_bitfield: bytes | None = None,
        extensions: dict[str, int] | None = None,
    ) -> None:
        geometry = Geometry(piece_count * BLOCK_BYTES, BLOCK_BYTES)
        self.connection = open_connection(geometry=geometry, joins_blocks=True, now=0.0)
        self.connection.data_to_send()
        self.connection.state.peer_extensions.update(extensions or {})
        self.while_dormant = sent_bitfield and DormantExchange(sent_bitfield, [])
        self.is_moving = False
        self.link = SimpleNamespace(end=self._end)
        self.reasons: list[str] = []

    def _end(self, reason: str) -> None:
        self.reasons.append(reason)

    def told(self) -> bytes:
        return b"".join(self.connection.data_to_send())


def have_of(*pieces: int) -> bytes:
    return b"".join(encode_piece_index(MessageId.HAVE, piece) for piece in pieces)


def test_bep3_an_adopted_peer_is_told_the_pieces_that_it_does_not_know_of() -> None:
    have = Bitfield(300)
    for piece in (0, 7, 255, 256, 299):
        have.set(piece)
    knows = Bitfield(300)
    knows.set(7)
    for sent, pieces in ((None, (0, 7, 255, 256, 299)), (knows.to_bytes(), (0, 255, 256, 299))):
        peer: Any = Adopted(300, sent)
        _send_changes(peer, have)
        assert peer.told() == have_of(*pieces)
        assert not peer.reasons


@pytest.mark.parametrize("sent", [None, bytes(62_500)], ids=["magnet", "dormant"])
def test_f11_an_adopted_peer_is_not_told_half_a_million_pieces_one_by_one(
    sent: bytes | None,
) -> None:
    have = Bitfield.full(500_000)
    peers: list[Any] = [Adopted(500_000, sent) for _ in range(20)]
    with cpu_time() as spent:
        for peer in peers:
            _send_changes(peer, have)
    assert spent.seconds < 0.05  # it was 2.8 s
    for peer in peers:
        assert not peer.told()  # they were 4.5 MB
        assert peer.is_moving
        assert peer.reasons == ["to tell it all pieces at once"]


def test_f11_an_adopted_peer_that_is_told_little_keeps_its_link() -> None:
    have = Bitfield.full(MAX_MISSING_HAVES)
    peer: Any = Adopted(MAX_MISSING_HAVES)
    _send_changes(peer, have)
    assert len(peer.told()) == 9 * MAX_MISSING_HAVES
    assert not peer.reasons


class Listener:
    """A peer of a torrent of two pieces, and what we tell it of ourselves."""

    def __init__(self, *, names_upload_only: bool = True) -> None:
        self.connection = open_connection(extensions={})
        self.connection.state.extensions_enabled = True
        if names_upload_only:
            self.connection.state.peer_extensions["upload_only"] = 3
        self.address = PeerAddress("10.0.0.1", 6881)
        self.is_adopted = self.told_upload_only = False
        self.link = SimpleNamespace(flush=lambda: None)

    def told(self) -> bytes:
        return b"".join(self.connection.data_to_send())


def greeting_of(wanted: int, *present: int) -> tuple[TorrentGreeting, Any]:
    metainfo, _ = make_torrent(payload_of(40_000), piece_bytes=20_480)
    have = Bitfield(2)
    for piece in present:
        have.set(piece)
    torrent: Any = SimpleNamespace(
        metainfo=metainfo,
        shared_config=SharedConfig(),
        is_complete=not wanted & ~have.as_int(),
        table=SimpleNamespace(have=have),
    )
    return TorrentGreeting(torrent, lambda: None), torrent


NO_DOWNLOAD, DOWNLOAD = encode_extended(3, b"\x01"), encode_extended(3, b"\x00")


def test_bep21_peers_are_told_once_when_we_stop_to_download_and_begin_again() -> None:
    greeting, torrent = greeting_of(0b01, 0)
    peer: Any = Listener()
    greeting.tell_changes([peer], lambda _: 6881)
    told = peer.told()
    assert b"11:upload_onlyi1e" in told
    assert told.endswith(NO_DOWNLOAD)
    greeting.tell_changes([peer], lambda _: 6881)
    assert not peer.told()
    torrent.is_complete = False  # another file is wanted
    greeting.tell_changes([peer], lambda _: 6881)
    told = peer.told()
    assert b"1:pi6881e" in told
    assert b"upload_onlyi1e" not in told
    assert told.endswith(DOWNLOAD)


def test_bep21_what_a_peer_was_told_at_first_is_not_told_again() -> None:
    greeting, torrent = greeting_of(0b01, 0)
    peer: Any = Listener(names_upload_only=False)
    greeting.greet(peer, 6881)
    assert b"11:upload_onlyi1e" in peer.told()
    greeting.tell_changes([peer], lambda _: 6881)
    assert not peer.told()
    torrent.is_complete = False
    greeting.tell_changes([peer], lambda _: 6881)
    assert b"upload_only" not in peer.told().replace(b"11:upload_onlyi3e", b"")


def test_bep21_a_seed_tells_by_its_pieces_that_it_does_not_download() -> None:
    greeting, _ = greeting_of(0b11, 0, 1)
    peer: Any = Listener()
    greeting.tell_changes([peer], lambda _: 6881)
    assert not peer.told()


def test_bep21_who_knows_no_extensions_is_told_nothing() -> None:
    greeting, _ = greeting_of(0b01, 0)
    peer: Any = Listener()
    peer.connection.state.extensions_enabled = False
    greeting.tell_changes([peer], lambda _: 6881)
    assert not peer.told()


def test_bep54_an_adopted_peer_is_told_which_pieces_are_gone_and_which_are_new() -> None:
    knew, have = Bitfield(300), Bitfield(300)
    for piece in (3, 7, 299):
        knew.set(piece)
    for piece in (7, 8):
        have.set(piece)
    peer: Any = Adopted(300, knew.to_bytes(), {"lt_donthave": 9})
    _send_changes(peer, have)
    gone = b"".join(encode_extended(9, bytes((0, 0, *at))) for at in ((0, 3), (1, 43)))
    assert peer.told() == gone + have_of(8)
    assert not peer.reasons


@pytest.mark.parametrize("extensions", [{}, {"lt_donthave": 0}, {"ut_pex": 1}])
def test_bep54_the_link_of_a_peer_that_cannot_be_told_what_is_gone_is_made_anew(
    extensions: dict[str, int],
) -> None:
    have = Bitfield.full(300)
    have.clear(3)
    peer: Any = Adopted(300, Bitfield.full(300).to_bytes(), extensions)
    _send_changes(peer, have)
    assert peer.reasons == ["to tell it that pieces are gone"]
    assert peer.is_moving
    assert not peer.told()


@pytest.mark.parametrize("gone", [MAX_DONT_HAVES, MAX_DONT_HAVES + 1])
def test_f11_an_adopted_peer_is_told_of_few_lost_pieces_one_by_one(gone: int) -> None:
    have = Bitfield.full(500_000)
    for piece in range(gone):
        have.clear(piece)
    peer: Any = Adopted(500_000, Bitfield.full(500_000).to_bytes(), {"lt_donthave": 9})
    _send_changes(peer, have)
    is_too_many = gone > MAX_DONT_HAVES
    assert len(peer.told()) == (0 if is_too_many else 10 * gone)
    assert peer.reasons == ["to tell it all pieces at once"] * is_too_many


@pytest.mark.parametrize("is_known", [False, True])
def test_bep16_who_knows_the_pieces_that_are_to_be_hidden_is_parted_from(*, is_known: bool) -> None:
    metainfo, _ = make_torrent(payload_of(20 * BLOCK_BYTES))
    have = Bitfield.full(metainfo.piece_count)
    torrent: Any = SimpleNamespace(
        metainfo=metainfo,
        shared_config=SharedConfig(),
        table=SimpleNamespace(have=have),
        is_complete=True,
    )
    sent = have if is_known else Bitfield(metainfo.piece_count)
    peer: Any = Adopted(metainfo.piece_count, sent.to_bytes())
    peer.is_adopted, peer.address = True, PeerAddress("127.0.0.1", 6881)
    TorrentGreeting(torrent, lambda: None, lambda: True).greet(peer, None)
    assert peer.reasons == ["super-seeding begins"] * is_known
    assert peer.is_moving == is_known
    assert encode_piece_index(MessageId.HAVE, 0)[:5] not in peer.told()
