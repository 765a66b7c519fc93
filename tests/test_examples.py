"""The examples run as a reader would run them: as processes, here on loopback with small data."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from tests.support.swarm import content, seed
from tests.support.torrents import make_torrent
from torrent_engine import Magnet

pytestmark = pytest.mark.anyio

EXAMPLES = Path(__file__).parent.parent / "examples"
MAX_LINES = 60
TIMEOUT_S = 30.0


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
        "stream_file.py",
        "swarm.py",
        "play_a_peer.py",
    }
    for name in names:
        assert len((EXAMPLES / name).read_text().splitlines()) < MAX_LINES


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
            metainfo.magnet_link() if is_link else torrent,
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
