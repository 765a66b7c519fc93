"""A daemon and a seed as processes, and the daemon's torrents as its clients see them."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.libtorrent_client import LibtorrentClient
from tests.support.netns import LOOPBACK
from tests.support.own_daemon import OwnDaemon
from tests.support.payload import Payload
from tests.support.processes import free_port, wait_until

LIMIT_S = 180.0
SLOW = 150_000
"""Bytes per second of a seed that is far from done while something else happens."""


@contextmanager
def seeded(folder: Path, *payloads: Payload, bytes_per_s: int = 0) -> Iterator[LibtorrentClient]:
    """Run a seed of some torrents."""
    address = "127.0.0.1"
    with LibtorrentClient(LOOPBACK, folder / "seed", port=free_port(), address=address) as seed:
        for each in payloads:
            seed.add(each, each.source_dir, upload_limit=bytes_per_s)
            seed.wait_complete(each, LIMIT_S)
        yield seed


def add(
    daemon: OwnDaemon, payload: Payload, seed: LibtorrentClient | None = None, **options: Any
) -> str:
    """Add a torrent with a seed as its peer; return its hash."""
    source = {"torrent": base64.b64encode(payload.torrent.read_bytes()).decode()}
    host, port = ("", 0) if seed is None else seed.address
    peers = [] if seed is None else [{"host": host, "port": port}]
    body = {"source": source, "peers": peers, **options}
    daemon.ask("POST", "/api/v1/torrents", body)
    return payload.info_hash.hex()


def torrent(daemon: OwnDaemon, payload: Payload) -> dict[str, Any]:
    """Return a torrent as it is told."""
    return dict(daemon.ask("GET", f"/api/v1/torrents/{payload.info_hash.hex()}"))


def wait_for(daemon: OwnDaemon, payload: Payload, *statuses: str) -> None:
    """Wait until a torrent has one of some states."""
    wait_until(
        lambda: torrent(daemon, payload)["status"] in statuses,
        timeout_s=LIMIT_S,
        what=f"{payload.name} is {statuses}",
    )


def wait_for_bytes(daemon: OwnDaemon, payload: Payload, count: int = 1) -> int:
    """Wait until a part of a torrent is here; return how much."""
    wait_until(
        lambda: torrent(daemon, payload)["completed_bytes"] >= count,
        timeout_s=LIMIT_S,
        what=f"{count} bytes of {payload.name}",
    )
    return int(torrent(daemon, payload)["completed_bytes"])


def hashes(daemon: OwnDaemon) -> set[str]:
    """Return the torrents that there are."""
    return {each["hash"] for each in daemon.ask("GET", "/api/v1/torrents")["items"]}


def jobs(daemon: OwnDaemon, payload: Payload, kind: str = "download") -> list[dict[str, Any]]:
    """Return the jobs of a torrent, the newest first."""
    path = f"/api/v1/jobs?torrent={payload.info_hash.hex()}&kind={kind}"
    return list(daemon.ask("GET", path)["items"])
