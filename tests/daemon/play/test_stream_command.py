"""``torrent-engine stream`` as a process, beside a real seed, with and without a daemon."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.daemon.stories.scene import LIMIT_S, add, hashes, seeded
from tests.support import slow_http as http
from tests.support.libtorrent_client import LibtorrentClient
from tests.support.own_daemon import OwnDaemon, command
from tests.support.payload import Payload, make_payload
from tests.support.processes import wait_until

SLOW = 60_000
"""Bytes per second of a seed that needs minutes for a film."""
PLAYER = """
import sys, urllib.request
with urllib.request.urlopen(sys.argv[2], timeout=120) as answer, open(sys.argv[1], "wb") as file:
    file.write(answer.read())
"""


def film(tmp_path: Path, size: int) -> Payload:
    return make_payload(
        tmp_path,
        "show",
        {"a.txt": 500, "film.mkv": size, "z.mp3": 40_000},
        piece_bytes=16 * 1024,
    )


def content(payload: Payload, name: str = "film.mkv") -> bytes:
    return (payload.source_dir / payload.name / name).read_bytes()


def arguments(tmp_path: Path, source: object, *more: str) -> list[str]:
    quiet = ("--set=network.loopback_only=true", f"--state-dir={tmp_path}/state")
    return [*command("stream", str(source)), *quiet, *more]


def environment(tmp_path: Path) -> dict[str, str]:
    """Return one in which temporary folders are below the test's."""
    folder = tmp_path / "temporary"
    folder.mkdir(exist_ok=True)
    own = {"TMPDIR": str(folder), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    return {**os.environ, **own}


def peer_of(seed: LibtorrentClient) -> str:
    host, port = seed.address
    return f"--peer={host}:{port}"


def run(tmp_path: Path, source: object, *more: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        arguments(tmp_path, source, *more),
        capture_output=True,
        text=True,
        env=environment(tmp_path),
        timeout=240,
        check=False,
    )


@contextmanager
def streaming(tmp_path: Path, source: object, *more: str) -> Iterator[tuple[str, "Ended"]]:
    """Run it; give its first line, and what ends it."""
    with (tmp_path / "stream.log").open("w") as log:
        process = subprocess.Popen(
            arguments(tmp_path, source, *more),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment(tmp_path),
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline().strip()
            assert line, (tmp_path / "stream.log").read_text()
            yield line, Ended(process)
        finally:
            process.kill()
            process.communicate()


class Ended:
    """Ends a stream as a user does."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def by(self, number: signal.Signals) -> int:
        self._process.send_signal(number)
        return self._process.wait(LIMIT_S)


def part(url: str, begin: int, end: int) -> bytes:
    """Return the bytes of a range, as a player asks for them."""
    answer = http.get(url, headers={"Range": f"bytes={begin}-{end - 1}"})
    assert answer.status_code == 206
    return answer.content


# -- without a daemon ------------------------------------------------------------------------------


def test_ranges_are_served_while_the_file_is_downloaded(tmp_path: Path) -> None:
    payload = film(tmp_path, 9_000_000)
    kept = tmp_path / "kept"
    with seeded(tmp_path, payload, bytes_per_s=SLOW) as seed:
        options = (peer_of(seed), f"--keep={kept}", "--quiet")
        with streaming(tmp_path, payload.torrent, *options) as (url, ended):
            assert url.startswith("http://127.0.0.1:")
            whole = content(payload)
            assert part(url, len(whole) - 1_000, len(whole)) == whole[-1_000:]
            assert part(url, 100, 20_000) == whole[100:20_000]
            assert not payload.is_complete_in(kept)
            unsigned, _, _ = url.partition("?")
            assert http.get(unsigned).status_code == 401
            assert http.get(url.replace("/1/film.mkv", "/0/a.txt")).status_code == 401
            assert http.get(f"{url.partition('/stream')[0]}/api/v1").status_code in {401, 404}
            assert ended.by(signal.SIGINT) == 0
    assert list((tmp_path / "temporary").iterdir()) == []
    assert (kept / "show" / "film.mkv").exists()
    assert "Traceback" not in (tmp_path / "stream.log").read_text()


def test_a_player_gets_the_file_of_a_link_and_ends_the_stream(tmp_path: Path) -> None:
    payload = film(tmp_path, 700_000)
    script, got = tmp_path / "player.py", tmp_path / "got.bin"
    script.write_text(PLAYER)
    with seeded(tmp_path, payload) as seed:
        host, port = seed.address
        link = f"magnet:?xt=urn:btih:{payload.info_hash.hex()}&x.pe={host}:{port}"
        player = f"--player={sys.executable} {script} {got}"
        done = run(tmp_path, link, player, "--json")
    assert done.returncode == 0, done.stderr
    assert got.read_bytes() == content(payload)
    told = json.loads(done.stdout)
    assert (told["file"], told["number"], told["name"]) == ("show/film.mkv", 2, "show")
    assert list((tmp_path / "temporary").iterdir()) == []


def test_files_that_are_kept_stay_with_those_of_the_user(tmp_path: Path) -> None:
    payload = film(tmp_path, 700_000)
    kept, script, got = tmp_path / "kept", tmp_path / "player.py", tmp_path / "got.bin"
    script.write_text(PLAYER)
    (kept / "show").mkdir(parents=True)
    (kept / "show" / "mine.txt").write_text("mine")
    options = (f"--player={sys.executable} {script} {got}", f"--keep={kept}", "--file=*.mp3")
    with seeded(tmp_path, payload) as seed:
        for _ in range(2):
            done = run(tmp_path, payload.torrent, peer_of(seed), *options)
            assert done.returncode == 0, done.stderr
            assert got.read_bytes() == content(payload, "z.mp3")
            got.unlink()
    assert (kept / "show" / "z.mp3").read_bytes() == content(payload, "z.mp3")
    assert (kept / "show" / "mine.txt").read_text() == "mine"


def test_another_run_goes_on_with_what_was_kept_half(tmp_path: Path) -> None:
    payload = film(tmp_path, 9_000_000)
    kept, script, got = tmp_path / "kept", tmp_path / "player.py", tmp_path / "got.bin"
    script.write_text(PLAYER)
    with seeded(tmp_path, payload, bytes_per_s=SLOW) as seed:
        options = (peer_of(seed), f"--keep={kept}", "--quiet")
        with streaming(tmp_path, payload.torrent, *options) as (url, ended):
            part(url, 100, 40_000)
            assert ended.by(signal.SIGTERM) == 0
    (state,) = (tmp_path / "state" / "stream").iterdir()
    assert state.name.startswith(f"{payload.info_hash.hex()}-")
    assert state.stat().st_mode & 0o077 == 0
    fast = tmp_path / "fast"
    fast.mkdir()
    with seeded(fast, payload) as seed:
        player = f"--player={sys.executable} {script} {got}"
        done = run(tmp_path, payload.torrent, peer_of(seed), f"--keep={kept}", player)
    assert done.returncode == 0, done.stderr
    assert got.read_bytes() == content(payload)
    assert (kept / "show" / "film.mkv").read_bytes() == content(payload)
    assert [each.name for each in state.parent.iterdir()] == [state.name]


def test_a_file_of_the_user_in_the_way_ends_the_stream(tmp_path: Path) -> None:
    payload = film(tmp_path, 60_000)
    mine = tmp_path / "kept" / "show" / "film.mkv"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine" * 15_000)
    done = run(tmp_path, payload.torrent, f"--keep={tmp_path}/kept", "--quiet")
    assert done.returncode == 13, done.stderr
    assert "film.mkv" in done.stderr.splitlines()[-1]
    assert mine.read_bytes() == b"mine" * 15_000


def test_too_long_a_wait_for_peers_ends_the_stream(tmp_path: Path) -> None:
    payload = film(tmp_path, 60_000)
    link = f"magnet:?xt=urn:btih:{payload.info_hash.hex()}"
    for source, what in ((link, "metadata"), (payload.torrent, "data")):
        done = run(tmp_path, source, "--timeout=0.5")
        assert done.returncode == 2, done.stderr
        assert f"no {what} after 0.5 s; no peers are connected" in done.stderr.splitlines()[-1]
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_player_that_fails_is_told(tmp_path: Path) -> None:
    payload = film(tmp_path, 60_000)
    done = run(tmp_path, payload.torrent, f"--player={sys.executable} -c 'exit(5)'")
    assert done.returncode == 7
    assert done.stderr.endswith("torrent-engine: the player ended with 5\n")
    assert "show/film.mkv (60,000 bytes); ends with the player" in done.stderr
    assert done.stdout == ""


# -- bad input -------------------------------------------------------------------------------------


def test_what_cannot_be_played_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    payload = make_payload(tmp_path, "text", {"a.txt": 500, "b.iso": 2_000})
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        cases = {
            (payload.torrent,): (3, "text: no video or audio among 2 files; --file NUMBER takes"),
            (payload.torrent, f"--port={port}"): (6, "choose another port with --port"),
            (tmp_path / "none.torrent",): (3, "none.torrent: no such file or directory"),
            ("magnet:?xt=urn:btih:abc",): (27, "info-hash"),
            (payload.torrent, "--peer=nobody"): (28, "HOST:PORT"),
        }
        for words, (code, text) in cases.items():
            done = run(tmp_path, *map(str, words))
            assert done.returncode == code, (words, done.stderr)
            assert text in done.stderr
            assert done.stderr.splitlines()[-1].startswith("torrent-engine: ")
            assert done.stdout == ""
    assert list((tmp_path / "temporary").iterdir()) == []


# -- with a daemon ---------------------------------------------------------------------------------


def test_a_daemon_that_runs_serves_the_stream_and_keeps_nothing_of_it(tmp_path: Path) -> None:
    payload = film(tmp_path, 9_000_000)
    with seeded(tmp_path, payload, bytes_per_s=SLOW) as seed, OwnDaemon(tmp_path) as daemon:
        with streaming(tmp_path, payload.torrent, peer_of(seed)) as (url, ended):
            assert url.startswith(daemon.url("/stream/"))
            assert hashes(daemon) == {payload.info_hash.hex()}
            whole = content(payload)
            assert part(url, len(whole) - 1_000, len(whole)) == whole[-1_000:]
            files = daemon.ask("GET", f"/api/v1/torrents/{payload.info_hash.hex()}/files")["items"]
            assert [each["priority"] > 0 for each in files] == [False, True, False]
            assert http.get(url.replace("/1/film.mkv", "/0/a.txt")).status_code == 401
            assert ended.by(signal.SIGTERM) == 0
        wait_until(lambda: not hashes(daemon), timeout_s=LIMIT_S, what="the torrent has gone")
        wait_until(
            lambda: not list((tmp_path / "d").rglob("film.mkv*")),
            timeout_s=LIMIT_S,
            what="its files have gone",
        )


@pytest.mark.parametrize("by_link", [False, True])
def test_two_streams_of_one_torrent_end_one_by_one(tmp_path: Path, *, by_link: bool) -> None:
    payload = film(tmp_path, 9_000_000)
    link = f"magnet:?xt=urn:btih:{payload.info_hash.hex()}"
    with seeded(tmp_path, payload, bytes_per_s=SLOW) as seed, OwnDaemon(tmp_path) as daemon:
        with streaming(tmp_path, payload.torrent, peer_of(seed)) as (_, first):
            second = link if by_link else payload.torrent
            with streaming(tmp_path, second) as (url, ended):
                assert first.by(signal.SIGTERM) == 0
                whole = content(payload)
                assert part(url, 100, 20_000) == whole[100:20_000]
                assert hashes(daemon) == {payload.info_hash.hex()}
                assert ended.by(signal.SIGTERM) == 0
        wait_until(lambda: not hashes(daemon), timeout_s=LIMIT_S, what="the torrent has gone")
        wait_until(
            lambda: not list((tmp_path / "d").rglob("film.mkv*")),
            timeout_s=LIMIT_S,
            what="its files have gone",
        )


def test_a_torrent_of_the_daemon_is_played_by_its_name_and_stays(tmp_path: Path) -> None:
    payload = film(tmp_path, 200_000)
    script, got = tmp_path / "player.py", tmp_path / "got.bin"
    script.write_text(PLAYER)
    player = f"--player={sys.executable} {script} {got}"
    with seeded(tmp_path, payload) as seed, OwnDaemon(tmp_path) as daemon:
        add(daemon, payload, seed)
        for name in ("sho", payload.info_hash.hex()[:8]):
            done = run(tmp_path, name, player)
            assert done.returncode == 0, done.stderr
            assert got.read_bytes() == content(payload)
        done = run(tmp_path, payload.torrent, player, "--file=a.txt")
        assert done.returncode == 0, done.stderr
        assert got.read_bytes() == content(payload, "a.txt")
        assert hashes(daemon) == {payload.info_hash.hex()}
        done = run(tmp_path, "nothing of the kind", player)
        assert done.returncode == 3
        assert "no such file, and no torrent of the daemon has that name" in done.stderr


def test_what_a_daemon_shall_keep_stays_in_the_folder_that_is_named(tmp_path: Path) -> None:
    payload = film(tmp_path, 200_000)
    script, got, folder = tmp_path / "player.py", tmp_path / "got.bin", tmp_path / "d" / "films"
    script.write_text(PLAYER)
    options = (f"--player={sys.executable} {script} {got}", f"--keep={folder}")
    with seeded(tmp_path, payload) as seed, OwnDaemon(tmp_path) as daemon:
        done = run(tmp_path, payload.torrent, peer_of(seed), *options)
        assert done.returncode == 0, done.stderr
        assert got.read_bytes() == content(payload)
        assert hashes(daemon) == {payload.info_hash.hex()}
        assert (folder / "show" / "film.mkv").read_bytes() == content(payload)


def test_what_ends_a_stream_of_the_daemon_is_told(tmp_path: Path) -> None:
    payload = film(tmp_path, 60_000)
    with OwnDaemon(tmp_path) as daemon:
        done = run(tmp_path, payload.torrent, "--timeout=0.5")
        assert done.returncode == 2, done.stderr
        assert "no data after 0.5 s; no peers are connected" in done.stderr.splitlines()[-1]
        wait_until(lambda: not hashes(daemon), timeout_s=LIMIT_S, what="the torrent has gone")
        done = run(tmp_path, payload.torrent, "--port=4711", "--host=0.0.0.0")
        assert done.returncode == 28, done.stderr
        assert "--host and --port: the daemon that runs serves the stream" in done.stderr
        assert hashes(daemon) == set()


def test_a_folder_that_the_daemon_may_not_use_is_refused(tmp_path: Path) -> None:
    payload = film(tmp_path, 60_000)
    with OwnDaemon(tmp_path) as daemon:
        done = run(tmp_path, payload.torrent, f"--keep={tmp_path}/elsewhere")
        assert done.returncode == 28
        assert done.stderr.startswith("torrent-engine: refused: ")
        assert hashes(daemon) == set()
