"""``torrent-engine magnet``."""

import json
from pathlib import Path

import pytest

from tests.cli import torrents
from tests.cli.test_mistakes import invoke
from torrent_engine.cli.output.exit_codes import ExitCode
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo

TRACKERS = [[b"http://a.example/announce"], [b"udp://b.example:80"]]


@pytest.fixture
def torrent(tmp_path: Path) -> Path:
    return torrents.multi(tmp_path, announce_list=TRACKERS, url_list=[b"http://w.example/"])


def printed(*arguments: object) -> list[str]:
    result = invoke("magnet", *arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout.splitlines()


def test_bep9_a_link_says_all_that_the_torrent_says(torrent: Path) -> None:
    (link,) = printed(torrent)
    assert link == str(Magnet.of(Metainfo.read(torrent)))
    magnet = Magnet.parse(link)
    assert magnet.trackers == ("http://a.example/announce", "udp://b.example:80")
    assert magnet.web_seeds == ("http://w.example/",)
    assert magnet.name == "stuff"


def test_bep9_without_trackers_and_with_peers(torrent: Path) -> None:
    (link,) = printed(torrent, "--no-trackers", "--peer", "h:1", "--peer", "[::1]:2")
    assert Magnet.parse(link).trackers == ()
    assert Magnet.parse(link).peers == (("h", 1), ("::1", 2))


def test_bep53_a_link_that_asks_for_some_files(torrent: Path) -> None:
    (link,) = printed(torrent, "--select-file", "1,3-")
    assert link.endswith("&so=0,2-3")


def test_several_torrents_are_a_line_each_and_a_bad_one_is_told(
    torrent: Path, tmp_path: Path
) -> None:
    result = invoke("magnet", torrent, tmp_path / "nowhere", torrents.single(tmp_path))
    assert result.exit_code == ExitCode.NOT_FOUND
    links = [Magnet.parse(line) for line in result.stdout.splitlines()]
    assert [magnet.name for magnet in links] == ["stuff", "one.bin"]
    assert result.stderr.count("\n") == 1


def test_json_has_the_link_and_what_is_in_it(torrent: Path) -> None:
    (line,) = printed(torrent, "--json")
    metainfo = Metainfo.read(torrent)
    assert json.loads(line) == {
        "name": "stuff",
        "info_hash": metainfo.info_hash.hex(),
        "info_hash_v1": metainfo.info_hash.hex(),
        "info_hash_v2": None,
        "total_bytes": metainfo.total_bytes,
        "magnet": str(Magnet.of(metainfo)),
    }


def test_a_torrent_from_standard_input(torrent: Path) -> None:
    result = invoke("magnet", "-", stdin=torrent.read_bytes())
    assert Magnet.parse(result.stdout).name == "stuff"
