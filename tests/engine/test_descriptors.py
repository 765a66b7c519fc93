"""Row F9: a process with few descriptors downloads on, with fewer links."""

import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from random import Random

import anyio
import pytest

from tests.support.crash import MIB, ROOT, Shape, wrong_bytes
from tests.support.crash_seed import SeedProcess
from tests.support.processes import free_port
from tests.support.swarm import shared_config
from torrent_engine.base.config import PoolConfig
from torrent_engine.base.ids import PeerAddress
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.net.sockets import descriptors
from torrent_engine.net.sockets import tcp as streams

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs many loopback addresses")

PEERS = 100
LIMITED = """
import resource, runpy, sys
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
runpy.run_module("torrent_engine", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("file_count", [1, 300], ids=["one file", "many files"])
@pytest.mark.parametrize("limit", [48, 64, 1024])
def test_f9_a_download_from_a_hundred_peers_completes_with_few_descriptors(
    tmp_path: Path, limit: int, file_count: int
) -> None:
    """A hundred more connect and say nothing."""
    shape = Shape(4 * MIB, file_count, piece_bytes=32 * 1024, bytes_per_s=4 * MIB)
    metainfo = shape.make(tmp_path, Random(limit))
    port = free_port()
    arguments = ["download", str(tmp_path / "x.torrent"), "-d", str(tmp_path / "saved")]
    arguments += ["--port", str(port), "--listen", "127.0.0.1", "--state-dir"]
    arguments.append(str(tmp_path / "state"))
    with ExitStack() as stack:
        hosts = [f"127.0.0.{number}" for number in range(1, PEERS + 1)]
        seed = stack.enter_context(SeedProcess(tmp_path, hosts, shape.bytes_per_s))
        peers = [word for address in seed.addresses for word in ("--peer", address)]
        child = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", LIMITED, str(limit), *arguments, *peers],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=ROOT,
            )
        )
        stack.callback(child.kill)
        silent: list[socket.socket] = []
        while child.poll() is None and len(silent) < PEERS:
            try:
                silent.append(socket.create_connection(("127.0.0.1", port), 5))
            except OSError:
                if silent:  # it is complete, and listens no more
                    with pytest.raises(OSError, match="refused"):
                        socket.create_connection(("127.0.0.1", port), 5)
                    break
            else:
                stack.callback(silent[-1].close)
        output, _ = child.communicate(timeout=50)
        assert child.returncode == 0, output
    assert "Too many open files" not in output
    assert wrong_bytes(metainfo, tmp_path) == 0


def test_f9_links_are_as_many_as_the_limit_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "torrent_engine.engine.resources.pools.raise_descriptor_limit",
        lambda _needed: 64,
    )
    shared = SharedResources(shared_config(tmp_path, pool=PoolConfig(max_connections=500)))
    assert shared.connection_slots.limit == 24
    assert shared.open_files._limit == 4


def test_f9_the_soft_limit_is_raised_as_far_as_is_needed() -> None:
    program = (
        "import resource\n"
        "from torrent_engine.net.sockets.descriptors import raise_descriptor_limit\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 512))\n"
        "print(*(raise_descriptor_limit(needed) for needed in (60, 300, 200, 900)))\n"
        "print(*resource.getrlimit(resource.RLIMIT_NOFILE))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == ["64", "300", "300", "512", "512", "512"]


@pytest.mark.anyio
async def test_f9_accepting_pauses_where_the_rest_is_for_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []
    taken: list[PeerAddress] = []
    is_reserved = iter([True, True, False])

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(streams, "is_reserved", lambda _sock: next(is_reserved))
    monkeypatch.setattr("torrent_engine.net.sockets.tcp.anyio.sleep", pause)
    (listener,) = streams.listen(["127.0.0.1"], 0)
    with ExitStack() as stack:
        stack.callback(listener.close)
        for _ in range(3):
            stack.enter_context(socket.create_connection(listener.getsockname()))
        with anyio.move_on_after(10) as scope:

            def take(sock: socket.socket, address: PeerAddress) -> bool:
                sock.close()
                taken.append(address)
                scope.cancel()
                return True

            await streams.accept_forever(listener, take)
    assert len(taken) == 1
    assert pauses == [streams.ACCEPT_PAUSE_S] * 2


def test_f9_a_socket_is_reserved_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as sock:
        number = sock.fileno()
        monkeypatch.setattr(descriptors, "descriptor_limit", lambda: number + 16)
        assert descriptors.is_reserved(sock)
        monkeypatch.setattr(descriptors, "descriptor_limit", lambda: max(4 * number, number + 17))
        assert not descriptors.is_reserved(sock)
