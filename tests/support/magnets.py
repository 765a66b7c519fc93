"""Links instead of .torrents, for every program of the tests."""

from pathlib import Path
from urllib.parse import quote

from tests.support.aria2_client import Aria2Client
from tests.support.libtorrent_client import LibtorrentClient
from tests.support.payload import Payload
from tests.support.processes import wait_until
from tests.support.transmission_client import TransmissionClient


def link_of(payload: Payload, *trackers: str) -> str:
    """Return a link that names nothing but the info-hash, and trackers."""
    words = (f"&tr={quote(url, safe='')}" for url in trackers)
    return f"magnet:?xt=urn:btih:{payload.info_hash.hex()}{''.join(words)}"


def add_link(
    client: LibtorrentClient | TransmissionClient | Aria2Client,
    payload: Payload,
    link: str,
    save_dir: Path,
) -> None:
    """Start a torrent of which a program knows a link only; returns when it has the metadata."""
    if isinstance(client, LibtorrentClient):
        client._ask(do="add", magnet=link, save_path=str(save_dir))
        _wait(lambda: client.status(payload)["downloaded_bytes"] > 0, "libtorrent")
    elif isinstance(client, TransmissionClient):
        answer = client._rpc("torrent-add", filename=link, **{"download-dir": str(save_dir)})
        assert answer["result"] == "success", answer
        _wait(lambda: client._field(payload, "metadataPercentComplete") == 1, "transmission")
    else:
        first = client._rpc("addUri", [link], {"dir": str(save_dir)})
        _wait(lambda: client._rpc("tellStatus", first, ["followedBy"]), "aria2")
        (following,) = client._rpc("tellStatus", first, ["followedBy"])["followedBy"]
        client._gids[payload.info_hash] = following


def _wait(has_metadata: object, label: str) -> None:
    assert callable(has_metadata)
    wait_until(lambda: bool(has_metadata()), timeout_s=30, what=f"{label} has the metadata")
