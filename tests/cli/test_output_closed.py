"""Readers of our output: one that goes away, as ``head`` does, and one that reads no further."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from io import FileIO
from pathlib import Path
from random import Random

import anyio
import pytest

from tests.support.crash import MIB, ROOT, Shape
from tests.support.crash_seed import SeedProcess
from tests.support.processes import failures_in
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.base.ids import InfoHash
from torrent_engine.cli.output.render import takes_output
from torrent_engine.disk.state.records import TorrentRecord
from torrent_engine.disk.state.store import StateStore

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGPIPE")

OUTPUT_CLOSED = 141  # 128 + SIGPIPE, as a shell has it
STRANGERS = 40  # two events of 200 bytes each: far more than a pipe of one page holds
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


@pytest.mark.parametrize(
    ("arguments", "closed", "code", "message"),
    [
        (["create", "files/a", "-o", "-"], ">&-", 17, b"cannot write the output: bad file descr"),
        (["show", "-"], "<&-", 26, b"-: no torrent but an empty file"),
        (["download", "-"], "<&-", 26, b"-: no torrent but an empty file"),
    ],
    ids=["create", "show", "download"],
)
def test_data_for_a_descriptor_that_is_closed_is_an_error_and_no_bug(
    tmp_path: Path, arguments: list[str], closed: str, code: int, message: bytes
) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path / "files")
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *command(*arguments)],
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(tmp_path / "home")},
        check=False,
        timeout=50,
    )
    assert (done.returncode, done.stdout) == (code, b"")
    assert done.stderr.startswith(b"torrent-engine: " + message)


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
            assert process.wait(60) == OUTPUT_CLOSED
            assert failures_in(process.stderr.read()) == ""
    record = anyio.run(stored, tmp_path / "state", info_hash)
    if name == "download":
        assert record is not None
        assert record.progress is not None
        assert record.progress.is_clean
        assert any(record.progress.have)


def test_f11_an_output_that_nobody_reads_holds_up_no_torrent(tmp_path: Path) -> None:
    (tmp_path / "a.torrent").write_bytes(METAINFO.source)
    write_files(METAINFO, PAYLOAD, tmp_path / "files")
    reader, writer = os.pipe()
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4_096)
    place = ["--port", "0", "--listen", "127.0.0.1", "--state-dir"]
    seed = command("seed", "a.torrent", "-d", "files", "--json", *place, "seed state")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(seed, stdout=writer, cwd=tmp_path, env=environment) as process:
        os.close(writer)
        with FileIO(reader) as output:
            port = _listen_port(output)
            answered = 0
            while answered < STRANGERS:
                with (
                    suppress(ConnectionError),
                    socket.create_connection(("127.0.0.1", port), timeout=10) as stranger,
                ):
                    stranger.sendall(b"\x13BitTorrent protocol" + bytes(8))
                    stranger.sendall(METAINFO.info_hash + b"-XX0100-" + os.urandom(12))
                    answered += bool(stranger.recv(48))
            leech = command("download", "a.torrent", "-d", "out", "--peer", f"127.0.0.1:{port}")
            code = subprocess.run(
                [*leech, *place, "leech state", "--seed-time", "0", "-q"],
                cwd=tmp_path,
                env=environment,
                timeout=30,
                check=False,
            ).returncode
            process.send_signal(signal.SIGINT)
            while output.read(65_536):
                pass
        process.wait(60)
    assert code == 0


def _listen_port(output: FileIO) -> int:
    """Read line by line until the seed says where it listens, and nothing beyond."""
    while True:
        line = b""
        while not line.endswith(b"\n"):
            byte = output.read(1)
            assert byte, "the seed has ended"
            line += byte
        if (port := json.loads(line).get("listen_port")) is not None:
            return int(port)


def test_a_pipe_that_is_full_takes_no_output_and_one_without_a_reader_fails_at_once() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        assert takes_output(stream)
        os.set_blocking(writer, False)
        with suppress(BlockingIOError):
            while True:
                os.write(writer, bytes(4_096))
        assert not takes_output(stream)
        os.close(reader)
        assert takes_output(stream)
    assert takes_output(stream)
    assert takes_output(None)
