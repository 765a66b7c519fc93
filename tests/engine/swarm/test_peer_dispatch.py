"""Which manager hears of which event of a peer."""

from types import SimpleNamespace
from typing import Any

from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.engine.swarm.peer_dispatch import PeerEvents, PeerHandlers, take_upload_only
from torrent_engine.protocol.wire.extension import ExtensionHandshake
from torrent_engine.protocol.wire.messages import (
    ExtensionHandshakeReceived,
    ExtensionMessageReceived,
    PortReceived,
)


class Anything:
    """Takes every call, and remembers none."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


class FakeLink:
    """Remembers why it was ended."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def end(self, reason: str) -> None:
        self.ended.append(reason)


def peer() -> Any:
    return SimpleNamespace(
        link=FakeLink(),
        client="",
        tell_connected=None,
        pipeline=Anything(),
        listen_port=None,
        metadata_bytes=None,
    )


def events(**callbacks: Any) -> PeerEvents:
    return PeerEvents(PeerHandlers(**callbacks))


def test_bep10_messages_go_to_the_handler_of_their_name() -> None:
    heard: list[tuple[object, bytes]] = []
    subject, sender = events(extensions={"ut_pex": lambda *call: heard.append(call)}), peer()
    subject.handle(sender, [ExtensionMessageReceived("ut_pex", b"de")])
    subject.handle(sender, [ExtensionMessageReceived("ut_metadata", b"de")])
    assert heard == [(sender, b"de")]
    assert not sender.link.ended


def test_bep10_a_violation_in_an_extension_message_ends_the_link() -> None:
    def refuse(_peer: object, payload: bytes) -> None:
        raise RemoteProtocolError(f"{len(payload)} bytes", bep=11)

    subject, sender = events(extensions={"ut_pex": refuse}), peer()
    subject.handle(sender, [ExtensionMessageReceived("ut_pex", b"de")])
    assert sender.link.ended == ["2 bytes (BEP 11)"]


def test_bep10_whoever_wants_to_hears_of_extension_handshakes_with_all_that_they_say() -> None:
    heard: list[int | None] = []
    subject, sender = (
        events(on_extension_handshake=lambda each: heard.append(each.listen_port)),
        peer(),
    )
    subject.handle(sender, [ExtensionHandshakeReceived(ExtensionHandshake(listen_port=6881))])
    assert heard == [6881]


def test_bep5_whoever_wants_to_hears_of_the_ports_of_dht_nodes() -> None:
    heard: list[tuple[object, int]] = []
    subject, sender = events(on_port=lambda *call: heard.append(call)), peer()
    subject.handle(sender, [PortReceived(6881)])
    assert heard == [(sender, 6881)]


def test_bep21_what_libtorrent_says_of_its_downloads_is_taken() -> None:
    subject, sender = events(extensions={"upload_only": take_upload_only}), peer()
    sender.is_upload_only = False
    said = []
    for payload in (b"\x01", b"", b"\x00\x00", b"\x00"):
        subject.handle(sender, [ExtensionMessageReceived("upload_only", payload)])
        said.append(sender.is_upload_only)
    assert said == [True, True, True, False]  # of another length it says nothing
