"""Drives transmission-daemon over its RPC interface.

It refuses 127/8 as the address of a peer, so it runs in a network namespace, and it says that it
is interested only every ten seconds.
"""

import base64
import http.client
import json
import secrets
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import bencodepy

from tests.support.netns import Host
from tests.support.payload import Payload
from tests.support.processes import Program, free_port, missing, require_program, wait_until

SETTINGS = {
    "blocklist-enabled": False,
    "dht-enabled": False,
    "encryption": 1,  # preferred, as users have it
    "lpd-enabled": False,
    "pex-enabled": False,
    "port-forwarding-enabled": False,
    "preallocation": 0,
    "peer-socket-tos": "default",
    "ratio-limit-enabled": False,
    "rpc-authentication-required": False,
    "rpc-bind-address": "127.0.0.1",
    "rpc-host-whitelist-enabled": False,
    "rpc-whitelist-enabled": False,
    "start-added-torrents": True,
    "trash-original-torrent-files": False,
    "utp-enabled": False,
    "watch-dir-enabled": False,
}
STATUS_SEEDING = 6


class TransmissionClient(Program):
    """A transmission-daemon with a configuration of its own."""

    label = "transmission"

    def __init__(
        self,
        host: Host,
        folder: Path,
        *,
        port: int,
        address: str | None = None,
        dht_nodes: Sequence[tuple[str, int]] = (),
        changes: Mapping[str, Any] | None = None,
    ) -> None:
        """Start it; its DHT remembers these nodes, and wants nine before it is used.

        ``changes`` are settings that shall differ from those above.
        """
        program = require_program("transmission-daemon", "transmission-daemon")
        if host.namespace is None:
            missing("Transmission needs network namespaces: root, and Debian package iproute2")
        folder.mkdir(parents=True, exist_ok=True)
        self.host = host
        self.rpc_port = free_port()
        self.address = (address or host.address(), port)
        self._session_id = ""
        settings = {
            **SETTINGS,
            "dht-enabled": bool(dht_nodes),
            "bind-address-ipv4": self.address[0],
            "download-dir": str(folder),
            "peer-port": port,
            "rpc-port": self.rpc_port,
            **(changes or {}),
        }
        (folder / "settings.json").write_text(json.dumps(settings))
        if dht_nodes:
            saved = {b"id": secrets.token_bytes(20), b"nodes": _compact(dht_nodes)}
            (folder / "dht.dat").write_bytes(bencodepy.encode(saved))
        super().__init__(
            [program, "--foreground", "--config-dir", str(folder), "--log-info"],
            host=host,
            log=folder / "transmission.log",
            env={"TR_CURL_VERBOSE": "", "HOME": str(folder)},
        )
        wait_until(self._answers, timeout_s=60, what="transmission's RPC")

    def add(self, payload: Payload, save_dir: Path) -> None:
        """Start a torrent; data that is there is checked first."""
        answer = self._rpc(
            "torrent-add",
            metainfo=base64.b64encode(payload.torrent.read_bytes()).decode(),
            **{"download-dir": str(save_dir)},
        )
        assert answer["result"] == "success", answer
        self._rpc("torrent-verify", ids=[payload.info_hash.hex()])

    def progress(self, payload: Payload) -> float:
        """Return the share that it has, 0 to 1."""
        return float(self._field(payload, "percentDone"))

    def is_seeding(self, payload: Payload) -> bool:
        """Say if it is complete, checked and on offer."""
        return bool(self._field(payload, "status") == STATUS_SEEDING)

    def uploaded_bytes(self, payload: Payload) -> int:
        """Return the payload sent."""
        return int(self._field(payload, "uploadedEver"))

    def peers(self, payload: Payload) -> list[dict[str, Any]]:
        """Return the lines of its peer list of a torrent."""
        return list(self._field(payload, "peers"))

    def wait_complete(self, payload: Payload, timeout_s: float = 40.0) -> None:
        """Wait until a torrent has all its pieces."""
        wait_until(
            lambda: self.is_seeding(payload),
            timeout_s=timeout_s,
            what=f"transmission has {payload.name}",
        )

    def _field(self, payload: Payload, name: str) -> Any:
        answer = self._rpc("torrent-get", ids=[payload.info_hash.hex()], fields=[name])
        return answer["arguments"]["torrents"][0][name]

    def _answers(self) -> bool:
        assert self.alive, self.output()[-2000:]
        try:
            self._rpc("session-get")
        except OSError:
            return False
        return True

    def _rpc(self, method: str, **arguments: Any) -> dict[str, Any]:
        body = json.dumps({"method": method, "arguments": arguments}).encode()
        answer: dict[str, Any] = self.host.call(lambda: self._post(body))
        return answer

    def _post(self, body: bytes) -> Any:
        for _ in range(2):
            connection = http.client.HTTPConnection("127.0.0.1", self.rpc_port, timeout=60)
            try:
                headers = {"X-Transmission-Session-Id": self._session_id}
                connection.request("POST", "/transmission/rpc", body, headers)
                response = connection.getresponse()
                text = response.read()
            finally:
                connection.close()
            if response.status != http.client.CONFLICT:
                return json.loads(text)
            self._session_id = response.headers["X-Transmission-Session-Id"]
        raise AssertionError("transmission refuses its own session id")


def _compact(nodes: Sequence[tuple[str, int]]) -> bytes:
    return b"".join(socket.inet_aton(host) + port.to_bytes(2, "big") for host, port in nodes)
