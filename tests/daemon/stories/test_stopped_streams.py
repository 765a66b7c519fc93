"""Films of torrents that are stopped, played from the daemon."""

import signal
from pathlib import Path

import httpx2

from tests.daemon.stories.scene import add, seeded, torrent, wait_for
from tests.support import slow_http as http
from tests.support.own_daemon import OwnDaemon
from tests.support.payload import make_payload


def test_stopped_torrent_is_played_and_stays_stopped(tmp_path: Path) -> None:
    payload = make_payload(tmp_path, "show", {"a.txt": 500, "film.mkv": 200_000})
    film = (payload.source_dir / "show" / "film.mkv").read_bytes()
    daemon = OwnDaemon(tmp_path, f"paths.download={tmp_path}/downloads")

    def play(name: str, **fields: str) -> httpx2.Response:
        files = daemon.ask("GET", f"/api/v1/torrents/{payload.info_hash.hex()}/files")
        items = files["items"] if isinstance(files, dict) else files
        index = next(each["index"] for each in items if each["path"].endswith(name))
        headers = {"Authorization": f"Bearer {daemon.token}", **fields}
        return http.get(daemon.url(f"/stream/{payload.info_hash.hex()}/{index}/x"), headers=headers)

    with seeded(tmp_path, payload) as seed, daemon:
        hash_ = add(daemon, payload, seed)
        wait_for(daemon, payload, "seeding")
        daemon.ask("POST", f"/api/v1/torrents/{hash_}/stop")
        wait_for(daemon, payload, "stopped")
        assert play("film.mkv").content == film
        part = play("film.mkv", Range="bytes=100000-100009")
        assert (part.status_code, part.content) == (206, film[100_000:100_010])
        assert torrent(daemon, payload)["status"] == "stopped"
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0
        daemon.start()
        assert play("film.mkv").content == film
        assert play("a.txt").status_code == 200
        assert torrent(daemon, payload)["status"] == "stopped"
