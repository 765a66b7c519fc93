"""Folders of many kinds, as people have them: odd names, shapes and links."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.support.torrents import payload_of

_LONG: Final = b"x" * 251 + b".mkv"
NAMES: Final[dict[str, bytes]] = {
    "plain": b"film.mkv",
    "nfc": "caf\u00e9".encode(),
    "nfd": "cafe\u0301".encode(),
    "emoji_zwj": "\U0001f468\u200d\U0001f469\u200d\U0001f467.png".encode(),
    "persian_zwnj": "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645.txt".encode(),
    "direction_mark": "a\u200eb".encode(),
    "override": "photo\u202egpj.exe".encode(),
    "wide_space": "a\u3000b\xa0c".encode(),
    "byte_order_mark": "\ufeffa".encode(),
    "replacement": "a\ufffd".encode(),
    "flag_tags": "\U0001f3f4\U000e0067\U000e007f".encode(),
    "cjk": "\u65e5\u672c\u8a9e".encode(),
    "longest": _LONG,
    "longest_in_utf8": "\u20ac".encode() * 85,
    "spaces_at_ends": b" a b ",
    "leading_dash": b"-rf",
    "newline": b"new\nline",
    "tab": b"a\tb",
    "escape": b"a\x1b[2Jb",
    "delete": b"a\x7fb",
    "latin1": b"caf\xe9",
    "broken_utf8": b"a\xe3\x81b",
    "backslash": b"a\\b",
    "underscore": b"_",
    "tilde": b"~",
    "percent": b"100%20%d%s",
    "con": b"con",
    "nul_txt": b"nul.txt",
    "trailing_dots": b"dots...",
    "hidden": b".hidden",
    "three_dots": b"...",
    "quotes": b'it\'s "so"',
    "shell": b"$(id);`id`&|<>*?",
    "colon": b"a:b",
    "hash_and_query": b"a#b?c=d&e",
}
"""One name each, of a folder with a file of that name."""

FAR: Final = "far"
"""A file beside the folders, which a link of one of them leads to."""


def _files(**sizes: int) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for number, (name, size) in enumerate(sizes.items()):
            path = folder / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(payload_of(size, number))

    return make


def _empty(folder: Path) -> None:
    _files(a=5, empty=0, sub__empty=0)(folder)
    (folder / "no files").mkdir()


def _case(folder: Path) -> None:
    _files(Read=5, read=6, READ=7)(folder)


def _sparse(folder: Path) -> None:
    with (folder / "sparse").open("wb") as file:
        file.truncate(3_000_000)
        file.write(b"x")


def _links(folder: Path) -> None:
    _files(a=20_000, d__b=5)(folder)
    (folder / "to a file").symlink_to("a")
    (folder / "to a folder").symlink_to("d")
    (folder / "out").symlink_to(f"../{FAR}")


def _many(folder: Path) -> None:
    for number in range(300):
        (folder / f"{number:03}").write_bytes(b"%d" % number)


SHAPES: Final[dict[str, Callable[[Path], None]]] = {
    "one_file": _files(only=5),
    "empty_files_and_folders": _empty,
    "deep": _files(**{"__".join("d" * 60) + "__f": 7}),
    "case": _case,
    "many_tiny": _many,
    "sparse": _sparse,
    "aligned": _files(a=16_384, b=32_768, c=16_384),
    "unaligned": _files(a=16_383, b=32_769, c=1),
    "links": _links,
    "file_beside_folder": _files(**{"a": 3, "a.b": 4, "ab__c": 5, "a-b": 6}),
}


def make_folders(root: Path) -> dict[str, Path]:
    """Make a folder of each kind below ``root``; a kind of a name has it for a file as well."""
    (root / FAR).write_bytes(payload_of(1_000))
    made: dict[str, Path] = {}
    for number, (kind, raw) in enumerate(NAMES.items()):
        made[kind] = root / f"{number:02}" / os.fsdecode(raw)
        made[kind].mkdir(parents=True)
        (made[kind] / os.fsdecode(raw)).write_bytes(payload_of(100 + number))
        (made[kind] / "plain").write_bytes(payload_of(17_000, number))
    for kind, make in SHAPES.items():
        made[kind] = root / kind
        made[kind].mkdir()
        make(made[kind])
    return made
