"""``show``: for people and for scripts."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.cli import torrents
from torrent_engine.cli.main import cli
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo


def show(*arguments: object, stdin: bytes = b"") -> str:
    result = CliRunner().invoke(cli, ["show", *map(str, arguments)], input=stdin)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def test_show_has_what_people_ask_for(tmp_path: Path) -> None:
    torrent = torrents.multi(
        tmp_path,
        announce_list=[[b"http://one/announce", b"udp://two:1/announce"], [b"http://three/a"]],
        comment=b"two\nlines",
        created_by=b"somebody",
        creation_date=86_400,
        url_list=[b"http://seed/"],
    )
    info_hash = Metainfo.read(torrent).info_hash.hex()
    assert show(torrent).splitlines() == [
        "Name:      stuff",
        f"Info-hash: {info_hash}",
        "Size:      74.4 KiB (76,200 bytes) in 4 files",
        "Pieces:    5 of 16.0 KiB",
        "Private:   no",
        "Comment:   two lines",
        "Created:   1970-01-02 00:00:00 UTC by somebody",
        "Trackers:  http://one/announce, udp://two:1/announce",
        "           http://three/a",
        "Web seeds: http://seed/",
    ]


def test_files_are_numbered_for_select_file(tmp_path: Path) -> None:
    assert show("--files", torrents.multi(tmp_path)).splitlines() == [
        "1    19.5 KiB  stuff/a.bin",
        "2     4.9 KiB  stuff/sub/b.txt",
        "3         0 B  stuff/sub/empty",
        "4    50.0 KiB  stuff/c.mkv",
    ]


def test_magnet_is_one_line(tmp_path: Path) -> None:
    torrent = torrents.multi(tmp_path)
    assert show("--magnet", torrent) == str(Magnet.of(Metainfo.read(torrent))) + "\n"


def test_json_is_one_line_for_each_torrent(tmp_path: Path) -> None:
    lines = show("--json", torrents.multi(tmp_path), torrents.single(tmp_path)).splitlines()
    many, one = (json.loads(line) for line in lines)
    assert many["piece_count"] == 5
    assert [file["path"] for file in many["files"]][:2] == ["stuff/a.bin", "stuff/sub/b.txt"]
    assert one["files"][0] == {
        "index": 1,
        "path": "one.bin",
        "length_bytes": 40_000,
        "executable": False,
        "hidden": False,
        "symlink_target": None,
    }


def test_a_torrent_may_come_from_stdin(tmp_path: Path) -> None:
    assert "stuff" in show("-", stdin=torrents.multi(tmp_path).read_bytes())


def test_a11_names_cannot_control_the_terminal(tmp_path: Path) -> None:
    name = "evil\x1b]0;owned\x07\u202egpj"
    files = {f"{name}.txt": b"x", "[bold]markup[/bold]": b"y"}
    torrent = torrents.write_torrent(
        tmp_path / "evil.torrent",
        torrents.info_of(name, files),
        comment=b"\x1b[2J\x9b2J",
        created_by=b"\x1b[31m",
    )
    output = show(torrent) + show("--files", torrent) + show("--json", torrent)
    assert not {"\x1b", "\x07", "\x9b", "\u202e"}.intersection(output)
    assert "[bold]markup[/bold]" in output


@pytest.mark.parametrize("time_s", [-1, 10**15])
def test_an_impossible_date_is_left_out(tmp_path: Path, time_s: int) -> None:
    assert "Created" not in show(torrents.multi(tmp_path, creation_date=time_s))
