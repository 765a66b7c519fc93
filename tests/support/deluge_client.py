"""Drives deluged over its RPC protocol, with the serialization of its own Python packages."""

import base64
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.netns import Host
from tests.support.payload import Payload
from tests.support.processes import Program, free_port, require_program, wait_until

SYSTEM_PYTHON = "/usr/bin/python3"  # has the packages of deluged
CALL = Path(__file__).with_name("deluge_call.py")
CONFIG = {
    "dht": False,
    "utpex": False,
    "lsd": False,
    "upnp": False,
    "natpmp": False,
    "new_release_check": False,
    "random_port": False,
    "random_outgoing_ports": True,
    "stop_seed_at_ratio": False,
    "pre_allocate_storage": False,
    "enc_in_policy": 1,  # 0: forced, 1: enabled, 2: disabled
    "enc_out_policy": 1,
    "enc_level": 2,
    "max_active_seeding": -1,
    "max_active_downloading": -1,
    "max_active_limit": -1,
}


QUIET = {"PYTHONWARNINGS": "ignore", "PYTHONDEVMODE": ""}
"""It is a program in Python, whose own warnings are no errors here."""


class DelugeClient(Program):
    """A deluged with a configuration of its own."""

    label = "deluge"

    def __init__(
        self, host: Host, folder: Path, *, port: int, changes: Mapping[str, Any] | None = None
    ) -> None:
        """Start it; ``changes`` are settings that shall differ from those above."""
        program = require_program("deluged", "deluged")
        folder.mkdir(parents=True, exist_ok=True)
        self.host = host
        self.address = (host.address(), port)
        self._rpc_port = free_port()
        settings = {
            **CONFIG,
            "daemon_port": self._rpc_port,
            "listen_ports": [port, port],
            "listen_random_port": None,
            "download_location": str(folder),
            **(changes or {}),
        }
        versions = json.dumps({"file": 1, "format": 1})
        (folder / "core.conf").write_text(versions + json.dumps(settings))
        (folder / "auth").write_text("test:test:10\n")
        super().__init__(
            [program, "-d", "-c", str(folder), "-L", "none"],
            host=host,
            log=folder / "deluged.log",
            env={"HOME": str(folder), "PYTHON_EGG_CACHE": str(folder), **QUIET},
        )
        wait_until(self._answers, timeout_s=30, what="deluged answers")

    def version(self) -> str:
        """Return its version."""
        return str(self.call("daemon.info"))

    def add(
        self,
        what: Payload | str,
        save_dir: Path,
        *,
        peers: Sequence[tuple[str, int]] = (),
        **options: Any,
    ) -> None:
        """Start a torrent or a magnet link; data that is there is checked first."""
        save_dir.mkdir(parents=True, exist_ok=True)
        choices = {"download_location": str(save_dir), **options}
        if isinstance(what, str):
            self.call("core.add_torrent_magnet", what, choices)
        else:
            torrent = base64.b64encode(what.torrent.read_bytes()).decode()
            self.call("core.add_torrent_file", what.torrent.name, torrent, choices)
            self.connect(what, peers)

    def connect(self, payload: Payload, peers: Sequence[tuple[str, int]]) -> None:
        """Have it dial peers."""
        for host, port in peers:
            self.call("core.connect_peer", payload.info_hash.hex(), host, port)

    def info(self, payload: Payload) -> Mapping[str, Any]:
        """Return what it says of a torrent, by its name: its hash may be the other one."""
        keys = ["name", "state", "progress", "peers", "total_done"]
        listed = self.call("core.get_torrents_status", {}, keys)
        return next((each for each in listed.values() if each["name"] == payload.name), {})

    def peers(self, payload: Payload) -> list[Mapping[str, Any]]:
        """Return the lines of its peer list of a torrent."""
        return list(self.info(payload)["peers"])

    def wait_complete(self, payload: Payload, timeout_s: float = 60.0) -> None:
        """Wait until a torrent has all its pieces."""
        wait_until(
            lambda: self.info(payload).get("state") == "Seeding",
            timeout_s=timeout_s,
            what=f"Deluge has {payload.name}",
        )

    def call(self, method: str, *arguments: Any) -> Any:
        """Return the answer to one call; AssertionError with its message if it refuses."""
        request = json.dumps([self._rpc_port, "test", "test", method, arguments])
        done = subprocess.run(
            self.host.command([SYSTEM_PYTHON, str(CALL)]),
            env={**os.environ, **QUIET},
            input=request.encode(),
            capture_output=True,
            check=False,
            timeout=30,
        )
        assert done.returncode == 0, done.stderr[-1000:]
        return json.loads(done.stdout)

    def _answers(self) -> bool:
        assert self.alive, self.output()[-2000:]
        try:
            self.version()
        except AssertionError:
            return False
        return True
