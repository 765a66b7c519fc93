"""Drives qbittorrent-nox over its web interface."""

import http.client
import json
import secrets
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.netns import Host
from tests.support.payload import Payload
from tests.support.processes import Program, free_port, require_program, wait_until

PREFERENCES = {
    "dht": False,
    "pex": False,
    "lsd": False,
    "upnp": False,
    "encryption": 0,  # 0: allowed, 1: required, 2: never
    "bittorrent_protocol": 1,  # 0: TCP and uTP, 1: TCP, 2: uTP
    "queueing_enabled": False,
    "preallocate_all": False,
    "limit_lan_peers": False,
    "enable_multi_connections_from_same_ip": True,
}
CONFIG = """[LegalNotice]
Accepted=true

[Preferences]
WebUI\\Address=127.0.0.1
WebUI\\Port={port}
WebUI\\LocalHostAuth=false
WebUI\\CSRFProtection=false
WebUI\\HostHeaderValidation=false

[BitTorrent]
Session\\Port={peer_port}
"""
COMPLETE = {"uploading", "stalledUP", "forcedUP", "queuedUP"}


class QBittorrentClient(Program):
    """A qbittorrent-nox with a profile of its own."""

    label = "qbittorrent"

    def __init__(
        self,
        host: Host,
        folder: Path,
        *,
        port: int,
        changes: Mapping[str, Any] | None = None,
    ) -> None:
        """Start it; ``changes`` are preferences that shall differ from those above."""
        program = require_program("qbittorrent-nox", "qbittorrent-nox")
        self.host = host
        self.address = (host.address(), port)
        self._web_port = free_port()
        settings = folder / "qBittorrent" / "config" / "qBittorrent.conf"
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(CONFIG.format(port=self._web_port, peer_port=port))
        super().__init__(
            [program, f"--profile={folder}"],
            host=host,
            log=folder / "qbittorrent.log",
            env={"HOME": str(folder)},
        )
        wait_until(self._answers, timeout_s=60, what="qBittorrent's web interface")
        self.prefer({**PREFERENCES, "listen_port": port, **(changes or {})})

    def version(self) -> str:
        """Return its version."""
        return self.call("GET", "app/version").removeprefix("v")

    def prefer(self, changes: Mapping[str, Any]) -> None:
        """Change preferences, all at once."""
        self.call("POST", "app/setPreferences", json=json.dumps(changes))

    def add(
        self,
        what: Payload | str,
        save_dir: Path,
        *,
        peers: Sequence[tuple[str, int]] = (),
        **extra: str,
    ) -> None:
        """Start a torrent or a magnet link; data that is there is checked first."""
        save_dir.mkdir(parents=True, exist_ok=True)
        if isinstance(what, str):
            self.call("POST", "torrents/add", urls=what, savepath=str(save_dir), **extra)
        else:
            self._upload(what.torrent, savepath=str(save_dir), **extra)
        if peers and not isinstance(what, str):
            self.connect(what, peers)

    def connect(self, payload: Payload, peers: Sequence[tuple[str, int]]) -> None:
        """Have it dial peers."""
        wait_until(lambda: bool(self.info(payload)), timeout_s=60, what="qBittorrent knows it")
        shown = "|".join(f"{host}:{port}" for host, port in peers)
        self.call("POST", "torrents/addPeers", hashes=self.info(payload)["hash"], peers=shown)

    def info(self, payload: Payload) -> Mapping[str, Any]:
        """Return what it says of a torrent; empty if it has none of this hash.

        It names a hybrid torrent by its other hash.
        """
        for each in json.loads(self.call("GET", "torrents/info")):
            if each["infohash_v1"] == payload.info_hash.hex():
                return dict(each)
        return {}

    def peers(self, payload: Payload) -> Mapping[str, Any]:
        """Return its peer list of a torrent, by address."""
        query = f"sync/torrentPeers?hash={self.info(payload)['hash']}&rid=0"
        return dict(json.loads(self.call("GET", query)).get("peers", {}))

    def wait_complete(self, payload: Payload, timeout_s: float = 90.0) -> None:
        """Wait until a torrent has all its pieces."""
        wait_until(
            lambda: self.info(payload).get("state") in COMPLETE,
            timeout_s=timeout_s,
            what=f"qBittorrent has {payload.name}",
        )

    def call(self, method: str, path: str, **fields: str) -> str:
        """Return the text of one answer; OSError if it cannot be reached."""
        body = urllib.parse.urlencode(fields)
        headers = {"Content-Type": "application/x-www-form-urlencoded"} if fields else {}
        return self.host.call(lambda: self._request(method, path, body.encode(), headers))

    def _upload(self, torrent: Path, **fields: str) -> None:
        boundary = secrets.token_hex(12)
        about_field = 'Content-Disposition: form-data; name="{}"'
        parts = [
            f"--{boundary}\r\n{about_field.format(name)}\r\n\r\n{value}\r\n".encode()
            for name, value in fields.items()
        ]
        about = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="torrents"; '
            f'filename="{secrets.token_hex(4)}.torrent"\r\n'
            "Content-Type: application/x-bittorrent\r\n\r\n"
        )
        body = b"".join(
            [*parts, about.encode(), torrent.read_bytes(), b"\r\n", f"--{boundary}--\r\n".encode()]
        )
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        answer = self.host.call(lambda: self._request("POST", "torrents/add", body, headers))
        assert answer == "Ok.", answer

    def _answers(self) -> bool:
        assert self.alive, self.output()[-2000:]
        try:
            self.version()
        except OSError:
            return False
        return True

    def _request(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self._web_port, timeout=60)
        try:
            connection.request(method, f"/api/v2/{path}", body, dict(headers))
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        assert response.status < 300, (response.status, path, text)
        return text
