"""What the peers of a torrent look like, as lines: the fastest first."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from torrent_engine.base.config import ConnectionEncryption
from torrent_engine.cli.output import sizes
from torrent_engine.cli.output.text import safe

if TYPE_CHECKING:
    from torrent_engine.engine.stats import PeerStats

MAX_PEERS: Final = 10  # ours: lines for each torrent
MAX_CLIENT_CHARS: Final = 24
_ENCRYPTION: Final = {
    ConnectionEncryption.NONE: "plain",
    ConnectionEncryption.PLAINTEXT: "MSE plain",
    ConnectionEncryption.RC4: "MSE RC4",
}


def peer_lines(peers: Sequence["PeerStats"], most: int = MAX_PEERS) -> tuple[str, ...]:
    """Return a line for each of the fastest peers, and one that counts the others."""
    ordered = sorted(peers, key=_rate, reverse=True)
    lines = [_line(peer) for peer in ordered[:most]]
    if len(ordered) > most:
        lines.append(f"and {len(ordered) - most:,} more")
    return tuple(lines)


def _rate(peer: "PeerStats") -> float:
    return peer.download_bytes_per_s + peer.upload_bytes_per_s


def _line(peer: "PeerStats") -> str:
    """Return one peer as ``192.0.2.7:6881 -> uTP MSE RC4, down 1.2 MiB/s, up 0 B/s, seed, Name``.

    The arrow says who began: ``->`` we did, ``<-`` the peer.
    """
    arrow = "<-" if peer.is_incoming else "->"
    carrier = "uTP" if peer.transport == "utp" else "TCP"
    facts = [
        f"{peer.address} {arrow} {carrier} {_ENCRYPTION[peer.encryption]}",
        f"down {sizes.format_rate(peer.download_bytes_per_s)}",
        f"up {sizes.format_rate(peer.upload_bytes_per_s)}",
    ]
    if peer.is_seed:
        facts.append("seed")
    if peer.client:
        facts.append(_shortened(safe(peer.client)))
    return ", ".join(facts)


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_CLIENT_CHARS else text[: MAX_CLIENT_CHARS - 3] + "..."
