"""``create``: from files to a .torrent."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.cli import torrents
from torrent_engine.cli.main import cli
from torrent_engine.cli.output.exit_codes import ExitCode
from torrent_engine.codec.metainfo import Metainfo


def create(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["create", *map(str, arguments)])


def test_create_writes_name_torrent_and_says_what_it_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torrents.write_payload(tmp_path)
    result = create("stuff")
    assert (result.exit_code, result.stderr) == (0, "")
    metainfo = Metainfo.read("stuff.torrent")
    assert metainfo.is_hybrid
    assert metainfo.content_bytes == sum(map(len, torrents.FILES.values()))
    text = " ".join(result.stdout.split())
    hashes = f"{metainfo.info_hash_v1} and {metainfo.info_hash_v2}"
    assert text == f"stuff.torrent: 74.4 KiB in 7 pieces of 16.0 KiB, info-hash {hashes}"


@pytest.mark.parametrize("kind", ["v1", "v2", "hybrid"])
def test_bep52_a_torrent_of_each_format_is_verified(tmp_path: Path, kind: str) -> None:
    payload, output = torrents.write_payload(tmp_path), tmp_path / "o.torrent"
    result = create(payload, "-o", output, "--format", kind)
    metainfo = Metainfo.read(output)
    hashes = [each for each in (metainfo.info_hash_v1, metainfo.info_hash_v2) if each is not None]
    assert len(hashes) == (2 if kind == "hybrid" else 1)
    assert result.stdout.startswith(f"{output}: 74.4 KiB in ")  # without pads
    assert result.stdout.endswith(f"info-hash {' and '.join(map(str, hashes))}\n")
    checked = CliRunner().invoke(cli, ["verify", str(output), "-d", str(tmp_path)])
    assert (checked.exit_code, checked.stderr) == (0, "")
    with (payload / "c.mkv").open("r+b") as file:
        file.seek(50_000)
        file.write(b"\xff")
    checked = CliRunner().invoke(cli, ["verify", str(output), "-d", str(tmp_path)])
    assert checked.exit_code == ExitCode.CHECK_FAILED
    assert f"{payload}/c.mkv: damaged" in checked.stdout.splitlines()


def test_bep52_a_torrent_without_layers_verifies_nothing(tmp_path: Path) -> None:
    payload, output = torrents.write_payload(tmp_path), tmp_path / "o.torrent"
    create(payload, "-o", output, "--format", "v2", "-s", "16K")
    info_bytes = Metainfo.read(output).info_bytes
    Metainfo.from_info_bytes(info_bytes).write(output)
    checked = CliRunner().invoke(cli, ["verify", str(output), "-d", str(tmp_path)])
    assert checked.exit_code != ExitCode.OK
    assert 'no "piece layers" (BEP 52)' in checked.stderr


def test_the_options_are_in_the_torrent(tmp_path: Path) -> None:
    payload, output = torrents.write_payload(tmp_path), tmp_path / "o.torrent"
    arguments = ["-t", "http://a/announce,udp://b:1", "-t", "http://c/announce", "-p"]
    arguments += ["-c", "hello", "-w", "http://w/", "-s", "64K", "-n", "other", "--source", "tag"]
    assert create(payload, "-o", output, "-q", *arguments).output == ""
    metainfo = Metainfo.read(output)
    assert metainfo.tiers == (("http://a/announce", "udp://b:1"), ("http://c/announce",))
    assert metainfo.is_private
    assert (metainfo.comment, metainfo.name) == ("hello", "other")
    assert metainfo.web_seeds == ("http://w/",)
    assert metainfo.geometry.piece_bytes == 64 * 1024


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    payload = torrents.write_payload(tmp_path)
    first, second = create(payload, "-o", "-"), create(payload, "-o", "-", "--threads", "3")
    assert first.stdout_bytes == second.stdout_bytes
    assert Metainfo.from_bytes(first.stdout_bytes).name == "stuff"


def test_a_torrent_that_is_there_is_only_replaced_by_force(tmp_path: Path) -> None:
    payload, output = torrents.write_payload(tmp_path), tmp_path / "o.torrent"
    output.write_bytes(b"old")
    result = create(payload, "-o", output)
    assert result.exit_code == ExitCode.FILE_EXISTS
    assert result.stderr == f"torrent-engine: {output}: exists already; -f replaces it\n"
    assert output.read_bytes() == b"old"
    assert create(payload, "-o", output, "-f").exit_code == ExitCode.OK
    assert Metainfo.read(output).name == "stuff"
    assert {path.name for path in tmp_path.iterdir()} == {"stuff", "o.torrent"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere"], ExitCode.NOT_FOUND, "nowhere: "),
        (["stuff", "-s", "1000"], ExitCode.BAD_OPTION, "piece size 1000"),
        (["stuff", "-s", "48K", "--format", "v2"], ExitCode.BAD_OPTION, "no power of two"),
        (["stuff", "-t", "ftp://x"], ExitCode.BAD_OPTION, "--tracker: trackers of scheme 'ftp'"),
        (["stuff", "-w", "x"], ExitCode.BAD_OPTION, "web seed 'x'"),
        (["stuff", "stuff/a.bin"], ExitCode.BAD_OPTION, "name the torrent with --name"),
        (["stuff", "-o", "no/such/folder.torrent"], ExitCode.NOT_FOUND, "no such file"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: ExitCode,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    torrents.write_payload(tmp_path)
    result = create(*arguments)
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.exit_code == code
    assert [path.name for path in tmp_path.iterdir()] == ["stuff"]


def test_what_is_left_out_is_listed_and_the_output_never_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    payload = torrents.write_payload(tmp_path)
    monkeypatch.chdir(payload)
    assert create(".", "-q").exit_code == 0
    first = Metainfo.read("stuff.torrent")
    (payload / "link").symlink_to(tmp_path)
    result = create(".", "-f", "--exclude", "*.mkv", "--no-links")
    assert result.stderr.splitlines() == [
        f"torrent-engine: left out: {payload}/c.mkv: excluded",
        f"torrent-engine: left out: {payload}/link: a symbolic link",
        f"torrent-engine: left out: {payload}/stuff.torrent: the torrent that is being made",
    ]
    assert names_of(first) == {"a.bin", "b.txt", "c.mkv", "empty"}
    assert names_of(Metainfo.read("stuff.torrent")) == {"a.bin", "b.txt", "empty"}


def names_of(metainfo: Metainfo) -> set[str]:
    return {entry.path[-1] for entry in metainfo.files if not entry.is_pad}


def test_a_link_out_of_the_folder_is_told(tmp_path: Path) -> None:
    payload = torrents.write_payload(tmp_path)
    (tmp_path / "far").write_bytes(b"1")
    (payload / "link").symlink_to("../far")
    result = create(payload, "-o", tmp_path / "o.torrent")
    told = f"torrent-engine: link out of the folder: {payload}/link -> {tmp_path}/far\n"
    assert (result.exit_code, result.stderr) == (0, told)


@pytest.mark.parametrize("raw", [b"_", b"caf\xe9", b"x" * 255, b"two  blanks\xe3\x80\x80", b"-n"])
def test_a_folder_of_any_name_becomes_a_torrent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raw: bytes
) -> None:
    folder = tmp_path / os.fsdecode(raw)
    folder.mkdir()
    (folder / "f").write_bytes(b"1")
    monkeypatch.chdir(tmp_path)
    result = create("-q", "--", os.fsdecode(raw))
    assert (result.exit_code, result.output) == (0, "")
    (made,) = tmp_path.glob("*.torrent")
    assert Metainfo.read(made).files[0].raw_path == (raw, b"f")
    shown = create("--", os.fsdecode(raw)).stderr
    assert "exists already" in shown
    assert ("two  blanks\u3000" in shown) == raw.startswith(b"two")
    assert ("caf\\xe9" in shown) == (raw == b"caf\xe9")


def test_bep38_similar_torrents_and_collections_are_written_and_shown(tmp_path: Path) -> None:
    payload, output = torrents.write_payload(tmp_path), tmp_path / "o.torrent"
    v2 = "cd" * 32
    arguments = ["--similar", "ab" * 20, "--similar", v2, "--collection", "a", "--collection", "b"]
    assert create(payload, "-o", output, "-q", *arguments).output == ""
    shown = CliRunner().invoke(cli, ["show", str(output)]).stdout.splitlines()
    assert [line.split() for line in shown[-4:]] == [
        ["Similar:", "ab" * 20],
        ["cd" * 20],
        ["Collections:", "a"],
        ["b"],
    ]
    record = json.loads(CliRunner().invoke(cli, ["show", "--json", str(output)]).stdout)
    assert (record["similar"], record["collections"]) == (["ab" * 20, "cd" * 20], ["a", "b"])


@pytest.mark.parametrize("text", ["", "ab", "zz" * 20, "ab" * 33])
def test_bep38_a_similar_torrent_is_named_by_its_info_hash(tmp_path: Path, text: str) -> None:
    payload = torrents.write_payload(tmp_path)
    result = create(payload, "-o", tmp_path / "o.torrent", "--similar", text)
    assert result.exit_code == ExitCode.BAD_OPTION
    assert "--similar" in result.stderr
