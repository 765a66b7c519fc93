"""Magnet links as processes that find each other over loopback, without a tracker."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli import torrents
from tests.cli.tasks.test_transfers import (
    CONTENT,
    collected,
    downloaded,
    make_source,
    on_a_terminal,
    options,
    read_terminal,
    seeding,
    wait_for,
)
from tests.cli.test_mistakes import invoke
from tests.cli.test_processes import running
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo

NOBODY = "127.0.0.1:9"


@pytest.fixture(scope="module")
def seed_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where a seed listens until the last test of this module."""
    with seeding(tmp_path_factory.mktemp("seed")) as port:
        yield port


@pytest.fixture
def torrent(tmp_path: Path) -> Path:
    return make_source(tmp_path)


def link_of(torrent: Path, *arguments: object) -> str:
    """Return what ``torrent-engine magnet`` prints."""
    result = invoke("magnet", torrent, *arguments)
    assert result.exit_code == 0
    return result.stdout.strip()


def link_to(torrent: Path, port: int, *arguments: object) -> str:
    """Return a link that names the seed."""
    return link_of(torrent, "--peer", f"127.0.0.1:{port}", *arguments)


def hash_of(torrent: Path) -> str:
    return Metainfo.read(torrent).info_hash.hex()


def payload(folder: Path) -> dict[str, bytes]:
    return {k: v for k, v in downloaded(folder).items() if not k.startswith(".")}


def events_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_bep9_a_download_from_nothing_but_the_link(
    torrent: Path, seed_port: int, tmp_path: Path
) -> None:
    """The link names a peer; nothing else is known of the torrent."""
    link = link_to(torrent, seed_port)
    arguments = ["-d", tmp_path / "out", *options(tmp_path / "state")]
    with running("download", link, *arguments) as process:
        code, out, err = collected(process)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1].startswith("stuff: complete, 1.0 MiB in ")
    assert out.endswith(f"in {tmp_path}/out/stuff\n")
    assert downloaded(tmp_path / "out/stuff") == CONTENT


@pytest.mark.parametrize(("listen", "host"), [("::1", "[::1]"), ("127.0.0.1", "localhost")])
def test_bep9_a_link_names_an_ipv6_peer_or_a_host(
    torrent: Path, tmp_path: Path, listen: str, host: str
) -> None:
    where = ["--port", "0", "--listen", listen, "--state-dir"]
    arguments = ["-d", tmp_path / "source", *where, tmp_path / "s1", "--json"]
    with running("seed", torrent, *arguments) as seed:
        port = wait_for(seed, "torrent.started")["listen_port"]
        link = link_of(torrent, "--peer", f"{host}:{port}")
        with running("download", link, "-d", tmp_path / "out", *where, tmp_path / "s2") as process:
            code, _, err = collected(process)
    assert (code, err) == (0, "")
    assert downloaded(tmp_path / "out/stuff") == CONTENT


