"""The connected peers of a torrent, as its fields ``peers`` and ``peers_from``."""

import base64
from collections import Counter
from collections.abc import Sequence
from typing import Final

from torrent_engine.daemon.engine_port.facts import PeerFacts
from torrent_engine.daemon.transmission.dialect import Dialect
from torrent_engine.daemon.transmission.names import TORRENT

PEER_ID_BYTES: Final = 20
_SOURCES: Final = {
    "from_cache": "resume",
    "from_dht": "dht",
    "from_incoming": "incoming",
    "from_lpd": "lsd",
    "from_ltep": "manual",
    "from_pex": "pex",
    "from_tracker": "tracker",
}


def peers_from(peers: Sequence[PeerFacts], dialect: Dialect) -> dict[str, int]:
    """Return how many peers are connected by what named them."""
    counts = Counter(facts.source for facts in peers)
    return {
        TORRENT[name] if dialect is Dialect.LEGACY else name: counts[source]
        for name, source in _SOURCES.items()
    }


def peer_object(facts: PeerFacts, dialect: Dialect) -> dict[str, object]:
    """Return an element of ``peers``; "client" in its names is this program."""
    values: dict[str, object] = {
        "address": facts.host,
        "bytes_to_client": facts.downloaded_bytes,
        "bytes_to_peer": facts.uploaded_bytes,
        "client_is_choked": facts.peer_choking,
        "client_is_interested": facts.am_interested,
        "client_name": facts.client,
        "flag_str": flags_of(facts),
        "is_downloading_from": _is_downloading(facts),
        "is_encrypted": facts.encryption != "none",
        "is_incoming": facts.is_incoming,
        "is_uploading_to": _is_uploading(facts),
        "is_utp": facts.transport == "utp",
        "peer_id": base64.b64encode(facts.peer_id).decode() if facts.peer_id else "",
        "peer_is_choked": facts.am_choking,
        "peer_is_interested": facts.peer_interested,
        "port": facts.port,
        "progress": float(facts.progress),
        "rate_to_client": round(facts.download_bytes_per_s),
        "rate_to_peer": round(facts.upload_bytes_per_s),
    }
    if dialect is Dialect.JSON_RPC:
        return values
    return {TORRENT[name]: value for name, value in values.items()}


def _is_downloading(facts: PeerFacts) -> bool:
    return facts.download_bytes_per_s >= 1 and not facts.peer_choking


def _is_uploading(facts: PeerFacts) -> bool:
    return facts.upload_bytes_per_s >= 1 and not facts.am_choking


def flags_of(facts: PeerFacts) -> str:
    """Return the letters of ``flag_str``, in the order in which they are told."""
    letters = (
        ("T", facts.transport == "utp"),
        ("O", facts.is_optimistic),
        ("D", _is_downloading(facts)),
        ("d", not _is_downloading(facts) and facts.am_interested),
        ("U", _is_uploading(facts)),
        ("u", not _is_uploading(facts) and facts.peer_interested),
        ("K", not facts.peer_choking and not facts.am_interested),
        ("?", not facts.am_choking and not facts.peer_interested),
        ("E", facts.encryption != "none"),
        ("H", facts.source == "dht"),
        ("X", facts.source == "pex"),
        ("I", facts.is_incoming),
    )
    return "".join(letter for letter, is_set in letters if is_set)
