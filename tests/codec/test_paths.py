import ntpath
import os
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torrent_engine.base.errors import MetainfoError
from torrent_engine.codec.paths import (
    COARSEST,
    EXACT,
    MAX_ELEMENT_BYTES,
    MAX_PATH_BYTES,
    NameFolding,
    clean_path,
    colliding,
    escape_for_terminal,
    long_windows_path,
    resolve_collisions,
    windows_path,
)

CLEANED = {
    "plain": ([b"a", b"b.txt"], ("a", "b.txt")),
    "dot_dot": ([b"..", b"..", b"etc", b"passwd"], ("etc", "passwd")),
    "only_dot_dot": ([b".."], ("_",)),
    "dot_and_empty": ([b".", b"", b"a"], ("a",)),
    "nothing": ([], ("_",)),
    "absolute": ([b"/etc/passwd"], ("_etc_passwd",)),
    "slash_inside": ([b"a/../../b"], ("a_.._.._b",)),
    "drive_kept": ([b"C:\\", b"x"], ("C:\\", "x")),
    "unc_kept": ([b"\\\\?\\C:\\x"], ("\\\\?\\C:\\x",)),
    "nul": ([b"a\x00.txt"], ("a_.txt",)),
    "escape_a11": ([b"a\x1b[31m"], ("a_[31m",)),
    "c1_a11": (["a\x9bb".encode()], ("a_b",)),
    "newline_a11": ([b"a\nb"], ("a_b",)),
    "override_a11": (["photo\u202egpj.exe".encode()], ("photogpj.exe",)),
    "isolate_a11": (["a\u2066b\u2069".encode()], ("ab",)),
    "hidden_dot_dot_a11": ([".\u202e.".encode()], ("_",)),
    "dots_with_a_mark_kept": ([".\u200b.".encode()], (".\u200b.",)),
    "emoji_joined_kept": (
        ["\U0001f468\u200d\U0001f469.png".encode()],
        ("\U0001f468\u200d\U0001f469.png",),
    ),
    "persian_non_joiner_kept": (
        ["\u0645\u06cc\u200c\u062e.txt".encode()],
        ("\u0645\u06cc\u200c\u062e.txt",),
    ),
    "direction_marks_kept": (["a\u200e\u200f\u061cb".encode()], ("a\u200e\u200f\u061cb",)),
    "other_spaces_kept": (["\u3000a\xa0b ".encode()], ("\u3000a\xa0b ",)),
    "replacement_character_kept": (["a\ufffd".encode()], ("a\ufffd",)),
    "underscore_kept": ([b"_"], ("_",)),
    "longest_kept": ([b"x" * 255], ("x" * 255,)),
    "invalid_utf8": ([b"a\xff\xfeb"], ("a__b",)),
    "overlong_slash": ([b"a\xc0\xafb"], ("a__b",)),
    "unicode_kept": (["\u65e5\u672c.txt".encode()], ("\u65e5\u672c.txt",)),
    "trailing_dot_kept": ([b"a."], ("a.",)),
    "reserved_kept": ([b"CON"], ("CON",)),
}
CLEANED_FOR_WINDOWS = {
    "con": (b"CON", "_CON"),
    "con_lower_with_extension": (b"con.txt", "_con.txt"),
    "con_space": (b"con .txt", "_con .txt"),
    "com1": (b"COM1.tar.gz", "_COM1.tar.gz"),
    "com_superscript": ("COM\u00b9".encode(), "_COM\u00b9"),
    "no_reserved": (b"console", "console"),
    "trailing_dot": (b"a.", "a"),
    "trailing_space": (b"a. . ", "a"),
    "stream": (b"a:$DATA", "a_$DATA"),
    "wildcards": (b'<>"|?*', "______"),
    "three_dots": (b"...", "_"),
    "reserved_after_strip": (b"nul. .", "_nul"),
    "long_cut_at_a_dot": (b"x" * 254 + b"." + b"y" * 20, "x" * 254),
    "reserved_and_long": (b"con." + b"x" * 251, "_con." + "x" * 250),
    "backslash": (b"a\\..\\b", "a_.._b"),
}
NAMES = (
    st.binary(max_size=30)
    | st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.sampled_from([b"..", b".", b"", b"/", b"\\", b"\x00", b"CON", b"a:b", b"x" * 500])
)


