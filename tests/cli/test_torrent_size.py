"""Every way in to a .torrent: gzip and ``--max-torrent-size``."""

import gzip
import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import anyio
import pytest
from click.testing import CliRunner

from tests.cli import torrents
from torrent_engine.base.config import SharedConfig, torrent_limits
from torrent_engine.base.errors import BencodeError, ConfigError, HttpError, MetainfoError
from torrent_engine.cli.main import cli
from torrent_engine.cli.output.exit_codes import ExitCode
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.session.torrent_loader import load_torrent
from torrent_engine.net.http.client import HttpClient
from torrent_engine.service import sources
from torrent_engine.service.watch_folder import read_torrents

pytestmark = pytest.mark.anyio

LONG = 3_000_000
"""Length of a comment that makes a torrent longer than ``--max-torrent-size 1M``."""


class Pages(http.server.BaseHTTPRequestHandler):
    """Serves a torrent plainly, as a gzip file, with a content encoding, both, and a web page."""

    plain = b""

    def do_GET(self) -> None:
        packed = gzip.compress(self.plain)
        body = {
            "/plain": self.plain,
            "/file.gz": packed,
            "/encoded": packed,
            "/both": gzip.compress(packed),
            "/page": b"<!DOCTYPE html><title>Log in</title>",
        }[self.path]
        self.send_response(200)
        if self.path in {"/encoded", "/both"}:
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def long_torrent(tmp_path: Path) -> Path:
    return torrents.multi(tmp_path, comment=b"c" * LONG)


@pytest.fixture
def server(long_torrent: Path) -> Iterator[str]:
    handler = type("ThesePages", (Pages,), {"plain": long_torrent.read_bytes()})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        thread = threading.Thread(target=partial(listening.serve_forever, 0.02))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_address[1]}"
        finally:
            listening.shutdown()
            thread.join()


@pytest.mark.parametrize("command", ["show", "magnet", "verify", "scrape"])
@pytest.mark.parametrize("is_packed", [False, True])
def test_a_command_refuses_a_longer_torrent_than_it_is_told(
    command: str, is_packed: bool, long_torrent: Path, tmp_path: Path
) -> None:
    if is_packed:
        long_torrent.write_bytes(gzip.compress(long_torrent.read_bytes()))
    arguments = [command, "--max-torrent-size", "1M", str(long_torrent)]
    refused = CliRunner().invoke(cli, arguments, env={"XDG_STATE_HOME": str(tmp_path)})
    assert refused.exit_code in {ExitCode.BAD_BENCODE, ExitCode.BAD_TORRENT}
    assert "more than 1048576" in refused.stderr
    arguments[2] = "4M"
    taken = CliRunner().invoke(cli, arguments, env={"XDG_STATE_HOME": str(tmp_path)})
    assert "more than" not in taken.stderr


def test_standard_input_is_read_no_further_than_the_limit(long_torrent: Path) -> None:
    data = long_torrent.read_bytes()
    told = ["show", "--max-torrent-size", "1M", "-"]
    assert CliRunner().invoke(cli, told, input=data).exit_code == ExitCode.BAD_BENCODE
    assert CliRunner().invoke(cli, ["show", "-"], input=gzip.compress(data)).exit_code == 0


@pytest.mark.parametrize("size", ["0", "513M", "x", "-1"])
def test_a_limit_that_makes_no_sense_is_refused(size: str, long_torrent: Path) -> None:
    told = ["show", "--max-torrent-size", size, str(long_torrent)]
    assert CliRunner().invoke(cli, told).exit_code == ExitCode.BAD_OPTION


def test_a_variable_of_the_environment_sets_the_limit(long_torrent: Path) -> None:
    told = {"TORRENT_ENGINE_MAX_TORRENT_SIZE": "1M"}
    found = CliRunner().invoke(cli, ["show", str(long_torrent)], env=told)
    assert found.exit_code == ExitCode.BAD_BENCODE


def test_a_watched_folder_has_the_limit_too(long_torrent: Path) -> None:
    (fault,) = read_torrents(long_torrent, 1 << 20).errors
    assert "more than 1048576" in str(fault)
    assert len(read_torrents(long_torrent).torrents) == 1


@pytest.mark.parametrize("path", ["/plain", "/file.gz", "/encoded", "/both"])
async def test_a_url_is_unpacked_and_limited(server: str, path: str, long_torrent: Path) -> None:
    loaded = await sources.load(server + path)
    assert loaded == Metainfo.read(long_torrent)
    with pytest.raises((HttpError, BencodeError, MetainfoError), match="more than 1048576"):
        await sources.load(server + path, max_bytes=1 << 20)


async def test_a_web_page_at_a_url_is_named(server: str) -> None:
    with pytest.raises(MetainfoError, match="HTML page"):
        await sources.load(server + "/page")


@pytest.mark.parametrize("is_packed", [False, True])
async def test_the_library_has_the_limit_of_its_configuration(
    is_packed: bool, long_torrent: Path, server: str
) -> None:
    limits, client = torrent_limits(1 << 20), HttpClient(SharedConfig().tracker)
    data = await anyio.Path(long_torrent).read_bytes()
    if is_packed:
        data = gzip.compress(data)
        await anyio.Path(long_torrent).write_bytes(data)
    for source in (long_torrent, data, server + "/plain"):
        with pytest.raises((HttpError, BencodeError, MetainfoError), match="more than 1048576"):
            await load_torrent(source, lambda: client, limits)
        with anyio.fail_after(60):
            assert isinstance(await load_torrent(source, lambda: client), Metainfo)


async def test_shared_resources_tell_the_limit_and_refuse_a_senseless_one() -> None:
    assert SharedResources(SharedConfig(max_torrent_bytes=7)).torrent_limits.max_bytes == 7
    with pytest.raises(ConfigError, match="not within"):
        _ = SharedResources(SharedConfig(max_torrent_bytes=1 << 40)).torrent_limits
