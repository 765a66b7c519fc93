r"""What a torrent may call its files: every name that leaves here stays below the save path.

An element of a cleaned path is never empty, ``.`` or ``..``, has no separator and no control
character, and is at most 240 bytes of UTF-8. Source: BEP 3, BEP 47; RELIABILITY rows A6, A9 to A11.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from unicodedata import normalize

from torrent_engine.base.errors import MetainfoError

Path = tuple[str, ...]

MAX_ELEMENT_BYTES: Final = 240  # ours: room below the usual 255 for a suffix
MAX_PATH_BYTES: Final = 3072  # ours: room below Linux's 4096 for the save path
MAX_DEPTH: Final = 100
LONG_ON_WINDOWS: Final = 248  # characters; a folder's limit, a file's is 260 (MAX_PATH)
MAX_COLLISIONS: Final = 500
MAX_EXTENSION_BYTES: Final = 16
NAMELESS: Final = "_"

# Marks that turn or hide text: Arabic letter mark, zero-width, embedding, override, isolate, BOM.
_INVISIBLE: Final = "\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
_INVISIBLE_RUN: Final = re.compile(f"[{_INVISIBLE}]+")
_FORBIDDEN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f/\\\ufffd]")
_SUSPECT: Final = re.compile(rf"[\x00-\x1f\x7f-\x9f/\\\ufffd{_INVISIBLE}]")
_FORBIDDEN_ON_WINDOWS: Final = re.compile(r'[<>:"|?*]')
_RESERVED_ON_WINDOWS: Final = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])\s*(\..*)?", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class NameFolding:
    """Which different names a file system takes for one."""

    case: bool = False
    """Those that differ in case only."""
    normal_form: bool = False
    """Those that differ in Unicode composition only (NFC, NFD)."""

    def key(self, path: Path) -> Path:
        """Return what is the same for all paths that lead to one file."""
        if self == EXACT:
            return path
        return tuple(self._folded(name) for name in path)

    def _folded(self, name: str) -> str:
        if self.normal_form:
            name = normalize("NFC", name)
        if not self.case:
            return name
        folded = name.casefold()
        return normalize("NFC", folded) if self.normal_form else folded


EXACT: Final = NameFolding()
COARSEST: Final = NameFolding(case=True, normal_form=True)


def clean_path(elements: Sequence[bytes], *, windows: bool = False) -> Path:
    """Return a path of a torrent as names that are safe to create below a folder.

    Elements that are empty, ``.`` or ``..`` are dropped; separators, control characters and
    invalid UTF-8 become ``_``; invisible marks vanish; long names are cut before their extension.
    If ``windows``, names that Windows reserves or alters are changed as well. A path of which
    nothing is left becomes ``("_",)``.
    Raises MetainfoError for more than 100 elements.
    """
    if len(elements) > MAX_DEPTH:
        raise MetainfoError(f"a path has {len(elements)} elements, more than {MAX_DEPTH}")
    cleaned = (clean_element(element, windows=windows) for element in elements)
    path = tuple(name for name in cleaned if name)
    if sum(map(len, path)) > MAX_PATH_BYTES // 4:
        path = _shortened_path(path)
    return path or (NAMELESS,)


def clean_element(raw: bytes, *, windows: bool = False) -> str:
    """Return one name of a path, safe to create; "" if it says nothing."""
    text = raw.decode("utf-8", "replace")
    if _SUSPECT.search(text):
        text = _FORBIDDEN.sub("_", _INVISIBLE_RUN.sub("", text))
    if text in (".", ".."):
        return ""
    if len(raw) > MAX_ELEMENT_BYTES:
        text = shortened(text, MAX_ELEMENT_BYTES)
    return _clean_for_windows(text) if windows else text


def shortened(name: str, limit_bytes: int, suffix: str = "") -> str:
    """Return ``name`` with ``suffix`` before its extension, in at most ``limit_bytes`` of UTF-8."""
    stem, dot, extension = name.rpartition(".")
    tail = dot + extension
    if not stem or len(tail.encode()) > min(MAX_EXTENSION_BYTES, limit_bytes // 2):
        stem, tail = name, ""
    tail = suffix + tail
    room = limit_bytes - len(tail.encode())
    return stem.encode()[:room].decode("utf-8", "ignore") + tail


def resolve_collisions(paths: Sequence[Path], folding: NameFolding = EXACT) -> list[Path]:
    """Return the paths with each file in a place of its own, in the same order.

    A file that stands where an earlier file or a folder must go gets a number before its
    extension. Names that ``folding`` takes for one collide; the others are left as they are.
    Raises MetainfoError after 500 collisions.
    """
    keys = [folding.key(path) for path in paths]
    folders = _folders(keys)
    natural = set(keys)
    if len(natural) == len(keys) and natural.isdisjoint(folders):
        return list(paths)
    return _renumbered(paths, keys, folders, folding)


def colliding(paths: Sequence[Path], folding: NameFolding) -> set[int]:
    """Return the numbers of the paths that are in each other's or in a folder's place."""
    keys = [folding.key(path) for path in paths]
    folders, counts = _folders(keys), Counter(keys)
    return {number for number, key in enumerate(keys) if counts[key] > 1 or key in folders}


def escape_for_terminal(text: str) -> str:
    r"""Return ``text`` with all that could steer a terminal or hide itself spelt as ``\x1b``."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text
    )


