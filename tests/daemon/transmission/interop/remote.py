"""A daemon that Transmission's remotes talk to, and the plainest of these remotes."""

import base64
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.support.daemon_process import DaemonProcess
from tests.support.processes import require_program, wait_until
from tests.support.torrents import make_torrent, write_files
from torrent_engine.codec.metainfo import Metainfo

SESSION_FIELD = "X-Transmission-Session-Id"
FILES = {"one.txt": b"1" * 40_000, "two.mkv": b"2" * 50_000, "sub/three.txt": b"3" * 9}
TRACKER = "http://127.0.0.1:9/announce"
"""Nothing listens there."""


class RemoteDaemon(DaemonProcess):
    """A daemon, asked in the older dialect."""

    session_id = ""

    def post(self, value: Any) -> Any:
        """Send JSON with the session id, which is asked for if need be.

        Some settings open the engine anew; until it is open requests are refused.
        """
        body = json.dumps(value).encode()
        for _ in range(5):
            status, fields, data = self.request("POST", "/transmission/rpc", body, **self._fields())
            if status == 409:
                self.session_id = fields[SESSION_FIELD.lower()]
            elif status == 503:
                self.wait_ready()
            else:
                break
        assert status == 200, (status, data)
        return json.loads(data)

    def _fields(self) -> dict[str, str]:
        secret = base64.b64encode(f"torrent:{self.token}".encode()).decode()
        own = {"Authorization": f"Basic {secret}"}
        return {**own, SESSION_FIELD: self.session_id} if self.session_id else own

    def ask(self, method: str, **arguments: Any) -> Any:
        """Return the arguments of a successful answer."""
        plain = {name.replace("_", "-"): value for name, value in arguments.items()}
        answer = self.post({"method": method, "arguments": plain})
        assert answer["result"] == "success", answer
        return answer["arguments"]

    def field(self, name: str, torrent: int | str | None = None) -> Any:
        """Return a field of a torrent, by default of the only one."""
        ids = {} if torrent is None else {"ids": [torrent]}
        return self.ask("torrent-get", fields=[name], **ids)["torrents"][0][name]

    def session(self, name: str) -> Any:
        return self.ask("session-get", fields=[name])[name]

    def add(self, name: str = "payload", *, paused: bool = False) -> Metainfo:
        """Add a torrent whose files are there, and wait until they are checked."""
        metainfo, payload = make_torrent(FILES, name=name, tiers=[[TRACKER]])
        write_files(metainfo, payload, self.downloads)
        encoded = base64.b64encode(metainfo.to_bytes()).decode()
        self.ask("torrent-add", metainfo=encoded, paused=paused)
        key = metainfo.info_hash.hex()
        if paused:
            self.ask("torrent-verify", ids=[key])
        self.wait_field("percentDone", 1, key)
        self.wait_field("status", 0 if paused else 6, key)
        return metainfo

    def wait_field(self, name: str, value: object, torrent: int | str | None = None) -> None:
        """Wait until a field has a value."""
        wait_until(
            lambda: bool(self.field(name, torrent) == value),
            timeout_s=30,
            what=f"{name} is {value!r}; it is {self.field(name, torrent)!r}",
        )


def run_remote(
    daemon: DaemonProcess, *options: str, auth: bool = True, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run transmission-remote with some options."""
    program = require_program("transmission-remote", "transmission-cli")
    secret = ["--auth", f"torrent:{daemon.token}"] if auth else []
    return subprocess.run(
        [program, f"127.0.0.1:{daemon.port}", *secret, *options],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "LC_ALL": "C.UTF-8", "HOME": str(daemon.folder), **env},
        check=False,
    )


def remote(daemon: DaemonProcess, *options: str) -> str:
    """Return what transmission-remote prints; it must succeed."""
    done = run_remote(daemon, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def torrent_file(folder: Path, metainfo: Metainfo) -> Path:
    path = folder / f"{metainfo.info_hash.hex()}.torrent"
    path.write_bytes(metainfo.to_bytes())
    return path
