"""--select-file and -o."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli import fakes, torrents
from torrent_engine.base.errors import ConfigError
from torrent_engine.cli.selection import file_priorities, renamed_files
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


def test_bep47_pad_files_are_no_choice_of_a_pattern() -> None:
    entries = (fakes.FakeEntry(("t", "a")), fakes.FakeEntry(("t", ".pad", "7"), is_pad=True))
    metainfo = fakes.fake_metainfo("t")
    metainfo.files = entries
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
