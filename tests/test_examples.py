"""The examples run as a reader would run them: as processes, here on loopback with small data."""

import os
import re
import runpy
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from tests.support.fixed_tracker import naming
from tests.support.processes import free_port
from tests.support.swarm import address_of, content, resources, seed
from tests.support.torrents import make_torrent, write_files
from torrent_engine import (
    STORAGE_RULES,
    Magnet,
    Metainfo,
    Session,
    Storage,
    StorageFiles,
    check_storage,
)
from torrent_engine.config import SharedConfig

pytestmark = pytest.mark.anyio

EXAMPLES = Path(__file__).parent.parent / "examples"
MAX_LINES = 60
TIMEOUT_S = 120.0
SMALL = {
    "magnet_progress.py",
    "chosen_files.py",
    "fifty_torrents.py",
    "own_port.py",
    "match_events.py",
}
"""Programs as a user would write them first, with nothing but the public names."""
MAX_SMALL_LINES = 40


async def run_example(name: str, *arguments: object, folder: Path) -> str:
    """Run an example to its end, ``folder`` being home and working folder; return its output."""
    home = {"HOME": str(folder), "XDG_STATE_HOME": str(folder / "state"), "TMPDIR": str(folder)}
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), *map(str, arguments)]
    with anyio.fail_after(TIMEOUT_S):
        done = await anyio.run_process(
            command, cwd=folder, env=os.environ | home, stderr=-2, check=False
        )
    output = done.stdout.decode()
    assert done.returncode == 0, output
    return output


def test_every_example_is_short_and_has_a_test() -> None:
    names = {path.name for path in EXAMPLES.glob("*.py")}
    assert names == {
        "download.py",
        "magnet.py",
        "notebook.py",
        "stream_file.py",
        "own_storage.py",
        "swarm.py",
        "play_a_peer.py",
        "conformance_suite.py",
        *SMALL,
    }
    for name in names:
        assert len((EXAMPLES / name).read_text().splitlines()) < MAX_LINES


