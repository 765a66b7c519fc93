"""--select-file and -o."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli import fakes, torrents
from torrent_engine.base.errors import ConfigError
from torrent_engine.cli.commands import download
from torrent_engine.cli.options.selection import (
    file_priorities,
    parse_file_priority,
    renamed_files,
    with_priorities,
)
from torrent_engine.cli.tasks.transfers import session_config
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo


@pytest.fixture
def stuff(tmp_path: Path) -> Metainfo:
    return Metainfo.read(torrents.multi(tmp_path))


@pytest.mark.parametrize(
    ("selections", "priorities"),
    [
        ([], None),
        (["1"], (4, 0, 0, 0)),
        (["1-3"], (4, 4, 4, 0)),
        (["2-"], (0, 4, 4, 4)),
        (["1,4", "2"], (4, 4, 0, 4)),
        (["*.mkv"], (0, 0, 0, 4)),
        (["sub/*"], (0, 4, 4, 0)),
        (["stuff/sub/b.txt"], (0, 4, 0, 0)),
        (["b.txt, 1"], (4, 4, 0, 0)),
        (["?.*"], (4, 4, 0, 4)),
    ],
)
def test_selections(
    stuff: Metainfo, selections: list[str], priorities: tuple[int, ...] | None
) -> None:
    assert file_priorities(stuff, selections) == priorities


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ("0", "no file 0; the torrent has 4 files"),
        ("5", "no file 5; the torrent has 4 files"),
        ("3-2", "no file 3-2"),
        ("1-9", "no file 1-9"),
        ("*.iso", "no file matches '*.iso'"),
        (",", "nothing is selected"),
    ],
)
def test_a_selection_that_meets_no_file_is_refused(
    stuff: Metainfo, selection: str, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        file_priorities(stuff, [selection])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("selections", "values", "priorities"),
    [
        ([], [], None),
        (["1"], [], (4, 0, 0, 0)),
        ([], ["2=high"], (4, 7, 4, 4)),
        ([], ["1-3=LOW", "*.mkv=skip"], (1, 1, 1, 0)),
        ([], ["1-=skip", "2,4=6"], (0, 6, 0, 6)),
        (["1-2"], ["2=high", "3=1"], (4, 7, 1, 0)),
        (["1-2"], ["2=0"], (4, 0, 0, 0)),
        ([], ["*=low", "1=normal"], (4, 1, 1, 1)),
    ],
)
def test_priorities_of_files(
    stuff: Metainfo, selections: list[str], values: list[str], priorities: tuple[int, ...] | None
) -> None:
    named = [parse_file_priority(value) for value in values]
    assert with_priorities(stuff, selections, named) == priorities


def test_bep53_priorities_keep_to_what_a_link_selects(stuff: Metainfo) -> None:
    assert with_priorities(stuff, [], [("2", 7)], (0, 1, 9)) == (4, 7, 0, 0)
    assert with_priorities(stuff, ["4"], [("2", 7)], (0, 1)) == (0, 7, 0, 4)
    assert with_priorities(stuff, [], [("2", 7)], (9,)) == (4, 7, 4, 4)
    assert with_priorities(stuff, [], [], (0,)) is None  # the engine does what the link says


@pytest.mark.parametrize("value", ["3", "3=", "=high", ",=high", "3=8", "3=-1", "3=hi", "3=\u0664"])
def test_what_is_no_priority_of_files_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="is not LIST=PRIORITY"):
        parse_file_priority(value)


def test_a_priority_of_no_file_is_refused(stuff: Metainfo) -> None:
    with pytest.raises(ConfigError, match="--file-priority: no file matches"):
        with_priorities(stuff, [], [("*.iso", 7)])


def test_a_pattern_may_hold_an_equals_sign() -> None:
    assert parse_file_priority("a=b.txt=high") == ("a=b.txt", 7)


@pytest.mark.parametrize("is_link", [False, True], ids=["torrent", "link"])
def test_a_download_is_told_the_priorities_of_files(stuff: Metainfo, *, is_link: bool) -> None:
    arguments = ["x", "--file-priority", "2=high", "--file-priority", "4=skip"]
    torrent = Magnet(stuff.info_hash) if is_link else stuff
    with download.command.make_context("test", arguments) as context:
        config = session_config({**context.params, "seeds_by_default": False}, (), torrent)
    given = config.file_priorities
    if config.file_priorities_of is not None:
        given = config.file_priorities_of(stuff)
    assert given == (4, 7, 4, 0)


def test_bep47_pad_files_are_no_choice_of_a_pattern() -> None:
    entries = (fakes.FakeEntry(("t", "a")), fakes.FakeEntry(("t", ".pad", "7"), is_pad=True))
    metainfo = fakes.fake_metainfo("t")
    metainfo.files = fakes.FakeFiles(entries)
    assert file_priorities(metainfo, ["*"]) == (4, 0)


def test_the_file_of_a_single_file_torrent_takes_a_plain_name(tmp_path: Path) -> None:
    metainfo = Metainfo.read(torrents.single(tmp_path))
    assert renamed_files(metainfo, ["new name"]) == ((0, "new name"),)
    assert renamed_files(metainfo, ["1=sub/new"]) == ((0, "sub/new"),)
    assert renamed_files(metainfo, []) == ()


def test_files_of_many_are_named_by_index(stuff: Metainfo) -> None:
    assert renamed_files(stuff, ["4=film.mkv", "1=x/y"]) == ((0, "x/y"), (3, "film.mkv"))


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (["name"], "say which one"),
        (["0=a"], "no file 0"),
        (["5=a"], "no file 5"),
        (["1=/etc/passwd"], "no path below"),
        (["1=../a"], "no path below"),
        (["1=a//b"], "no path below"),
        (["1="], "no path below"),
        (["1=a\0b"], "no path below"),
        (["1=a", "1=b"], "named twice"),
        (["1=a", "2=a"], "two files would be 'a'"),
        (["1=stuff/c.mkv"], "two files would be 'stuff/c.mkv'"),
    ],
)
def test_a_bad_rename_is_refused(stuff: Metainfo, outputs: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        renamed_files(stuff, outputs)
    assert message in str(caught.value)


ENTRIES = fakes.fake_metainfo("t", "t/a", "t/b")


@given(st.lists(st.text("0123456789-=,*[]!/.ab\0", max_size=12), max_size=3))
def test_nothing_but_config_error_escapes(texts: list[str]) -> None:
    for parse in (file_priorities, renamed_files):
        try:
            parse(ENTRIES, texts)
        except ConfigError as error:
            assert str(error).startswith(("-o", "--select-file"))  # noqa: PT017
