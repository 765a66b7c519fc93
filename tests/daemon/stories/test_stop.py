"""The end of a daemon that is busy with everything: event streams, players, the deaf, a hook."""

import shutil
import signal
import socket
from contextlib import ExitStack, closing
from pathlib import Path

from tests.daemon.stories import scene
from tests.daemon.stories.events import EventStream
from tests.support.own_daemon import OwnDaemon
from tests.support.payload import make_payload
from tests.support.processes import wait_until

EVENT_STREAMS = 7
"""And one that reads nothing."""
PLAYERS = 4
FILE_BYTES = 12_000_000


def configuration(folder: Path) -> Path:
    """Write a hook that does not end, and settings that use it."""
    program, path = folder / "hook", folder / "daemon.toml"
    program.write_text(f'#!/bin/sh\necho $$ > "{folder}/hook.pid"\nexec sleep 600\n')
    program.chmod(0o755)
    path.write_text(f'[[hook]]\nevent = "torrent_added"\ncommand = ["{program}"]\n')
    return path


def is_running(pid: int) -> bool:
    """Say if a process is there and no zombie."""
    try:
        return "(sleep) Z" not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def test_busy_daemon_ends_in_order(tmp_path: Path) -> None:
    payload = make_payload(tmp_path, "film.mkv", {"film.mkv": FILE_BYTES}, piece_bytes=256 * 1024)
    shutil.copytree(payload.source_dir, tmp_path / "d")
    daemon = OwnDaemon(tmp_path, options=["--config", str(configuration(tmp_path))])
    with daemon, ExitStack() as stack:
        info_hash = scene.add(daemon, payload)
        scene.wait_for(daemon, payload, "seeding")
        hook = tmp_path / "hook.pid"
        wait_until(
            lambda: hook.exists() and hook.read_text().endswith("\n"),
            timeout_s=scene.LIMIT_S,
            what="the hook runs",
        )
        streams = [stack.enter_context(EventStream(daemon)) for _ in range(EVENT_STREAMS)]
        for each in streams:
            each.until("sync")
        stack.enter_context(closing(deaf_client(daemon, "/api/v1/events")))
        for _ in range(PLAYERS):
            player = deaf_client(daemon, f"/stream/{info_hash}/0/film.mkv")
            stack.enter_context(closing(player))
            assert player.recv(12) == b"HTTP/1.1 200"
        half = socket.create_connection(("127.0.0.1", daemon.port))
        stack.enter_context(closing(half))
        half.sendall(b"GET /api/v1 HTTP/1.1\r\nHost: local")
        daemon.signal(signal.SIGTERM)
        for each in streams:
            assert each.until("bye").data == {}
        assert daemon.wait() == 0
        if Path("/proc/self").is_dir():
            assert not is_running(int(hook.read_text()))


def deaf_client(daemon: OwnDaemon, path: str) -> socket.socket:
    """Send a request, and read nothing of a long answer."""
    client = socket.create_connection(("127.0.0.1", daemon.port), timeout=scene.LIMIT_S)
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {daemon.token}\r\n\r\n"
    client.sendall(head.encode())
    return client
