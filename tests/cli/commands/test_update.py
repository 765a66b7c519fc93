"""``update``, and what ``create`` and ``show`` say of feeds (BEP 39)."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.cli.test_mistakes import invoke
from tests.support.feeds import URL, originator, signed_version, version
from tests.support.signers import certificate_pem
from torrent_engine.cli.output.exit_codes import ExitCode
from torrent_engine.codec.metainfo import Metainfo


class FeedHandler(BaseHTTPRequestHandler):
    """Answers with the body of its server."""

    def do_GET(self) -> None:
        body = self.server.body  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def feed():
    server = ThreadingHTTPServer(("127.0.0.1", 0), FeedHandler)
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def torrent(tmp_path: Path, feed) -> Path:
    path = tmp_path / "old.torrent"
    version(1, f"http://127.0.0.1:{feed.server_port}/feed").write(path)
    return path


def update(torrent: Path, *more: object):
    return invoke("update", torrent, "--allow-private", *more)


def test_bep39_a_newer_version_is_written(torrent: Path, feed) -> None:
    newer = signed_version(2)
    feed.body = newer.source
    output = torrent.with_name("new.torrent")
    result = update(torrent, "-o", output)
    assert (result.exit_code, result.stderr) == (0, "")
    assert newer.info_hash.hex() in "".join(result.stdout.split())
    assert output.read_bytes() == newer.source
    assert update(torrent, "-o", output).exit_code == ExitCode.FILE_EXISTS
    assert update(torrent, "-o", "-").stdout_bytes == newer.source


def test_bep39_nothing_newer_ends_with_3(torrent: Path, feed) -> None:
    feed.body = torrent.read_bytes()
    result = update(torrent, "-o", torrent.with_name("new.torrent"))
    assert (result.exit_code, result.stderr.count("\n")) == (ExitCode.NOT_FOUND, 1)
    assert not torrent.with_name("new.torrent").exists()


def test_bep39_what_is_not_signed_is_not_written(torrent: Path, feed) -> None:
    feed.body = version(2).source
    result = update(torrent, "-o", torrent.with_name("new.torrent"))
    assert result.exit_code == ExitCode.CHECK_FAILED
    assert "not signed by the originator" in " ".join(result.stderr.split())
    assert not torrent.with_name("new.torrent").exists()


def test_bep39_feeds_at_private_addresses_need_an_option(torrent: Path, feed) -> None:
    feed.body = signed_version(2).source
    assert invoke("update", torrent, "-o", "-").exit_code == ExitCode.NETWORK


def test_bep39_a_torrent_without_feed_or_originator_is_told(tmp_path: Path) -> None:
    version(1, "ftp://h/").write(tmp_path / "a.torrent")
    version(1, originator=None).write(tmp_path / "b.torrent")
    assert update(tmp_path / "a.torrent").exit_code == ExitCode.NOT_FOUND
    assert update(tmp_path / "b.torrent").exit_code == ExitCode.BAD_OPTION


def test_bep39_create_names_feed_and_originator_and_show_has_them(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"x" * 40_000)
    (tmp_path / "own.crt").write_bytes(certificate_pem(originator()))
    torrent = tmp_path / "x.torrent"
    options = ["--update-url", URL, "--originator", tmp_path / "own.crt", "-o", torrent]
    assert invoke("create", tmp_path / "data", *options).exit_code == ExitCode.OK
    metainfo = Metainfo.read(torrent)
    assert (metainfo.update_url, metainfo.originator) == (URL, originator().der)
    shown = invoke("show", torrent).stdout
    assert f"Feed:         {URL}" in shown
    assert "Originator:   com.example (certificate" in shown
    record = json.loads(invoke("show", "--json", torrent).stdout)
    assert record["update_url"] == URL
    assert record["originator_sha256"] == originator().fingerprint
