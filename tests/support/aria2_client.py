"""Drives aria2c over its JSON-RPC interface."""

import base64
import http.client
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.netns import Host
from tests.support.payload import Payload
from tests.support.processes import Program, free_port, require_program, wait_until


class Aria2Client(Program):
    """An aria2c that waits for torrents and seeds what it has.

    It speaks to UDP trackers only with its DHT on, so ``udp_trackers`` starts a DHT that knows
    nobody.
    """

    label = "aria2"

    def __init__(
        self,
        host: Host,
        folder: Path,
        *,
        port: int,
        address: str | None = None,
        udp_trackers: bool = False,
        dht_node: tuple[str, int] | None = None,
        extra: Sequence[str] = (),
    ) -> None:
        """Start it; ``dht_node`` is where its DHT begins, ``extra`` are more options."""
        program = require_program("aria2c", "aria2")
        folder.mkdir(parents=True, exist_ok=True)
        self.host = host
        self.rpc_port = free_port()
        self.address = (address or host.address(), port)
        self._gids: dict[bytes, str] = {}
        super().__init__(
            [
                program,
                *self._options(folder, port),
                f"--enable-dht={_word(udp_trackers or dht_node is not None)}",
                *(["--dht-entry-point={}:{}".format(*dht_node)] if dht_node else []),
                *extra,
            ],
            host=host,
            log=folder / "aria2.log",
            env={"HOME": str(folder)},
        )
        wait_until(self._answers, timeout_s=60, what="aria2's RPC")

    def _options(self, folder: Path, port: int) -> list[str]:
        return [
            "--no-conf=true",
            "--enable-rpc=true",
            f"--rpc-listen-port={self.rpc_port}",
            f"--listen-port={port}",
            f"--dht-listen-port={port}",
            f"--dht-file-path={folder / 'dht.dat'}",
            f"--interface={self.address[0]}",
            "--enable-dht6=false",
            "--bt-enable-lpd=false",
            "--enable-peer-exchange=false",
            "--bt-require-crypto=false",
            "--seed-ratio=0.0",
            "--file-allocation=none",
            "--check-integrity=true",
            "--bt-hash-check-seed=true",
            "--allow-overwrite=true",
            "--console-log-level=notice",
            "--summary-interval=0",
            f"--dir={folder}",
        ]

    def add(self, payload: Payload, save_dir: Path) -> None:
        """Start a torrent; data that is there is checked first."""
        torrent = base64.b64encode(payload.torrent.read_bytes()).decode()
        self._gids[payload.info_hash] = self._rpc("addTorrent", torrent, [], {"dir": str(save_dir)})

    def progress(self, payload: Payload) -> float:
        """Return the verified share, 0 to 1."""
        status = self._status(payload)
        return int(status["completedLength"]) / max(1, int(status["totalLength"]))

    def uploaded_bytes(self, payload: Payload) -> int:
        """Return the payload sent."""
        return int(self._status(payload)["uploadLength"])

    def peers(self, payload: Payload) -> list[dict[str, str]]:
        """Return the lines of its peer list of a torrent."""
        return list(self._rpc("getPeers", self._gids[payload.info_hash]))

    def wait_complete(self, payload: Payload, timeout_s: float = 30.0) -> None:
        """Wait until a torrent has all its pieces."""
        wait_until(
            lambda: self._status(payload).get("seeder") == "true",
            timeout_s=timeout_s,
            what=f"aria2 has {payload.name}",
        )

    def _status(self, payload: Payload) -> dict[str, str]:
        keys = ["completedLength", "totalLength", "uploadLength", "seeder", "status"]
        status: dict[str, str] = self._rpc("tellStatus", self._gids[payload.info_hash], keys)
        return status

    def _answers(self) -> bool:
        assert self.alive, self.output()[-2000:]
        try:
            self._rpc("getVersion")
        except OSError:
            return False
        return True

    def _rpc(self, method: str, *parameters: Any) -> Any:
        request = {"jsonrpc": "2.0", "id": "1", "method": f"aria2.{method}", "params": parameters}
        answer = self.host.call(lambda: self._post(json.dumps(request).encode()))
        assert "result" in answer, answer
        return answer["result"]

    def _post(self, body: bytes) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.rpc_port, timeout=60)
        try:
            connection.request("POST", "/jsonrpc", body, {"Content-Type": "application/json"})
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


def _word(value: bool) -> str:
    return "true" if value else "false"
