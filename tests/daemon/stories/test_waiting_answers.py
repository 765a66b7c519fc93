"""Answers that wait for pieces while their torrent is moved or removed."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from tests.daemon.stories.scene import (
    LIMIT_S,
    SLOW,
    add,
    hashes,
    seeded,
    torrent,
    wait_for,
    wait_for_bytes,
)
from tests.support.own_daemon import OwnDaemon
from tests.support.payload import make_payload
from tests.support.processes import wait_until

FILM_BYTES = 2_000_000


class Player(threading.Thread):
    """Plays a file from its begin; :attr:`data` is what came, :attr:`is_cut` if not all did."""

    def __init__(self, url: str, token: str) -> None:
        super().__init__()
        self._url, self._headers = url, {"Authorization": f"Bearer {token}"}
        self.data = bytearray()
        self.is_cut = False

    def run(self) -> None:
        """Read until all has come, or the connection ends."""
        try:
            with httpx2.stream("GET", self._url, headers=self._headers, timeout=LIMIT_S) as answer:
                for data in answer.iter_raw():
                    self.data += data
        except httpx2.RemoteProtocolError:
            self.is_cut = True


@contextmanager
def playing(daemon: OwnDaemon, path: str, count: int = 3) -> Iterator[list[Player]]:
    """Let players play a file that is not here yet, in a block that ends them."""
    players = [Player(daemon.url(path), daemon.token) for _ in range(count)]
    for each in players:
        each.start()
    try:
        wait_until(
            lambda: all(each.data for each in players), timeout_s=LIMIT_S, what="players play"
        )
        yield players
    finally:
        for each in players:
            each.join(LIMIT_S)


def test_streams_go_on_while_files_move_and_end_when_their_torrent_is_removed(
    tmp_path: Path,
) -> None:
    kept = make_payload(tmp_path, "kept", {"film.mkv": FILM_BYTES})
    gone = make_payload(tmp_path, "gone", {"film.mkv": FILM_BYTES * 10})
    film = (kept.source_dir / "kept" / "film.mkv").read_bytes()
    daemon = OwnDaemon(tmp_path, f"paths.download={tmp_path}/downloads")
    with seeded(tmp_path, kept, gone, bytes_per_s=SLOW) as seed, daemon:
        moved, removed = add(daemon, kept, seed), add(daemon, gone, seed)
        for each in (kept, gone):
            wait_for_bytes(daemon, each)
        with playing(daemon, f"/stream/{moved}/0/x") as stay:
            body = {"path": f"{tmp_path}/downloads/elsewhere"}
            daemon.ask("POST", f"/api/v1/torrents/{moved}/move", body)
            with playing(daemon, f"/stream/{removed}/0/x") as end:
                daemon.ask("DELETE", f"/api/v1/torrents/{removed}?delete_files=true")
            assert all(each.is_cut and len(each.data) < FILM_BYTES * 10 for each in end)
        assert [bytes(each.data) for each in stay] == [film] * len(stay)
        wait_for(daemon, kept, "seeding")
        assert torrent(daemon, kept)["save_path"] == body["path"]
        assert hashes(daemon) == {moved}
        assert not (tmp_path / "downloads" / "gone").exists()
    assert "Traceback" not in daemon.output()
