"""A connected peer as "sync/torrentPeers" tells it."""

from collections.abc import Mapping
from typing import Any, Final

from torrent_engine.daemon.engine_port.facts import PeerFacts
from torrent_engine.daemon.state.rows import StateRow

_CONNECTIONS: Final = {"tcp": "BT", "utp": "\u03bcTP"}
_PRINTABLE: Final = range(0x20, 0x7F)
_CLIENT_ID_BYTES: Final = 8


def peer_key(facts: PeerFacts) -> str:
    """Return the name of a peer, which is its address with the port."""
    host = f"[{facts.host}]" if ":" in facts.host else facts.host
    return f"{host}:{facts.port}"


def peer_values(facts: PeerFacts, row: StateRow) -> Mapping[str, Any]:
    """Return a peer of a torrent."""
    flags = flags_of(facts)
    return {
        "client": facts.client,
        "connection": _CONNECTIONS.get(facts.transport, facts.transport),
        "country": "",
        "country_code": "",
        "dl_speed": round(facts.download_bytes_per_s),
        "downloaded": facts.downloaded_bytes,
        "files": "",
        "flags": " ".join(flags),
        "flags_desc": "\n".join(f"{flag} = {text}" for flag, text in flags.items()),
        "ip": facts.host,
        "peer_id_client": _client_id(facts.peer_id),
        "port": facts.port,
        "progress": round(float(facts.progress), 4),
        "relevance": _relevance(facts, row),
        "up_speed": round(facts.upload_bytes_per_s),
        "uploaded": facts.uploaded_bytes,
    }


def _client_id(peer_id: bytes) -> str:
    """Return the part of a peer id that names the program."""
    return "".join(chr(byte) for byte in peer_id[:_CLIENT_ID_BYTES] if byte in _PRINTABLE)


def _relevance(facts: PeerFacts, row: StateRow) -> float:
    """Return how much of what is missing a peer has: all, or what chance would give it."""
    if row.is_complete:
        return 0.0
    return 1.0 if facts.is_seed else round(float(facts.progress), 4)


def flags_of(facts: PeerFacts) -> dict[str, str]:
    """Return the flags of a peer with their meanings, in qBittorrent's order."""
    is_loading, is_sending = facts.sends_to_us, facts.gets_from_us
    letters = (
        ("D", is_loading, "Interested (local) and unchoked (peer)"),
        ("d", not is_loading and facts.am_interested, "Interested (local) and choked (peer)"),
        ("U", is_sending, "Interested (peer) and unchoked (local)"),
        ("u", not is_sending and facts.peer_interested, "Interested (peer) and choked (local)"),
        (
            "K",
            not facts.peer_choking and not facts.am_interested,
            "Not interested (local) and unchoked (peer)",
        ),
        (
            "?",
            not facts.am_choking and not facts.peer_interested,
            "Not interested (peer) and unchoked (local)",
        ),
        ("O", facts.is_optimistic, "Optimistic unchoke"),
        ("S", facts.is_snubbed, "Peer snubbed"),
        ("I", facts.is_incoming, "Incoming connection"),
        ("H", facts.source == "dht", "Peer from DHT"),
        ("X", facts.source == "pex", "Peer from PEX"),
        ("L", facts.source == "lsd", "Peer from LSD"),
        ("E", facts.encryption == "rc4", "Encrypted traffic"),
        ("e", facts.encryption == "plaintext", "Encrypted handshake"),
        ("P", facts.transport == "utp", "\u03bcTP"),
    )
    return {letter: meaning for letter, is_set, meaning in letters if is_set}