def windows_path(path: Path) -> Path:
    """Return a cleaned path with the names that Windows can have, the same each time (row A9).

    Reserved names get ``_`` in front, what separates a drive or a stream becomes ``_``, dots and
    spaces at the end go.
    """
    return tuple(map(_clean_for_windows, path))


def long_windows_path(path: str) -> str:
    r"""Return an absolute path as Windows takes it if it is long: with ``\\?\`` in front."""
    if len(path) < LONG_ON_WINDOWS or path.startswith("\\\\?\\"):
        return path
    if path.startswith("\\\\"):
        return "\\\\?\\UNC\\" + path[2:]
    return "\\\\?\\" + path


def _clean_for_windows(text: str) -> str:
    kept = _FORBIDDEN_ON_WINDOWS.sub("_", text).rstrip(". ")
    if text and not kept:
        return NAMELESS
    return f"_{kept}" if _RESERVED_ON_WINDOWS.fullmatch(kept) else kept


def _shortened_path(path: Path) -> Path:
    if sum(len(name.encode()) + 1 for name in path) <= MAX_PATH_BYTES:
        return path
    limit_bytes = MAX_PATH_BYTES // len(path) - 1
    return tuple(
        name if len(name.encode()) <= limit_bytes else shortened(name, limit_bytes) for name in path
    )


def _folders(paths: Iterable[Path]) -> set[Path]:
    found: set[Path] = set()
    for path in paths:
        parent = path[:-1]
        while parent and parent not in found:
            found.add(parent)
            parent = parent[:-1]
    return found


def _renumbered(
    paths: Sequence[Path], keys: Sequence[Path], folders: set[Path], folding: NameFolding
) -> list[Path]:
    """Give a number to every path whose key is a folder's or came before."""
    reserved = folders.union(keys)
    taken: set[Path] = set()
    result: list[Path] = []
    tries = 0
    for path, key in zip(paths, keys, strict=True):
        chosen, chosen_key = path, key
        number = 0
        while chosen_key in taken or chosen_key in (reserved if number else folders):
            number += 1
            tries += 1
            if tries > MAX_COLLISIONS:
                raise MetainfoError(f"more than {MAX_COLLISIONS} names of files collide")
            name = shortened(path[-1], MAX_ELEMENT_BYTES, f".{number}")
            chosen = (*path[:-1], name)
            chosen_key = folding.key(chosen)
        taken.add(chosen_key)
        result.append(chosen)
    return result
