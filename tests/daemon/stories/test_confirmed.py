"""What the daemon has confirmed is there after it is killed at once."""

from pathlib import Path

from tests.daemon.stories import scene
from tests.support.own_daemon import OwnDaemon
from tests.support.payload import make_payload

TRACKER = "http://127.0.0.1:9/announce"


def test_confirmed_changes_outlive_a_kill_that_follows_at_once(tmp_path: Path) -> None:
    payload = make_payload(tmp_path, "film", {"a.bin": 70_000}, piece_bytes=32 * 1024)
    path = f"/api/v1/torrents/{payload.info_hash.hex()}"
    with OwnDaemon(tmp_path) as daemon:
        scene.add(daemon, payload, paused=True, labels=["first"])
        again(daemon)
        told = scene.torrent(daemon, payload)
        assert (told["status"], told["labels"]) == ("paused", ["first"])

        daemon.ask("POST", f"{path}/trackers", {"url": TRACKER})
        again(daemon)
        listed = daemon.ask("GET", f"{path}/trackers")["items"]
        assert TRACKER in {each["url"] for each in listed}

        daemon.ask("PUT", "/api/v1/categories/films", {"save_path": str(tmp_path / "d" / "films")})
        again(daemon)
        assert [each["name"] for each in daemon.ask("GET", "/api/v1/categories")["items"]] == [
            "films"
        ]

        daemon.ask("PATCH", "/api/v1/settings", {"limits.download_kb_s": 123})
        again(daemon)
        assert (
            daemon.ask("GET", "/api/v1/settings")["settings"]["limits.download_kb_s"]["value"]
            == 123
        )


def again(daemon: OwnDaemon) -> None:
    """Kill the daemon, and start it again."""
    daemon.kill()
    daemon.start()
