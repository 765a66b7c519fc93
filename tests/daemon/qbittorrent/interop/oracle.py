"""Debian's qbittorrent-nox beside a daemon: the same torrents, asked the same questions."""

import base64
import json
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.support.daemon_process import DaemonProcess
from tests.support.payload import Payload, make_payload
from tests.support.processes import wait_until
from tests.support.qbittorrent_client import COMPLETE, QBittorrentClient

TRACKER = "http://127.0.0.1:9/announce"
"""Nothing listens there."""
CATEGORY = "films"
SLOW = 20_000
"""Bytes per second: what is sent slowly is sent for longer than the tests run."""
LIMIT_S = 180.0


class BothPrograms:
    """The daemon and qbittorrent-nox, with a torrent that both have and one that goes to theirs."""

    def __init__(self, folder: Path, daemon: DaemonProcess, oracle: QBittorrentClient) -> None:
        self.daemon, self.oracle, self.folder = daemon, oracle, folder
        files = {"one.txt": 40_000, "two.mkv": 50_000, "sub/three.txt": 9}
        made = make_payload(folder / "whole", "whole", files, piece_bytes=16 * 1024)
        self.whole = made.announced_to(TRACKER)
        self.large = make_payload(folder / "large", "large", {"large": 8_000_000})

    def ours(self, path: str, **fields: str) -> Any:
        """Return the JSON of the daemon's answer, or its text."""
        headers = {"Authorization": f"Bearer {self.daemon.token}"}
        if fields:
            headers["Content_Type"] = "application/x-www-form-urlencoded"
        method, body = "POST" if fields else "GET", urlencode(fields).encode()
        status, _, data = self.daemon.request(method, f"/api/v2/{path}", body, **headers)
        assert status == 200, (path, status, data)
        return _read(data.decode())

    def theirs(self, path: str, **fields: str) -> Any:
        """Return the JSON of the other program's answer, or its text."""
        return _read(self.oracle.call("POST" if fields else "GET", path, **fields))

    def fill(self) -> None:
        """Give both the torrents, and wait until they are as they shall be."""
        shutil.copytree(self.whole.source_dir, self.folder / "theirs")
        for payload in (self.whole, self.large):
            torrent = base64.b64encode(payload.torrent.read_bytes()).decode()
            body = {"source": {"torrent": torrent}, "save_path": str(self.daemon.downloads)}
            shutil.copytree(payload.source_dir, self.daemon.downloads, dirs_exist_ok=True)
            self.daemon.api("POST", "/api/v1/torrents", body)
        port = self.daemon.api("GET", "/api/v1/network")["listen_port"]
        self.oracle.add(self.whole, self.folder / "theirs")
        self.oracle.add(
            self.large,
            self.folder / "theirs large",
            peers=[("127.0.0.1", port)],
            dlLimit=str(SLOW),
        )
        for ask, other in ((self.ours, "qBittorrent"), (self.theirs, "torrent_engine")):
            ask("torrents/createCategory", category=CATEGORY, savePath="")
            ask("torrents/createTags", tags="one")
            wait_until(partial(self._is_whole, ask), timeout_s=LIMIT_S, what="it is complete")
            path = f"sync/torrentPeers?hash={self.large.info_hash.hex()}"
            wait_until(
                partial(_is_connected, ask, path, other),
                timeout_s=LIMIT_S,
                what="they are connected",
            )

    def _is_whole(self, ask: Any) -> bool:
        return bool(self.torrent(ask, self.whole)["state"] in COMPLETE)

    def torrent(self, ask: Any, payload: Payload) -> Mapping[str, Any]:
        """Return a torrent of one program's list."""
        (found,) = ask(f"torrents/info?hashes={payload.info_hash.hex()}")
        return dict(found)


def _is_connected(ask: Any, path: str, other: str) -> bool:
    """Return whether the one peer has said what program it is.

    Until that comes, with the extension handshake, libtorrent takes the name from the peer id.
    """
    peers = list(ask(path).get("peers", {}).values())
    return len(peers) == 1 and peers[0]["client"].startswith(other)


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def kind(value: Any) -> Any:
    """Return the JSON type of a value, with those of its parts; numbers are one type."""
    if isinstance(value, dict):
        return {name: kind(each) for name, each in value.items()}
    if isinstance(value, list):
        return [kind(value[0])] if value else []
    if value is None or isinstance(value, bool | str):
        return type(value).__name__
    return "number"


def wrong_types(theirs: Any, ours: Any, path: str = "") -> list[str]:
    """Return where both have a value, and not of the same type; empty lists fit any."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        shared = sorted(theirs.keys() & ours.keys())
        return [
            text
            for name in shared
            for text in wrong_types(theirs[name], ours[name], f"{path}/{name}")
        ]
    if isinstance(theirs, list) and isinstance(ours, list):
        return wrong_types(theirs[0], ours[0], f"{path}[]") if theirs and ours else []
    return [] if theirs == ours else [f"{path}: {ours} instead of {theirs}"]


def whole_doubles(value: Any, path: str = "") -> list[str]:
    """Return where an answer had a number such as -1.0, by what was read from its JSON."""
    if isinstance(value, dict):
        parts = [(f"{path}/{name}", each) for name, each in value.items()]
    elif isinstance(value, list):
        parts = [(f"{path}/{index}", each) for index, each in enumerate(value)]
    else:
        return [path] if isinstance(value, float) and value.is_integer() else []
    return [found for name, each in parts for found in whole_doubles(each, name)]


def fractions(theirs: Any, ours: Any) -> set[str]:
    """Return the names of numbers that are whole with them and not with us."""
    return {
        name
        for name in theirs.keys() & ours.keys()
        if type(theirs[name]) is int
        and isinstance(ours[name], float)
        and not ours[name].is_integer()
    }