@pytest.mark.parametrize(("raw", "path"), CLEANED.values(), ids=CLEANED.keys())
def test_a6_hostile_path_is_cleaned(raw: list[bytes], path: tuple[str, ...]) -> None:
    assert clean_path(raw) == path


@pytest.mark.parametrize(
    ("raw", "name"), CLEANED_FOR_WINDOWS.values(), ids=CLEANED_FOR_WINDOWS.keys()
)
def test_a9_name_that_windows_alters_is_changed(raw: bytes, name: str) -> None:
    assert clean_path([raw], windows=True) == (name,)


@given(st.lists(NAMES, min_size=1, max_size=8))
def test_a9_a_path_can_be_cleaned_for_windows_later_too(raw: list[bytes]) -> None:
    later = windows_path(clean_path(raw))
    assert later == clean_path(raw, windows=True)
    assert windows_path(later) == later
    joined = ntpath.normpath(ntpath.join("D:\\save", *later))
    assert joined == "D:\\save\\" + "\\".join(later)


LONG = "x" * 300
LONG_PATHS = {
    "short": ("C:\\a", "C:\\a"),
    "drive": (f"C:\\{LONG}", f"\\\\?\\C:\\{LONG}"),
    "share": (f"\\\\host\\share\\{LONG}", f"\\\\?\\UNC\\host\\share\\{LONG}"),
    "already": (f"\\\\?\\C:\\{LONG}", f"\\\\?\\C:\\{LONG}"),
}


@pytest.mark.parametrize(("path", "expected"), LONG_PATHS.values(), ids=LONG_PATHS.keys())
def test_a9_a_long_path_is_spelt_so_that_windows_takes_it(path: str, expected: str) -> None:
    assert long_windows_path(path) == expected


@settings(max_examples=300)
@given(st.lists(NAMES, max_size=8), st.booleans())
def test_a6_cleaned_path_stays_below_its_root(raw: list[bytes], windows: bool) -> None:
    path = clean_path(raw, windows=windows)
    assert path
    joined = os.path.normpath("/".join(("/root", *path)))
    assert joined == "/root/" + "/".join(path)
    for name in path:
        assert name not in ("", ".", "..")
        assert not set(name) & set("/\x00")
        assert not any(unicodedata.category(char) == "Cc" for char in name)
        assert len(name.encode()) <= MAX_ELEMENT_BYTES
        assert not windows or not (name.endswith((".", " ")) or "\\" in name)


def test_a6_long_name_keeps_its_extension() -> None:
    (name,) = clean_path([b"x" * 300 + b".mkv"])
    assert name == "x" * 251 + ".mkv"
    (name,) = clean_path(["\u20ac".encode() * 100 + b".mkv"])
    assert name == "\u20ac" * 83 + ".mkv"
    (name,) = clean_path([b"x." + b"y" * 300])
    assert name == "x." + "y" * 253


def test_a6_depth_is_capped() -> None:
    assert len(clean_path([b"a"] * 100)) == 100
    with pytest.raises(MetainfoError, match="101 elements"):
        clean_path([b"a"] * 101)


def test_a9_long_path_is_shortened_the_same_way_each_time() -> None:
    raw = [b"d" * 200 + b".%d" % number for number in range(40)]
    path = clean_path(raw)
    assert path == clean_path(raw)
    assert len(path) == 40
    assert len("/".join(path).encode()) <= MAX_PATH_BYTES
    assert path[7].endswith(".7")
    short = clean_path([b"a" * 200] * 5)
    assert short == ("a" * 200,) * 5


def test_a10_case_is_kept_where_it_counts() -> None:
    paths = [("a", "File"), ("a", "file"), ("A", "x")]
    assert resolve_collisions(paths) == paths


def test_a10_exact_duplicates_get_a_number() -> None:
    paths = [("a", "f.txt"), ("a", "f.txt"), ("a", "f.1.txt"), ("a", "f.txt")]
    assert resolve_collisions(paths) == [
        ("a", "f.txt"),
        ("a", "f.2.txt"),
        ("a", "f.1.txt"),
        ("a", "f.3.txt"),
    ]


