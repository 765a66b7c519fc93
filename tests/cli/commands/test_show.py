"""``show``: for people and for scripts."""

import json
from hashlib import sha1, sha256
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.cli import torrents
from tests.support.torrents import payload_of
from tests.support.v2_torrents import hybrid_info, torrent_around, v2_info
from torrent_engine.cli.main import cli
from torrent_engine.cli.output.exit_codes import ExitCode
from torrent_engine.codec.bencode import encode
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
        "pieces_root": None,
        "piece_layers": None,
    }
    assert (one["meta_version"], one["info_hash_v1"], one["info_hash_v2"]) == (
        1,
        one["info_hash"],
        None,
    )


V2_FILES = {"a": payload_of(40_000), "d/b": b"", "d/c": payload_of(5)}


def written(path: Path, info: dict[str, Any], layers: dict[bytes, bytes] | None) -> Path:
    path.write_bytes(torrent_around(info, layers))
    return path


def test_bep52_v2_alone_is_shown(tmp_path: Path) -> None:
    info, layers = v2_info(V2_FILES)
    info_hash = sha256(encode(info)).hexdigest()
    assert show(written(tmp_path / "v2", info, layers)).splitlines() == [
        "Name:         payload",
        "Version:      v2",
        f"Info-hash v2: {info_hash}",
        "Size:         39.1 KiB (40,005 bytes) in 3 files",
        "Pieces:       4 of 16.0 KiB",
        "Layers:       complete",
        "Private:      no",
    ]
    assert "Layers:       missing for 1 of 1 files" in show(written(tmp_path / "x", info, None))
    link = show("--magnet", tmp_path / "v2").strip()
    assert link == f"magnet:?xt=urn:btmh:1220{info_hash}&dn=payload&xl=40005"
    assert magnet(tmp_path / "v2") == link


def test_bep52_both_hashes_of_a_hybrid_are_shown(tmp_path: Path) -> None:
    info, layers = hybrid_info(V2_FILES)
    torrent = written(tmp_path / "hybrid", info, layers)
    v1, v2 = sha1(encode(info)).hexdigest(), sha256(encode(info)).hexdigest()
    assert show(torrent).splitlines()[:5] == [
        "Name:         payload",
        "Version:      hybrid (v1 and v2)",
        f"Info-hash v1: {v1}",
        f"Info-hash v2: {v2}",
        "Size:         39.1 KiB (40,005 bytes) in 3 files",  # without pads
    ]
    assert magnet(torrent).startswith(f"magnet:?xt=urn:btih:{v1}&xt=urn:btmh:1220{v2}&")


@pytest.mark.parametrize("make", [v2_info, hybrid_info])
def test_bep47_json_has_the_size_with_and_without_pads(tmp_path: Path, make: Any) -> None:
    record = json.loads(show("--json", written(tmp_path / "x", *make(V2_FILES))))
    metainfo = Metainfo.read(tmp_path / "x")
    pads = sum(entry.length_bytes for entry in metainfo.files if entry.is_pad)
    assert (
        record["content_bytes"] == sum(file["length_bytes"] for file in record["files"]) == 40_005
    )
    assert record["total_bytes"] == 40_005 + pads
    assert bool(pads) == (make is hybrid_info)


@pytest.mark.parametrize("make", [v2_info, hybrid_info])
def test_bep52_json_has_both_hashes_and_the_layers(tmp_path: Path, make: Any) -> None:
    info, layers = make(V2_FILES)
    is_hybrid = "pieces" in info
    record = json.loads(show("--json", written(tmp_path / "x", info, layers)))
    v1, v2 = sha1(encode(info)).hexdigest(), sha256(encode(info)).hexdigest()
    assert record["info_hash"] == (v1 if is_hybrid else v2[:40])
    assert record["info_hash_v1"] == (v1 if is_hybrid else None)
    assert (record["info_hash_v2"], record["meta_version"], record["hybrid"]) == (v2, 2, is_hybrid)
    assert [each["piece_layers"] for each in record["files"]] == [
        "present",
        "not_needed",
        "not_needed",
    ]
    roots = [each["pieces_root"] for each in record["files"]]
    assert roots[0] == next(iter(layers)).hex()
    assert roots[1] is None
    assert roots[2] == sha256(V2_FILES["d/c"]).hexdigest()


def magnet(torrent: Path, *arguments: str, exit_code: int = 0) -> str:
    result = CliRunner().invoke(cli, ["magnet", str(torrent), *arguments])
    assert result.exit_code == exit_code
    return (result.stdout + result.stderr).strip()


def test_bep52_the_link_of_a_v2_torrent_selects_no_files(tmp_path: Path) -> None:
    torrent = written(tmp_path / "v2", *v2_info(V2_FILES))
    said = magnet(torrent, "--select-file", "1", exit_code=ExitCode.BAD_OPTION)
    assert "different ways" in " ".join(said.split())


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
