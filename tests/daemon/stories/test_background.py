"""Downloads that go on whatever happens to who asked for them, and to the daemon."""

import base64
import json
import signal
import sys
from pathlib import Path

from tests.daemon.stories import scene
from tests.daemon.stories.events import EventStream, Mirror
from tests.support.libtorrent_client import LibtorrentClient
from tests.support.netns import LOOPBACK
from tests.support.own_daemon import OwnDaemon
from tests.support.payload import Payload, make_payload
from tests.support.processes import Program, wait_until

CLIENT = """
import json, sys, urllib.request
url, token, body = sys.argv[1:]
def ask(path, data=None):
    fields = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return urllib.request.urlopen(urllib.request.Request(url + path, data, fields))
ask("/api/v1/torrents", body.encode()).read()
for line in ask("/api/v1/events"):
    print(line.decode(), end="", flush=True)
"""


def payload_in(folder: Path, name: str = "film") -> Payload:
    files = {"a.bin": 700_000, "b.bin": 500_000}
    return make_payload(folder, name, files, piece_bytes=32 * 1024)


def test_download_goes_on_while_its_client_is_killed(tmp_path: Path) -> None:
    payload = payload_in(tmp_path)
    with (
        scene.seeded(tmp_path, payload, bytes_per_s=scene.SLOW) as seed,
        OwnDaemon(tmp_path) as daemon,
    ):
        source = {"torrent": base64.b64encode(payload.torrent.read_bytes()).decode()}
        body = json.dumps({"source": source, "peers": [_peer(seed)]})
        argv = [sys.executable, "-c", CLIENT, daemon.url(""), daemon.token, body]
        with Program(argv, host=LOOPBACK, log=tmp_path / "client.log") as client:
            wait_until(
                lambda: "event: sync" in client.output(),
                timeout_s=scene.LIMIT_S,
                what="the client has added it, and follows",
            )
            begun = scene.wait_for_bytes(daemon, payload)
            client.kill()
        assert 0 < begun < payload.total_bytes
        seed.limit_uploads(0)
        scene.wait_for(daemon, payload, "seeding")
        assert [job["status"] for job in scene.jobs(daemon, payload)] == ["completed"]
    assert payload.is_complete_in(tmp_path / "d")


def test_download_goes_on_after_the_daemon_was_killed_and_started_again(tmp_path: Path) -> None:
    payload = payload_in(tmp_path)
    with (
        scene.seeded(tmp_path, payload, bytes_per_s=scene.SLOW) as seed,
        OwnDaemon(tmp_path) as daemon,
    ):
        scene.add(daemon, payload, seed)
        scene.wait_for_bytes(daemon, payload, 200_000)
        mirror = Mirror()
        with EventStream(daemon) as stream:
            stream.follow(mirror, daemon.ask("GET", "/api/v1/sync")["rev"])
        had = scene.torrent(daemon, payload)["completed_bytes"]
        [job] = scene.jobs(daemon, payload)
        daemon.kill()
        daemon.start()
        _check_told_anew(daemon, mirror, payload)
        assert scene.wait_for_bytes(daemon, payload, had) < payload.total_bytes
        seed.limit_uploads(0)
        daemon.ask("POST", f"/api/v1/torrents/{payload.info_hash.hex()}/peers", _peer(seed))
        scene.wait_for(daemon, payload, "seeding")
        again = scene.jobs(daemon, payload)
        assert [(each["id"], each["status"]) for each in again] == [(job["id"], "completed")]
        lost = seed.uploaded_bytes(payload) - payload.total_bytes
        assert lost <= 500_000  # pieces that were not whole, and blocks on the way
    assert payload.is_complete_in(tmp_path / "d")


def _peer(seed: LibtorrentClient) -> dict[str, object]:
    host, port = seed.address
    return {"host": host, "port": port}


def _check_told_anew(daemon: OwnDaemon, mirror: Mirror, payload: Payload) -> None:
    """A client of before the restart is told to forget all, and has the torrent again."""
    with EventStream(daemon, since=mirror.revision) as stream:
        first = stream.next()
        assert first is not None
        assert first.name == "reset"
        mirror.take(first)
        assert mirror.torrents == {}
        mirror.take(stream.until("sync", full=True))
        assert list(mirror.torrents) == [payload.info_hash.hex()]


def test_orderly_restart_in_the_middle_neither_loses_nor_repeats_anything(tmp_path: Path) -> None:
    payload = payload_in(tmp_path)
    with (
        scene.seeded(tmp_path, payload, bytes_per_s=scene.SLOW) as seed,
        OwnDaemon(tmp_path) as daemon,
    ):
        scene.add(daemon, payload, seed)
        scene.wait_for_bytes(daemon, payload, 100_000)
        with EventStream(daemon) as stream:
            stream.until("sync")
            daemon.signal(signal.SIGTERM)
            assert stream.until("bye").data == {}
        assert daemon.wait() == 0
        daemon.start()
        seed.limit_uploads(0)
        daemon.ask("POST", f"/api/v1/torrents/{payload.info_hash.hex()}/peers", _peer(seed))
        scene.wait_for(daemon, payload, "seeding")
        assert [job["status"] for job in scene.jobs(daemon, payload)] == ["completed"]
    assert payload.is_complete_in(tmp_path / "d")
