"""The daemon as a process, as a user starts it."""

import http.client
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.netns import LOOPBACK
from tests.support.processes import Program, free_port, wait_until

START_LIMIT_S = 180.0


class DaemonProcess(Program):
    """A daemon on this machine only, with a state folder and a download folder of its own."""

    def __init__(
        self,
        folder: Path,
        *,
        settings: Sequence[str] = (),
        config: str = "",
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Start it below ``folder``; ``settings`` are KEY=VALUE, ``config`` is TOML."""
        self.folder = folder
        self.state = folder / "state"
        self.downloads = folder / "downloads"
        self.port = free_port()
        for each in (self.state, self.downloads):
            each.mkdir(parents=True, exist_ok=True)
        file = folder / "daemon.toml"
        text = f'[paths]\ndownload = "{self.downloads}"\n[network]\nport = {free_port()}\n'
        file.write_text(f"{text}{config}")
        options = [f"--set={each}" for each in ("network.loopback_only=true", *settings)]
        argv = [
            *(sys.executable, "-m", "torrent_engine", "daemon", "run"),
            *("--config", str(file), "--state-dir", str(self.state)),
            *("--listen", f"127.0.0.1:{self.port}", *options),
        ]
        own = {key: value for key, value in os.environ.items() if key != "JOURNAL_STREAM"}
        super().__init__(argv, host=LOOPBACK, log=folder / "daemon.log", env={**own, **(env or {})})

    def wait_ready(self) -> None:
        """Wait until it answers requests."""
        wait_until(self._is_ready, timeout_s=START_LIMIT_S, what="the daemon is ready")

    def _is_ready(self) -> bool:
        assert self.alive, self.output()[-4000:]
        try:
            return self.get("/healthz")[0] == 200
        except OSError:
            return False

    @property
    def token(self) -> str:
        """The secret that gives access to everything."""
        return (self.state / "daemon.token").read_text().strip()

    @property
    def socket(self) -> Path:
        """The unix socket."""
        return self.state / "daemon.sock"

    def get(self, path: str, **fields: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, header fields in small letters, and body."""
        return self.request("GET", path, b"", **fields)

    def request(
        self, method: str, path: str, body: bytes = b"", **fields: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request; names of fields are written with underscores."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        try:
            connection.request(method, path, body or None, headers)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, found, answer.read()
        finally:
            connection.close()

    def api(self, method: str, path: str, value: Any = None) -> Any:
        """Send JSON to the daemon's own interface; return the JSON of its answer."""
        body = b"" if value is None else json.dumps(value).encode()
        fields = {"Authorization": f"Bearer {self.token}", "Content_Type": "application/json"}
        status, _, data = self.request(method, path, body, **fields)
        assert status < 300, (status, data)
        return json.loads(data) if data else None