def test_bep5_a_download_with_nothing_but_the_dht_in_common(
    torrent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three nodes: one that both know, the seed that announces, and who has the link only."""
    monkeypatch.setenv("TORRENT_ENGINE_NO_DHT", "0")
    info = torrents.info_of("other", {"x": b"x"}, single=True)
    other = torrents.write_torrent(tmp_path / "other.torrent", info)
    closed = ["--dht-bootstrap", NOBODY, "--json"]
    with running("download", other, *options(tmp_path / "s0"), *closed) as router:
        node = f"127.0.0.1:{wait_for(router, 'torrent.started')['listen_port']}"
        known = ["--dht-bootstrap", node, "--json", "-d"]
        arguments = [*options(tmp_path / "s1"), *known, tmp_path / "source"]
        with running("seed", torrent, *arguments) as seed:
            wait_for(seed, "dht.peers")
            arguments = [*options(tmp_path / "s2"), *known, tmp_path / "out"]
            with running("download", hash_of(torrent), *arguments) as process:
                code, out, err = collected(process)
    assert (code, err) == (0, "")
    assert downloaded(tmp_path / "out/stuff") == CONTENT
    sources = events_of(out)[-1]["sources"]  # whichever of them dialled the other
    assert sources["dht"]["downloaded_bytes"] + sources["incoming"]["downloaded_bytes"] > 0


def test_bep9_a_download_from_the_tracker_of_the_link(torrent: Path, tmp_path: Path) -> None:
    with running("tracker", "--host", "127.0.0.1", "--port", "0", "--json") as tracker:
        assert tracker.stdout is not None
        url = json.loads(tracker.stdout.readline())["udp"]
        torrents.write_torrent(torrent, torrents.info_of("stuff", CONTENT), announce=url.encode())
        arguments = ["-d", tmp_path / "source", *options(tmp_path / "s1"), "--json"]
        with running("seed", torrent, *arguments) as seed:
            wait_for(seed, "tracker.success")
            arguments = ["-d", tmp_path / "out", *options(tmp_path / "s2"), "--json"]
            with running("download", link_of(torrent), *arguments) as process:
                code, out, err = collected(process)
    assert (code, err) == (0, "")
    assert downloaded(tmp_path / "out/stuff") == CONTENT
    counts = events_of(out)[-1]["sources"]
    assert counts["tracker"]["downloaded_bytes"] + counts["incoming"]["downloaded_bytes"] > 0


def test_bep9_a_download_from_an_info_hash_and_a_peer(
    torrent: Path, seed_port: int, tmp_path: Path
) -> None:
    arguments = ["-d", tmp_path / "out", *options(tmp_path / "state"), "--json"]
    peer = ["--peer", f"127.0.0.1:{seed_port}"]
    with running("download", hash_of(torrent), *arguments, *peer) as process:
        code, out, err = collected(process)
    assert (code, err) == (0, "")
    assert downloaded(tmp_path / "out/stuff") == CONTENT
    events = events_of(out)
    (received,) = [event for event in events if event["type"] == "metadata.received"]
    assert (received["name"], received["file_count"]) == ("stuff", len(CONTENT))
    assert received["total_bytes"] == sum(map(len, CONTENT.values()))
    assert events[0]["info_hash"] == hash_of(torrent)
    assert events[-1]["sources"]["manual"]["downloaded_bytes"] >= received["total_bytes"]


def test_bep53_the_link_says_which_files(torrent: Path, seed_port: int, tmp_path: Path) -> None:
    link = link_to(torrent, seed_port, "--select-file", "b.txt")
    assert Magnet.parse(link).selected_files == (1,)
    arguments = ["-d", tmp_path / "out", *options(tmp_path / "state")]
    with running("download", link, *arguments) as process:
        code, _, err = collected(process)
    assert (code, err) == (0, "")
    assert payload(tmp_path / "out") == {"stuff/b.txt": CONTENT["b.txt"]}


def test_bep53_select_file_goes_before_what_the_link_says(
    torrent: Path, seed_port: int, tmp_path: Path
) -> None:
    link = link_to(torrent, seed_port, "--select-file", "1")
    arguments: list[object] = ["--select-file", "*.txt", "-o", "2=new/name.txt"]
    arguments += ["-d", tmp_path / "out", *options(tmp_path / "state")]
    with running("download", link, *arguments) as process:
        code, out, err = collected(process)
    assert (code, err) == (0, "")
    assert payload(tmp_path / "out") == {"new/name.txt": CONTENT["b.txt"]}
    assert out.endswith(f"in {tmp_path}/out/new/name.txt\n")


@pytest.mark.parametrize("wrong", [["--select-file", "*.iso"], ["-o", "name"]])
def test_what_fits_no_file_of_the_metadata_exits_28(
    torrent: Path, seed_port: int, tmp_path: Path, wrong: list[str]
) -> None:
    arguments = ["-d", tmp_path / "out", *options(tmp_path / "state"), *wrong]
    with running("download", link_to(torrent, seed_port), *arguments) as process:
        code, _, err = collected(process)
    assert code == 28
    assert err.count("\n") == 1
    assert err.startswith(f"torrent-engine: stuff: {wrong[0]}: ")
    assert not payload(tmp_path / "out")


def test_bep9_metadata_is_the_torrent_without_its_extras(
    torrent: Path, seed_port: int, tmp_path: Path
) -> None:
    target = tmp_path / "new.torrent"
    arguments = ["-o", target, *options(tmp_path / "state"), "--timeout", "15"]
    with running("metadata", link_to(torrent, seed_port), *arguments) as process:
        code, out, err = collected(process)
    assert (code, err) == (0, "")
    assert out == f"stuff: 1.0 MiB in 3 files, saved as {target}\n"
    assert target.read_bytes() == torrent.read_bytes()
    assert set(downloaded(tmp_path)) & {"stuff/a.bin", "out/stuff/a.bin"} == set()


def test_bep9_metadata_keeps_the_trackers_of_the_link(
    torrent: Path, seed_port: int, tmp_path: Path
) -> None:
    """A closed port of loopback is the tracker; the peer of the link is what helps."""
    tracker = "http://127.0.0.1:9/announce"
    link = f"{link_to(torrent, seed_port)}&tr={tracker}&ws=http://127.0.0.1:9/file"
    target = tmp_path / "new.torrent"
    with running("metadata", link, "-q", "-o", target, *options(tmp_path / "s")) as process:
        code, out, _ = collected(process)
    assert (code, out) == (0, "")
    metainfo = Metainfo.read(target)
    assert metainfo.tiers == ((tracker,),)
    assert metainfo.web_seeds == ("http://127.0.0.1:9/file",)
    assert metainfo.info_bytes == Metainfo.read(torrent).info_bytes


def test_bep9_metadata_to_standard_output(torrent: Path, seed_port: int, tmp_path: Path) -> None:
    arguments = ["-o", "-", *options(tmp_path / "state")]
    with running("metadata", link_to(torrent, seed_port), *arguments) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert out == torrent.read_bytes()


def test_metadata_json_tells_what_came_and_where_it_is(
    torrent: Path, seed_port: int, tmp_path: Path
) -> None:
    arguments = ["-o", tmp_path / "new.torrent", *options(tmp_path / "state"), "--json"]
    with running("metadata", link_to(torrent, seed_port), *arguments) as process:
        code, out, _ = collected(process)
    types = [event["type"] for event in events_of(out)]
    assert code == 0
    assert types.index("metadata.received") < types.index("metadata.saved")
    assert types[-1] == "torrent.result"
    saved = next(event for event in events_of(out) if event["type"] == "metadata.saved")
    assert saved["path"] == str(tmp_path / "new.torrent")


def test_metadata_that_nobody_has_is_a_time_out(torrent: Path, tmp_path: Path) -> None:
    arguments = ["-o", tmp_path / "new.torrent", *options(tmp_path / "state"), "--timeout", "0.3"]
    with running("metadata", link_of(torrent, "--peer", NOBODY), *arguments) as process:
        code, _, err = collected(process)
    assert (code, err) == (
        2,
        "torrent-engine: stuff: no metadata after 0.3 s; no peers are connected\n",
    )
    assert not (tmp_path / "new.torrent").exists()


def test_ctrl_c_while_metadata_is_looked_for_exits_7(torrent: Path, tmp_path: Path) -> None:
    arguments = ["-d", tmp_path / "out", *options(tmp_path / "state"), "--json"]
    with running("download", link_of(torrent, "--peer", NOBODY), *arguments) as process:
        wait_for(process, "stats.update")
        process.send_signal(signal.SIGINT)
        code, out, err = collected(process)
    assert (code, err) == (7, "")
    assert events_of(out)[-1]["reason"] == "unfinished"


def test_bep9_a_restart_does_not_fetch_the_metadata_again(
    torrent: Path, seed_port: int, tmp_path: Path
) -> None:
    link = link_to(torrent, seed_port)
    arguments = ["-d", tmp_path / "out", *options(tmp_path / "state"), "--json"]
    with running("download", link, *arguments, "--max-download-limit", "300K") as process:
        wait_for(process, "piece.completed")
        process.send_signal(signal.SIGINT)
        assert collected(process)[0] == 7
    with running("download", link, *arguments) as process:
        code, out, _ = collected(process)
    events = events_of(out)
    assert code == 0
    assert "metadata.received" not in {event["type"] for event in events}
    completed = next(event for event in events if event["type"] == "session.completed")
    assert completed["downloaded_bytes"] < sum(map(len, CONTENT.values()))
    assert downloaded(tmp_path / "out/stuff") == CONTENT


def test_bep9_what_a_download_fetched_metadata_does_not_fetch_again(
    torrent: Path, seed_port: int, tmp_path: Path
) -> None:
    state = options(tmp_path / "state")
    with running("download", link_to(torrent, seed_port), "-d", tmp_path, *state) as process:
        assert collected(process)[0] == 0
    nobody = link_of(torrent, "--peer", NOBODY)
    arguments = ["-o", tmp_path / "new.torrent", *state, "--timeout", "10"]
    with running("metadata", nobody, *arguments) as process:
        code, _, err = collected(process)
    assert (code, err) == (0, "")
    assert (tmp_path / "new.torrent").read_bytes() == torrent.read_bytes()


def test_a_link_beside_a_torrent(torrent: Path, seed_port: int, tmp_path: Path) -> None:
    """The .torrent runs, with the peer that the link names."""
    arguments = ["-d", tmp_path / "out", *options(tmp_path / "state")]
    link = link_to(torrent, seed_port)
    with running("download", link, torrent, *arguments) as process:
        code, out, err = collected(process)
    assert (code, err) == (0, "")
    assert f"stuff: is the same torrent as {torrent}\n" in out
    assert "stuff: complete" in out


def test_bep9_a_terminal_shows_that_metadata_is_looked_for(torrent: Path, tmp_path: Path) -> None:
    arguments = ["-d", tmp_path / "out", *options(tmp_path / "state")]
    link = link_of(torrent, "--peer", NOBODY)
    with on_a_terminal("download", link, *arguments) as (_, terminal):
        drawn = read_terminal(terminal, until="elapsed")
    assert "stuff" in drawn
    assert "fetching metadata  peers 0 (seeds 0)" in drawn


def test_an_unquoted_link_is_asked_about(torrent: Path, tmp_path: Path) -> None:
    """What the shell leaves of it: all before the first &."""
    link = link_of(torrent).partition("&")[0]
    arguments = ["-d", tmp_path / "out", *options(tmp_path / "state"), "--stop-timeout", "0.3"]
    with running("download", link, *arguments, stdin=subprocess.DEVNULL) as process:
        code, out, err = collected(process)
    assert code == 2
    assert "a shell cuts a link at its first & unless it is in quotes" in out
    assert err == f"torrent-engine: {hash_of(torrent)}: no progress for 0.3 s\n"
