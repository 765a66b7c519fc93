"""Daemons as measured processes: ours, transmission-daemon, qbittorrent-nox, and HTTP to them.

Each is started with a folder of its own, without DHT, LSD, port mapping or a router, on 127.0.0.1.
"""

import hashlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import bencodepy

from bench.harness import TICKS_PER_S, free_port
from tests.support.processes import require_program

PIECE_BYTES = 16 * 1024
CONTENT_BYTES = 1024
NAMED = "A torrent with a name of usual length {}"
START_S = 300.0
ASK_S = 300.0
BATCH = 50
UNKNOWN_ID = 409
"""Transmission's answer to a request without its session id."""
TRANSMISSION = {
    "dht-enabled": False,
    "lpd-enabled": False,
    "utp-enabled": False,
    "pex-enabled": False,
    "port-forwarding-enabled": False,
    "rpc-bind-address": "127.0.0.1",
    "rpc-whitelist-enabled": False,
    "rpc-host-whitelist-enabled": False,
    "rpc-authentication-required": False,
    "bind-address-ipv4": "127.0.0.1",
    "message-level": 1,
}
QBITTORRENT = """[LegalNotice]
Accepted=true

[Preferences]
WebUI\\Address=127.0.0.1
WebUI\\Port={port}
WebUI\\LocalHostAuth=false
WebUI\\CSRFProtection=false
WebUI\\HostHeaderValidation=false

[BitTorrent]
Session\\Port={peer_port}
Session\\DHTEnabled=false
Session\\LSDEnabled=false
Session\\PeXEnabled=false
Session\\QueueingSystemEnabled=false
"""


def write_torrents(folder: Path, count: int) -> list[Path]:
    """Write small one-file torrents with their contents below ``data``; return the .torrents."""
    data, generator, paths = folder / "data", random.Random(count), []
    data.mkdir(parents=True)
    for number in range(count):
        name, content = NAMED.format(number), generator.randbytes(CONTENT_BYTES)
        (data / name).write_bytes(content)
        info = {
            b"name": name.encode(),
            b"piece length": PIECE_BYTES,
            b"pieces": hashlib.sha1(content).digest(),
            b"length": CONTENT_BYTES,
        }
        paths.append(folder / f"{number}.torrent")
        paths[-1].write_bytes(bencodepy.encode({b"info": info}))
    return paths