async def test_the_notebook_opens_and_closes_in_different_tasks(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/a").write_bytes(b"a" * 50_000)
    output = await run_example("notebook.py", tmp_path / "mine", folder=tmp_path)
    assert output.startswith("<Session 'mine' ")
    assert output.endswith(" seeding>\n")


async def test_download_fetches_from_a_peer_and_prints_its_progress(tmp_path: Path) -> None:
    metainfo, payload = make_torrent({"a": b"first" * 9_000, "b/c": b"second" * 9_000})
    torrent = tmp_path / "some.torrent"
    torrent.write_bytes(metainfo.to_bytes())
    async with seed(tmp_path / "seed", metainfo, payload) as (_, (host, port)):
        output = await run_example(
            "download.py",
            torrent,
            tmp_path / "out",
            f"--peer={host}:{port}",
            f"--state-dir={tmp_path / 'state'}",
            "--alone",
            folder=tmp_path,
        )
    assert content(metainfo, tmp_path / "out") == payload
    assert "100.0 %" in output
    assert output.splitlines()[-1] == f"downloaded to {tmp_path / 'out' / metainfo.name}"


async def test_a_storage_of_ones_own_keeps_a_download_in_a_database(tmp_path: Path) -> None:
    metainfo, payload = make_torrent({"a": b"first" * 9_000, "b/c": b"second" * 9_000})
    torrent, database = tmp_path / "some.torrent", tmp_path / "payload.db"
    torrent.write_bytes(metainfo.to_bytes())
    async with seed(tmp_path / "seed", metainfo, payload) as (_, (host, port)):
        peer = f"{host}:{port}"
        await run_example("own_storage.py", torrent, database, peer, folder=tmp_path)
    with closing(sqlite3.connect(database)) as rows:
        sql = "SELECT data FROM rows WHERE file = ? ORDER BY row"
        found = [b"".join(data for (data,) in rows.execute(sql, (file,))) for file in (0, 1)]
    cut = [data[: file.length_bytes] for data, file in zip(found, metainfo.files, strict=True)]
    assert b"".join(cut) == payload
    assert not (tmp_path / metainfo.name).exists()


def test_the_example_of_a_storage_keeps_the_contract(tmp_path: Path) -> None:
    scope = runpy.run_path(str(EXAMPLES / "own_storage.py"))
    (tmp_path / "databases").mkdir()

    def make(files: StorageFiles) -> Storage:
        database = tmp_path / "databases" / Path(files.save_path).name
        storage: Storage = scope["SqliteStorage"](str(database), files)
        return storage

    check_storage(make, str(tmp_path / "work"))
    assert len(list((tmp_path / "databases").iterdir())) == len(STORAGE_RULES)


async def test_download_of_what_is_no_torrent_is_one_line(tmp_path: Path) -> None:
    torrent = tmp_path / "bad.torrent"
    torrent.write_bytes(b"no torrent")
    command = [sys.executable, str(EXAMPLES / "download.py"), str(torrent), str(tmp_path)]
    with anyio.fail_after(TIMEOUT_S):
        done = await anyio.run_process(
            [*command, f"--state-dir={tmp_path / 'state'}"], check=False, stderr=-2
        )
    assert done.returncode == 1
    assert done.stdout.startswith(b"failed: ")
    assert done.stdout.count(b"\n") == 1


async def test_bep9_magnet_fetches_the_metadata_and_the_largest_file(tmp_path: Path) -> None:
    metainfo, _ = make_torrent({"small": b"s" * 20_000, "b/large": b"large" * 9_000})
    payload = b"s" * 20_000 + b"large" * 9_000
    async with seed(tmp_path / "seed", metainfo, payload) as (_, address):
        link = str(replace(Magnet.of(metainfo), peers=(address,)))
        output = await run_example("magnet.py", link, tmp_path / "out", "--alone", folder=tmp_path)
    assert output.startswith("looking for payload\nMetadataReceived(")
    assert (tmp_path / "out/payload/b/large").read_bytes() == b"large" * 9_000
    assert not (tmp_path / "out/payload/small").exists()


@pytest.mark.parametrize("is_link", [False, True], ids=["torrent", "link"])
async def test_stream_file_writes_a_file_from_any_place_on(tmp_path: Path, is_link: bool) -> None:
    text = b"".join(b"line %06d of the file\n" % number for number in range(20_000))
    metainfo, payload = make_torrent({"a": b"first" * 9_000, "b/c.txt": text})
    torrent = tmp_path / "some.torrent"
    torrent.write_bytes(metainfo.to_bytes())
    async with seed(tmp_path / "seed", metainfo, payload) as (_, (host, port)):
        output = await run_example(
            "stream_file.py",
            str(Magnet.of(metainfo)) if is_link else torrent,
            "b/c.txt",
            tmp_path / "out",
            "--offset=230000",
            f"--peer={host}:{port}",
            "--alone",
            folder=tmp_path,
        )
    assert output.encode() == text[230_000:]


async def test_swarm_moves_a_file_and_shows_its_events(tmp_path: Path) -> None:
    lines = (await run_example("swarm.py", folder=tmp_path)).splitlines()
    assert sum(line.startswith("PieceCompleted") for line in lines) == 12
    assert lines[-2].startswith("SessionCompleted")
    assert lines[-1] == "every byte is the same"


async def test_bep3_play_a_peer_fetches_a_piece_and_is_dropped_for_a_bad_request(
    tmp_path: Path,
) -> None:
    metainfo, payload = make_torrent(bytes(range(256)) * 400, piece_bytes=64 * 1024)
    torrent = tmp_path / "some.torrent"
    torrent.write_bytes(metainfo.to_bytes())
    async with seed(tmp_path / "seed", metainfo, payload) as (_, address):
        lines = (
            await run_example("play_a_peer.py", *address, torrent, folder=tmp_path)
        ).splitlines()
    assert lines[0] == "HandshakeReceived"
    assert lines.count("BlockReceived") == 4
    assert "hash: True" in lines
    assert lines[-1] == "dropped for the illegal request, as it should be"


# -- small programs ---------------------------------------------------------------------------


def small(name: str) -> Any:
    """Return the functions of a small program, which are told where to listen and to keep state."""
    return SimpleNamespace(**runpy.run_path(str(EXAMPLES / name)))


def local(tmp_path: Path) -> SharedConfig:
    return SharedConfig.local(state_dir=tmp_path / "state")


@pytest.mark.parametrize("name", sorted(SMALL))
def test_a_small_program_is_short_and_uses_public_names_only(name: str) -> None:
    text = (EXAMPLES / name).read_text()
    assert len(text.splitlines()) < MAX_SMALL_LINES
    ours = re.findall(r"^(?:from|import) (torrent_engine[\w.]*)", text, re.MULTILINE)
    assert set(ours) <= {"torrent_engine", "torrent_engine.config"}


def mypy(*paths: Path) -> str:
    """Return what mypy says in its strict mode."""
    command = [sys.executable, "-m", "mypy", "--strict", *map(str, paths)]
    done = subprocess.run(command, cwd=EXAMPLES.parent, check=False, capture_output=True, text=True)
    return done.stdout


def test_small_programs_pass_strict_type_checks() -> None:
    assert "Success" in mypy(*(EXAMPLES / name for name in SMALL))


SLIPS = {
    "a name of the package": ("import Session,", "import Sesion,", "Sesion"),
    "a keyword": ("save_path=folder", "safe_path=folder", "safe_path"),
    "a method": ("wait_complete()", "wait_completed()", "wait_completed"),
    "an attribute of an event": ("stats.peers", "stats.pears", "pears"),
    "a class of configurations": ("import SharedConfig", "import ShareConfig", "ShareConfig"),
}


def test_a_misspelt_name_fails_type_checks(tmp_path: Path) -> None:
    text = (EXAMPLES / "magnet_progress.py").read_text()
    for number, (right, wrong, _) in enumerate(SLIPS.values()):
        assert right in text
        (tmp_path / f"slip_{number}.py").write_text(text.replace(right, wrong))
    said = mypy(*sorted(tmp_path.glob("slip_*.py"))).splitlines()
    for number, (_, _, name) in enumerate(SLIPS.values()):
        of_this = [line for line in said if f"slip_{number}.py" in line]
        assert any(name in line and "error" in line for line in of_this), said


async def test_magnet_progress_shows_how_far_a_download_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metainfo, payload = make_torrent({"a": b"some" * 40_000})
    async with seed(tmp_path / "seed", metainfo, payload) as (_, address):
        link = str(replace(Magnet.of(metainfo), peers=(address,)))
        with anyio.fail_after(TIMEOUT_S):
            await small("magnet_progress.py").download(link, str(tmp_path), local(tmp_path))
    assert content(metainfo, tmp_path) == payload
    assert capsys.readouterr().out.endswith(f"{metainfo.name} is in {tmp_path}\n")


class Here:
    """This machine, where a tracker that needs a host is run."""

    @staticmethod
    def call(make: Any) -> Any:
        return make()


def named_by_tracker(metainfo: Metainfo, address: tuple[str, int], folder: Path) -> Any:
    """Write a .torrent whose tracker names one peer; gives the path while the tracker runs."""

    @contextmanager
    def running() -> Iterator[Path]:
        with naming(Here(), address, address="127.0.0.1") as url:  # type: ignore[arg-type]
            path = folder / f"{metainfo.name}.torrent"
            path.write_bytes(metainfo.edited(trackers=[url]).source)
            yield path

    return running()


async def test_chosen_files_are_the_only_ones_and_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metainfo, payload = make_torrent(
        {"a.txt": b"text" * 9_000, "b.bin": b"data" * 9_000, "c/d.txt": b"more" * 9_000}
    )
    async with seed(tmp_path / "seed", metainfo, payload) as (_, address):
        with named_by_tracker(metainfo, address, tmp_path) as torrent, anyio.fail_after(TIMEOUT_S):
            await small("chosen_files.py").download(
                str(torrent), str(tmp_path / "out"), ".txt", local(tmp_path)
            )
    lines = capsys.readouterr().out.splitlines()[-2:]
    assert [line.split() for line in lines] == [
        ["36,000", "of", "36,000", str(Path(metainfo.name, name))] for name in ("a.txt", "c/d.txt")
    ]
    assert not (tmp_path / "out" / metainfo.name / "b.bin").exists()


async def test_events_are_matched_by_their_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metainfo, payload = make_torrent({"a": b"some" * 40_000})
    async with seed(tmp_path / "seed", metainfo, payload) as (_, address):
        with named_by_tracker(metainfo, address, tmp_path) as torrent, anyio.fail_after(TIMEOUT_S):
            await small("match_events.py").download(str(torrent), str(tmp_path), local(tmp_path))
    lines = capsys.readouterr().out.splitlines()
    pieces = {line for line in lines if line.startswith("piece ")}
    assert pieces == {f"piece {index}" for index in range(metainfo.piece_count)}
    assert [line for line in lines if line.startswith("file ")]
    assert lines[-1].startswith("complete after ")


async def test_fifty_torrents_are_downloaded_with_a_queue(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    payloads = {f"t{number:02}": f"{number}".encode() * 9_000 for number in range(50)}
    with ExitStack() as trackers:
        async with resources(tmp_path / "seeds") as shared, AsyncExitStack() as seeds:
            paths = []
            for name, payload in payloads.items():
                metainfo, data = make_torrent({"a": payload}, name=name)
                write_files(metainfo, data, tmp_path / "seeds")
                session = await Session.create(metainfo, shared, save_path=tmp_path / "seeds")
                await seeds.enter_async_context(session)
                address = address_of(shared)
                tracker = named_by_tracker(metainfo, address, tmp_path)
                paths.append(trackers.enter_context(tracker))
            with anyio.fail_after(2 * TIMEOUT_S):
                await small("fifty_torrents.py").download(
                    paths, str(tmp_path / "out"), local(tmp_path)
                )
    for name, payload in payloads.items():
        assert (tmp_path / "out" / name / "a").read_bytes() == payload
    assert capsys.readouterr().out.splitlines() == [
        "t49 is complete; more at a time from now on",
        "50 torrents are complete",
    ]


async def test_a_folder_is_seeded_on_a_port_of_ones_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "a").write_bytes(b"a" * 90_000)
    port = free_port()
    config = replace(local(tmp_path), listen_port=port)
    torrent = await small("own_port.py").seed(folder, config, seconds=0.1)
    assert Metainfo.read(torrent).total_bytes == 90_000
    assert f"mine is seeded on port {port}" in capsys.readouterr().out
