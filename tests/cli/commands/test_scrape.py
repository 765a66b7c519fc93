"""``scrape`` against a tracker of the test, and where the DNS says that it is (BEP 34)."""

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.cli import torrents
from torrent_engine.cli.main import cli
from torrent_engine.cli.output.exit_codes import ExitCode
from torrent_engine.codec.bencode import encode
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.net.tracker import client, preferences
from torrent_engine.net.tracker.preferences import TxtRecords

HERE = "127.0.0.1"


@pytest.fixture
def torrent(tmp_path: Path) -> Path:
    return torrents.multi(tmp_path)


@pytest.fixture
def port(torrent: Path) -> Iterator[int]:
    counts = {"complete": 3, "incomplete": 2, "downloaded": 7}
    body = encode({"files": {bytes(Metainfo.read(torrent).info_hash): counts}})

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path.startswith("/scrape?info_hash=") else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer((HERE, 0), Answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def scrape(torrent: Path, url: str, *options: str) -> Result:
    return CliRunner().invoke(cli, ["scrape", str(torrent), "--json", "--tracker", url, *options])


def test_bep48_counts_of_a_tracker_are_shown(torrent: Path, port: int) -> None:
    done = scrape(torrent, f"http://{HERE}:{port}/announce")
    assert done.exit_code == ExitCode.OK, done.output
    (answer,) = json.loads(done.stdout)["trackers"]
    assert (answer["seeds"], answer["leeches"], answer["downloads"]) == (3, 2, 7)


@pytest.mark.parametrize("options", [["--tracker-dns"], []], ids=["asked", "not-asked"])
def test_bep34_the_dns_is_asked_with_the_option_alone(
    options: list[str], torrent: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def look_up(name: str) -> TxtRecords:
        asked.append(name)
        return TxtRecords([b"BITTORRENT TCP:%d" % port])

    async def here(host: str, port: int) -> list[str]:
        del host, port
        return [HERE]

    monkeypatch.setattr(preferences, "look_up_txt", look_up)
    opened = partial(client.open_tracker_client, resolver=here)
    monkeypatch.setattr(client, "open_tracker_client", opened)
    url = "http://t.example/announce" if options else f"http://t.example:{port}/announce"
    done = scrape(torrent, url, *options)
    assert done.exit_code == ExitCode.OK, done.output
    assert asked == ["t.example"] * len(options)