class Web:
    """One connection to a daemon that stays open between requests."""

    def __init__(self, port: int, fields: Mapping[str, str]) -> None:
        self.fields = dict(fields)
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ASK_S)

    def ask(
        self, method: str, path: str, body: bytes | None = None, kind: str = "application/json"
    ) -> bytes:
        """Return the body of an answer; RuntimeError if it is an error."""
        for _ in range(2):
            fields = dict(self.fields) if body is None else {**self.fields, "Content-Type": kind}
            answer = self._send(method, path, body, fields)
            data = answer.read()
            if (cookie := answer.headers["Set-Cookie"]) is not None:
                self.fields["Cookie"] = cookie.partition(";")[0]
            if answer.status != UNKNOWN_ID or "X-Transmission-Session-Id" not in answer.headers:
                break
            self.fields["X-Transmission-Session-Id"] = answer.headers["X-Transmission-Session-Id"]
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {data[:500]!r}")
        return data

    def stream(self, method: str, path: str) -> http.client.HTTPResponse:
        """Return an answer whose body is read by the caller."""
        return self._send(method, path, None, self.fields)

    def _send(
        self, method: str, path: str, body: bytes | None, fields: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        try:
            self._connection.request(method, path, body, fields)
            return self._connection.getresponse()
        except (http.client.RemoteDisconnected, BrokenPipeError):
            self._connection.close()  # it was open for too long
            self._connection.request(method, path, body, fields)
            return self._connection.getresponse()

    def close(self) -> None:
        self._connection.close()


class Daemon:
    """A daemon that is started, measured and stopped; its torrents stay between two starts."""

    label: str

    def __init__(self, folder: Path, nice: int = 0) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.port = free_port()
        self._nice = nice
        self._process: subprocess.Popen | None = None
        self._web: Web | None = None

    def argv(self) -> list[str]:
        """Return the command that runs it in the foreground."""
        raise NotImplementedError

    def is_ready(self, web: Web) -> bool:
        """Return whether it answers, torrents and all; OSError if nobody listens."""
        raise NotImplementedError

    def fields(self) -> dict[str, str]:
        """Return the fields with which requests are let in."""
        return {}

    def add(self, torrents: Sequence[Path], save_path: Path, *, paused: bool = False) -> None:
        """Add torrents whose contents are there."""
        raise NotImplementedError

    def keep(self, torrents: Sequence[Path], save_path: Path) -> None:
        """Give it torrents that are paused, before it is started."""
        with self:
            self.add(torrents, save_path, paused=True)

    def seeding(self) -> int:
        """Return how many torrents are complete and started."""
        raise NotImplementedError

    def start(self) -> float:
        """Start the process; return the seconds until it answers."""
        log = (self.folder / "log").open("ab")
        begun = time.perf_counter()
        self._process = subprocess.Popen(
            ["nice", "-n", str(self._nice), *self.argv()],
            stdout=log,
            stderr=log,
            env={
                **os.environ,
                "HOME": str(self.folder),
                "XDG_CONFIG_HOME": str(self.folder / "config"),
            },
        )
        log.close()
        while not self._answers():
            if self._process.poll() is not None or time.perf_counter() - begun > START_S:
                raise RuntimeError(f"{self.label}: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.005)
        return time.perf_counter() - begun

    def _answers(self) -> bool:
        web = Web(self.port, {})
        try:
            return self.is_ready(web)
        except OSError:
            return False
        finally:
            web.close()

    @property
    def process(self) -> subprocess.Popen:
        assert self._process is not None, "not started"
        return self._process

    def connect(self) -> Web:
        """Return a new connection to it."""
        return Web(self.port, self.fields())

    @property
    def web(self) -> Web:
        """A connection that all requests here share."""
        if self._web is None:
            self._web = self.connect()
        return self._web

    def cpu_s(self) -> float:
        """Return the CPU seconds of all its threads so far."""
        text = Path(f"/proc/{self.process.pid}/stat").read_text()
        fields = text.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    def memory_mib(self) -> float:
        """Return its proportional set size: what it shares counts in part."""
        for line in Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def drop_connection(self) -> None:
        """Close the connection that all requests here share."""
        if self._web is not None:
            self._web.close()
            self._web = None

    def stop(self) -> float:
        """Ask it to end; return the seconds until it has."""
        self.drop_connection()
        begun = time.perf_counter()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(120)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        return time.perf_counter() - begun

    def __enter__(self) -> "Daemon":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.stop()

    def wait_seeding(self, count: int) -> float:
        """Wait until that many torrents are complete; return the seconds."""
        begun = time.perf_counter()
        while self.seeding() < count:
            if time.perf_counter() - begun > START_S:
                raise RuntimeError(f"{self.label}: {self.seeding()} of {count} are seeding")
            time.sleep(0.2)
        return time.perf_counter() - begun


class OurDaemon(Daemon):
    """``torrent-engine daemon`` with all its interfaces."""

    label = "ours"

    def argv(self) -> list[str]:
        settings = (
            f"paths.download={self.folder}/d",
            f"paths.allowed={self.folder.parent}",
            "paths.min_free_mib=0",
            "network.loopback_only=true",
            "network.port=0",
            "qbittorrent.enabled=true",
            "queue.checks=0",
        )
        return [
            *(sys.executable, "-m", "torrent_engine", "daemon", "run"),
            f"--state-dir={self.folder}/state",
            f"--listen=127.0.0.1:{self.port}",
            *(f"--set={each}" for each in settings),
        ]

    def is_ready(self, web: Web) -> bool:
        try:
            web.ask("GET", "/healthz")
        except RuntimeError:
            return False
        token = (self.folder / "state" / "daemon.token").read_text().strip()
        checked = Web(self.port, {"Authorization": f"Bearer {token}"})
        try:
            checked.ask("GET", "/api/v1")
        except RuntimeError:
            return False  # 503 while torrents are restored
        finally:
            checked.close()
        return True

    def fields(self) -> dict[str, str]:
        token = (self.folder / "state" / "daemon.token").read_text().strip()
        return {"Authorization": f"Bearer {token}"}

    def add(self, torrents: Sequence[Path], save_path: Path, *, paused: bool = False) -> None:
        query = urllib.parse.urlencode({"save_path": str(save_path), "paused": json.dumps(paused)})
        for path in torrents:
            kind = "application/x-bittorrent"
            self.web.ask("POST", f"/api/v1/torrents?{query}", path.read_bytes(), kind)

    def seeding(self) -> int:
        answer = self.web.ask("GET", "/api/v1/torrents?status=seeding&limit=1&fields=hash")
        return int(json.loads(answer)["total"])


class TransmissionDaemon(Daemon):
    """Debian's transmission-daemon."""

    label = "transmission"

    def argv(self) -> list[str]:
        settings = {
            **TRANSMISSION,
            "rpc-port": self.port,
            "peer-port": free_port(),
            "download-dir": str(self.folder / "d"),
        }
        (self.folder / "settings.json").write_text(json.dumps(settings))
        program = require_program("transmission-daemon", "transmission-daemon")
        return [program, "--foreground", "--config-dir", str(self.folder)]

    def is_ready(self, web: Web) -> bool:
        web.ask("POST", "/transmission/rpc", rpc("session-stats"))
        return True

    def add(self, torrents: Sequence[Path], save_path: Path, *, paused: bool = False) -> None:
        for path in torrents:
            call = {"filename": str(path), "download-dir": str(save_path), "paused": paused}
            self.web.ask("POST", "/transmission/rpc", rpc("torrent-add", **call))

    def keep(self, torrents: Sequence[Path], save_path: Path) -> None:
        """Write what it has of torrents: those that it is given are checked, ten a second."""
        resume = {b"paused": 1, b"destination": os.fsencode(save_path), b"added-date": 1}
        progress = {b"blocks": b"all", b"mtimes": [int(time.time()) + 1]}
        for name in ("torrents", "resume"):
            (self.folder / name).mkdir()
        for path in torrents:
            data = path.read_bytes()
            info = bencodepy.decode(data)[b"info"]
            digest = hashlib.sha1(bencodepy.encode(info)).hexdigest()[:16]
            stem = f"{info[b'name'].decode()}.{digest}"
            (self.folder / "torrents" / f"{stem}.torrent").write_bytes(data)
            kept = bencodepy.encode({**resume, b"progress": progress})
            (self.folder / "resume" / f"{stem}.resume").write_bytes(kept)

    def seeding(self) -> int:
        answer = self.web.ask("POST", "/transmission/rpc", rpc("torrent-get", fields=["status"]))
        torrents = json.loads(answer)["arguments"]["torrents"]
        return sum(each["status"] == 6 for each in torrents)


class QBittorrentDaemon(Daemon):
    """Debian's qbittorrent-nox."""

    label = "qbittorrent"

    def argv(self) -> list[str]:
        path = self.folder / "qBittorrent" / "config" / "qBittorrent.conf"
        if not path.exists():
            path.parent.mkdir(parents=True)
            path.write_text(QBITTORRENT.format(port=self.port, peer_port=free_port()))
        program = require_program("qbittorrent-nox", "qbittorrent-nox")
        return [program, f"--profile={self.folder}"]

    def is_ready(self, web: Web) -> bool:
        web.ask("GET", "/api/v2/app/version")
        return True

    def add(self, torrents: Sequence[Path], save_path: Path, *, paused: bool = False) -> None:
        options = {
            "savepath": str(save_path),
            "skip_checking": "true",
            "root_folder": "false",
            "paused": json.dumps(paused),
        }
        for begin in range(0, len(torrents), BATCH):
            body, kind = form_of(torrents[begin : begin + BATCH], options)
            self.web.ask("POST", "/api/v2/torrents/add", body, kind)

    def seeding(self) -> int:
        answer = self.web.ask("GET", "/api/v2/torrents/info?filter=completed")
        return sum(each["state"] in {"uploading", "stalledUP"} for each in json.loads(answer))


def rpc(method: str, **arguments: Any) -> bytes:
    """Return a request of Transmission's RPC."""
    return json.dumps({"method": method, "arguments": arguments}).encode()


def form_of(torrents: Sequence[Path], fields: Mapping[str, str]) -> tuple[bytes, str]:
    """Return a multipart form with files and fields, and its content type."""
    mark, parts = "bench-boundary-0123456789", []
    for name, value in fields.items():
        head = f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
        parts.append(f"{head}{value}\r\n".encode())
    for path in torrents:
        about = f'form-data; name="torrents"; filename="{path.name}"'
        kind = "Content-Type: application/x-bittorrent"
        head = f"--{mark}\r\nContent-Disposition: {about}\r\n{kind}\r\n\r\n"
        parts += [head.encode(), path.read_bytes(), b"\r\n"]
    parts.append(f"--{mark}--\r\n".encode())
    return b"".join(parts), f"multipart/form-data; boundary={mark}"


PROGRAMS: Mapping[str, type[Daemon]] = {
    each.label: each for each in (OurDaemon, TransmissionDaemon, QBittorrentDaemon)
}