def test_a10_file_in_the_place_of_a_folder_gets_a_number() -> None:
    assert resolve_collisions([("a", "b"), ("a", "b", "c")]) == [("a", "b.1"), ("a", "b", "c")]


def test_a10_case_and_composition_collide_when_asked() -> None:
    paths = [
        ("d", "\u00e9"),
        ("D", "e\u0301"),
        ("d", "\u00c9"),
        ("d", "STRASSE"),
        ("d", "stra\u00dfe"),
    ]
    assert resolve_collisions(paths, COARSEST) == [
        ("d", "\u00e9"),
        ("D", "e\u0301.1"),
        ("d", "\u00c9.2"),
        ("d", "STRASSE"),
        ("d", "stra\u00dfe.1"),
    ]
    folders = [("X",), ("x", "y")]
    assert resolve_collisions(folders, COARSEST) == [("X.1",), ("x", "y")]


def test_a10_only_what_the_file_system_folds_collides() -> None:
    paths = [("\u00e9",), ("e\u0301",), ("E",), ("e",)]
    by_case = [("\u00e9",), ("e\u0301",), ("E",), ("e.1",)]
    by_form = [("\u00e9",), ("e\u0301.1",), ("E",), ("e",)]
    assert resolve_collisions(paths, NameFolding(case=True)) == by_case
    assert resolve_collisions(paths, NameFolding(normal_form=True)) == by_form
    assert colliding(paths, NameFolding(case=True)) == {2, 3}
    assert colliding(paths, COARSEST) == {0, 1, 2, 3}
    assert colliding(paths, EXACT) == set()
    assert colliding([("X",), ("x", "y"), ("z",)], COARSEST) == {0}


def test_a10_a_number_that_another_spelling_has_is_not_given() -> None:
    paths = [("F",), ("f",), ("F.1",)]
    assert resolve_collisions(paths, NameFolding(case=True)) == [("F",), ("f.2",), ("F.1",)]


def test_a10_too_many_collisions_are_refused() -> None:
    assert len(set(resolve_collisions([("f",)] * 30))) == 30
    with pytest.raises(MetainfoError, match="500"):
        resolve_collisions([("f",)] * 502)


def _as_kept(path: tuple[str, ...], folding: NameFolding) -> tuple[str, ...]:
    names = (unicodedata.normalize("NFD", name) if folding.normal_form else name for name in path)
    return tuple(name.upper() if folding.case else name for name in names)


@given(
    st.lists(
        st.lists(
            st.sampled_from(["a", "A", "\u00e9", "e\u0301", "\u00c9"]), min_size=1, max_size=3
        ).map(tuple),
        max_size=12,
    ),
    st.builds(NameFolding, case=st.booleans(), normal_form=st.booleans()),
)
def test_a10_resolved_paths_never_collide(
    paths: list[tuple[str, ...]], folding: NameFolding
) -> None:
    resolved = resolve_collisions(paths, folding)
    keys = [_as_kept(path, folding) for path in resolved]
    assert len(set(keys)) == len(keys) == len(paths)
    folders = {key[:depth] for key in keys for depth in range(1, len(key))}
    assert not folders & set(keys)
    assert all(old[:-1] == new[:-1] for old, new in zip(paths, resolved, strict=True))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain \u65e5\u672c", "plain \u65e5\u672c"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\u202eb", "a\\u202eb"),
        ("a\nb\x00\x9b", "a\\nb\\x00\\x9b"),
        ("a\ud800", "a\\ud800"),
        ("caf\udce9", "caf\\xe9"),
        ("a\u2028b", "a\\u2028b"),
    ],
)
def test_a11_terminal_gets_no_raw_control_character(text: str, shown: str) -> None:
    assert escape_for_terminal(text) == shown
    assert escape_for_terminal(text).isprintable()


@pytest.mark.parametrize(
    "text",
    ["\u3000 \xa0\u2009", "\U0001f468\u200d\U0001f469", "\u0645\u06cc\u200c\u062e", "\u200e\xad"],
)
def test_what_hurts_no_terminal_is_shown_as_it_is(text: str) -> None:
    assert escape_for_terminal(text) == text
