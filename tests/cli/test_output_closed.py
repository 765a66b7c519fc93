"""A reader of our output that goes away, as ``head`` does, ends a command quietly and in order."""

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import anyio
import pytest

from tests.support.crash import MIB, ROOT, Shape
from tests.support.crash_seed import SeedProcess
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.base.ids import InfoHash
from torrent_engine.disk.state import StateStore
from torrent_engine.disk.state_records import TorrentRecord

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGPIPE")

OUTPUT_CLOSED = 141  # 128 + SIGPIPE, as a shell has it
METAINFO, PAYLOAD = make_torrent(payload_of(100_000), name="a")
SHORT = [
    ["--help"],
    ["show", "a.torrent"],
    ["show", "--json", "a.torrent"],
    ["magnet", "a.torrent"],
    ["verify", "a.torrent", "files"],
    ["download", "--help"],
    ["tracker", "--port", "0", "--host", "127.0.0.1"],
]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "torrent_engine", *arguments]


@pytest.mark.parametrize("arguments", SHORT, ids=" ".join)
@pytest.mark.parametrize("is_stderr_closed", [False, True], ids=["stdout", "stdout and stderr"])
def test_a_command_whose_output_nobody_reads_ends_quietly(
    tmp_path: Path, arguments: list[str], is_stderr_closed: bool
) -> None:
    (tmp_path / "a.torrent").write_bytes(METAINFO.source)
    write_files(METAINFO, PAYLOAD, tmp_path / "files")
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        command(*arguments),
        stdout=writer,
        stderr=writer if is_stderr_closed else subprocess.PIPE,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(tmp_path / "home")},
        check=False,
        timeout=50,
    )
    os.close(writer)
    assert not done.stderr
    assert done.returncode == OUTPUT_CLOSED


async def stored(state_dir: Path, info_hash: InfoHash) -> TorrentRecord | None:
    async with await StateStore.open(state_dir) as store:
        return await store.load(info_hash)


@pytest.mark.parametrize("name", ["download", "run"])
def test_a_transfer_whose_output_nobody_reads_any_more_stops_and_saves_its_state(
    tmp_path: Path, name: str
) -> None:
    shape = Shape(8 * MIB, piece_bytes=64 * 1024, bytes_per_s=4 * MIB)
    info_hash = shape.make(tmp_path, Random(1)).info_hash
    with SeedProcess(tmp_path, ("127.0.0.1",), shape.bytes_per_s) as seed:
        folders = ["-d", str(tmp_path / "saved"), "--state-dir", str(tmp_path / "state")]
        place = ["--port", "0", "--listen", "127.0.0.1", *folders]
        peer = ["--peer", seed.addresses[0]] if name == "download" else []
        with subprocess.Popen(
            [*command(name, "--json"), str(tmp_path / "x.torrent"), *place, *peer],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            while name == "download" and b"piece.completed" not in process.stdout.readline():
                pass
            process.stdout.close()
            assert process.wait(30) == OUTPUT_CLOSED
            assert process.stderr.read() == b""
    record = anyio.run(stored, tmp_path / "state", info_hash)
    if name == "download":
        assert record is not None
        assert record.progress is not None
        assert record.progress.is_clean
        assert any(record.progress.have)
