"""Which torrents arguments, folders and lists name."""

import io
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.cli import torrents
from tests.cli.test_mistakes import LOCAL, invoke
from torrent_engine.base.errors import ConfigError
from torrent_engine.cli.output.exit_codes import ExitCode
from torrent_engine.service import source_list

LINK = f"magnet:?xt=urn:btih:{'0' * 40}&dn=a+name"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_any_mixture_keeps_its_order_and_names_each_source_once(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("b.torrent", "a.TORRENT", ".hidden.torrent", "other.txt"):
        (folder / name).write_bytes(b"")
    (folder / "c.torrent").mkdir()
    (tmp_path / "list.txt").write_text(f"{LINK}\nx.torrent\nhttp://host/y.torrent\n")
    arguments = ["x.torrent", "-", "folder", "0" * 40, "x.torrent"]
    assert source_list.expanded(arguments, ["list.txt"]) == [
        "x.torrent",
        "-",
        "folder/a.TORRENT",
        "folder/b.torrent",
        "0" * 40,
        LINK,
        "http://host/y.torrent",
    ]


LISTS = {
    "comments_and_blanks": (b"# one\n\n  a\n#b\n\tc \n", ["a", "c"]),
    "windows": (b"\xef\xbb\xbfa\r\nb\r\n", ["a", "b"]),
    "no_newline_at_the_end": (b"a\nb", ["a", "b"]),
    "no_utf8": (b"\xff.torrent", [os.fsdecode(b"\xff.torrent")]),
    "empty": (b"", []),
    "a_name_like_bencode": (b"d1.torrent\n", ["d1.torrent"]),
}


@pytest.mark.parametrize(("data", "expected"), LISTS.values(), ids=LISTS)
def test_a_list_has_a_source_a_line(tmp_path: Path, data: bytes, expected: list[str]) -> None:
    (tmp_path / "list").write_bytes(data)
    assert source_list.expanded([], ["list"]) == expected


NO_LISTS = {
    "binary": (b"a\0b", "is no text with a torrent a line"),
    "bencode": (b"d8:announce3:abce", "is no text with a torrent a line"),
    "endless": (b"a\n" * (source_list.MAX_LIST_BYTES // 2 + 1), "is longer than 16 MiB"),
}


@pytest.mark.parametrize(("data", "message"), NO_LISTS.values(), ids=NO_LISTS)
def test_what_is_no_list_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "list").write_bytes(data)
    with pytest.raises(ConfigError, match=message):
        source_list.expanded([], ["list"])


def test_a_list_may_come_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"a\nb\n")))
    assert source_list.expanded(["c"], ["-"]) == ["c", "a", "b"]


@pytest.mark.parametrize(
    ("arguments", "lists"),
    [(["-"], ["-"]), (["-", "-"], []), ([], ["-", "-"]), (["-"], ["list"]), ([], ["list", "list"])],
)
def test_standard_input_is_read_once(
    tmp_path: Path, arguments: list[str], lists: list[str]
) -> None:
    (tmp_path / "list").write_text("-\n")
    with pytest.raises(ConfigError, match="given twice"):
        source_list.expanded(arguments, lists)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-i", "nowhere"], ExitCode.NOT_FOUND, "nowhere: no such file or directory"),
        (["-i", "."], ExitCode.IO_ERROR, ".: is a directory"),
        (["empty"], ExitCode.BAD_TORRENT, "empty: is a folder, not a .torrent"),
        (["-i", "list", "-o", "x"], ExitCode.BAD_OPTION, "several torrents are given"),
        (["x", "-j", "-1"], ExitCode.BAD_OPTION, "-j"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, arguments: list[str], code: ExitCode, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "list").write_text("a\nb\n")
    result = invoke("download", *arguments, *LOCAL)
    assert (result.exit_code, result.stderr.count("\n")) == (code, 1)
    assert message in result.stderr


def test_an_empty_list_is_nothing_to_do(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("# nothing yet\n")
    result = invoke("download", "-i", "list", *LOCAL)
    assert (result.exit_code, result.stderr) == (ExitCode.OK, "")


def test_every_kind_of_source_in_one_command(tmp_path: Path) -> None:
    torrents.write_payload(tmp_path)
    (tmp_path / "folder").mkdir()
    paths = [torrents.multi(tmp_path), torrents.single(tmp_path / "folder", "one.bin")]
    (tmp_path / "one.bin").write_bytes(b"x" * 40_000)
    (tmp_path / "list").write_text(f"{paths[0]}\nmissing.torrent\n")
    stdin = torrents.single(tmp_path, "two.bin", b"y" * 20_000).read_bytes()
    (tmp_path / "two.bin").write_bytes(b"y" * 20_000)
    result = invoke("download", "-", "folder", "-i", "list", *LOCAL, "--no-web-seeds", stdin=stdin)
    assert result.exit_code == ExitCode.NOT_FOUND
    assert result.stderr == "torrent-engine: missing.torrent: no such file or directory\n"
    names = sorted(line.partition(":")[0] for line in result.stdout.splitlines())
    assert names == ["one.bin", "stuff", "two.bin"]
