"""What rules of uTP share: connections of a case, opened and greeted."""

from typing import Final

from torrent_engine.conformance.case import Case
from torrent_engine.conformance.errors import ConformanceError, UndecidedError
from torrent_engine.conformance.frames import PLAIN
from torrent_engine.conformance.raw_peer import RawPeer
from torrent_engine.conformance.utp.link import KitUtpLink, KitUtpStream
from torrent_engine.conformance.utp.over_utp import SubjectOverUtp
from torrent_engine.conformance.utp.packets import KitUtpPacket, UtpKind

QUIET_S: Final = 0.3


async def new_link(case: Case) -> KitUtpLink:
    """Return a connection that was not opened yet, from an address of its own."""
    if not isinstance(case.subject, SubjectOverUtp):
        raise ConformanceError("this program is not spoken to over uTP")
    link = await case.subject.link(
        case.new_address(), lambda direction, text: case.log.add(f"u{direction}", text)
    )
    case.at_end(link.close)
    return link


async def open_link(case: Case, link: KitUtpLink) -> KitUtpPacket:
    """Open a connection; return the answer to the SYN. Raises UndecidedError."""
    answer = await link.open(case.limit_s)
    if answer is None or answer.kind != UtpKind.STATE:
        raise UndecidedError("no STATE came for a SYN")
    return answer


async def opened(case: Case) -> KitUtpLink:
    """Return a connection on which nothing was sent yet. Raises UndecidedError."""
    link = await new_link(case)
    await open_link(case, link)
    return link


def peer_of(case: Case, link: KitUtpLink) -> RawPeer:
    """Return the peer that speaks BitTorrent on a connection."""
    return RawPeer(KitUtpStream(link), case.log, "a", "")


async def greeted(case: Case) -> tuple[KitUtpLink, RawPeer]:
    """Return a connection on which both sent their handshakes. Raises UndecidedError."""
    link = await opened(case)
    peer = peer_of(case, link)
    await peer.send(case.greeting(peer, PLAIN), "handshake")
    await case.expect_greeting(peer)
    return link, peer


async def unchoked(case: Case) -> tuple[KitUtpLink, RawPeer]:
    """Return a connection on which blocks can be requested. Raises UndecidedError."""
    link, peer = await greeted(case)
    await case.wait_unchoked(peer)
    await peer.watch(QUIET_S)
    return link, peer
