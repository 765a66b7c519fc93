r"""The file names of a torrent: every cleaned name stays below the save path.

An element of a cleaned path is never empty, ``.`` or ``..``, has no slash and no control
character, and is at most 255 bytes of UTF-8.

Source: BEP 3, BEP 47; fault model, rows A6, A9 to A11.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from unicodedata import normalize

from torrent_engine.base.errors import MetainfoError

PathParts = tuple[str, ...]

MAX_ELEMENT_BYTES: Final = 255  # NAME_MAX of nearly all file systems
MAX_PATH_BYTES: Final = 3072  # ours: room below Linux's 4096 for the save path
MAX_DEPTH: Final = 100
LONG_ON_WINDOWS: Final = 248  # characters; a folder's limit, a file's is 260 (MAX_PATH)
MAX_COLLISIONS: Final = 500
MAX_EXTENSION_BYTES: Final = 16
NAMELESS: Final = "_"

# Embeddings, overrides and isolates: they show a name in another order than its characters have.
# Joiners, direction marks and the like are parts of words and emoji, and stay.
_BIDI: Final = "\u202a-\u202e\u2066-\u2069"
_BIDI_RUN: Final = re.compile(f"[{_BIDI}]+")
_FORBIDDEN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f/]")
_SUSPECT: Final = re.compile(rf"[\x00-\x1f\x7f-\x9f/{_BIDI}]")
_UNDECODED: Final = re.compile("[\ud800-\udfff]")
"""Bytes that are no UTF-8, as ``surrogateescape`` has them."""
_HARMFUL: Final = re.compile(rf"[\x00-\x1f\x7f-\x9f\u2028\u2029{_BIDI}\ud800-\udfff]")
"""What controls a terminal, ends a line, reorders text, or cannot be written."""
_FORBIDDEN_ON_WINDOWS: Final = re.compile(r'[\x00-\x1f<>:"|?*\\]')
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

    def key(self, path: PathParts) -> PathParts:
        """Return what is the same for all paths that lead to one file."""
        if not self.case and not self.normal_form:
            return path
        return tuple(self._folded(name) for name in path)

    def _folded(self, name: str) -> str:
        if name.isascii():  # most are: a third of the time
            return name.lower() if self.case else name
        if self.normal_form:
            name = normalize("NFC", name)
        if not self.case:
            return name
        folded = name.casefold()
        return normalize("NFC", folded) if self.normal_form else folded


EXACT: Final = NameFolding()
COARSEST: Final = NameFolding(case=True, normal_form=True)


def clean_path(elements: Sequence[bytes], *, windows: bool = False) -> PathParts:
    """Return a path of a torrent as names that are safe to create below a folder.

    Elements that are empty, ``.`` or ``..`` are dropped; slashes, control characters and invalid
    UTF-8 become ``_``; what reorders text vanishes; long names are cut before their extension.
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


def text_path(text: str) -> PathParts:
    """Return the cleaned path that a text names, with / or backslashes between the names."""
    parts = [part for part in text.replace("\\", "/").split("/") if part not in {"", "."}]
    return clean_path([part.encode("utf-8", "replace") for part in parts])


def clean_element(raw: bytes, *, windows: bool = False) -> str:
    """Return one name of a path, safe to create; "" if it says nothing."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = _UNDECODED.sub("_", raw.decode("utf-8", "surrogateescape"))
    if _SUSPECT.search(text):
        text = _FORBIDDEN.sub("_", _BIDI_RUN.sub("", text))
    if text in (".", ".."):
        return ""
    if len(raw) > MAX_ELEMENT_BYTES:
        text = shortened(text, MAX_ELEMENT_BYTES)
    return _clean_for_windows(text) if windows else text


def raw_names(raw: Sequence[bytes], *, windows: bool = False) -> PathParts | None:
    """Return a path of a torrent as the file system would have it, not cleaned; None if it cannot.

    Only for looking whether it is there: it may have control characters and bytes that are no
    UTF-8 (as ``os.fsdecode`` has them), but stays below the save path. If ``windows``, a path that
    Windows would read otherwise is none.
    """
    kept = [name for name in raw if name not in {b"", b".", b".."}]
    if not kept or any(b"/" in name or b"\0" in name for name in kept):
        return None
    names = tuple(name.decode("utf-8", "surrogateescape") for name in kept)
    return None if windows and windows_path(names) != names else names


def shortened(name: str, limit_bytes: int, suffix: str = "") -> str:
    """Return ``name`` with ``suffix`` before its extension, in at most ``limit_bytes`` of UTF-8.

    Bytes that are no UTF-8 (``surrogateescape``) stay, unless it has to be cut.
    """
    stem, dot, extension = name.rpartition(".")
    tail = dot + extension
    if not stem or len(_encoded(tail)) > min(MAX_EXTENSION_BYTES, limit_bytes // 2):
        stem, tail = name, ""
    tail = suffix + tail
    room = limit_bytes - len(_encoded(tail))
    encoded = _encoded(stem)
    return (stem if len(encoded) <= room else encoded[:room].decode("utf-8", "ignore")) + tail


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def resolve_collisions(paths: Sequence[PathParts], folding: NameFolding = EXACT) -> list[PathParts]:
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


def colliding(paths: Sequence[PathParts], folding: NameFolding) -> set[int]:
    """Return the numbers of the paths that are in each other's or in a folder's place."""
    keys = [folding.key(path) for path in paths]
    folders, counts = _folders(keys), Counter(keys)
    return {number for number, key in enumerate(keys) if counts[key] > 1 or key in folders}


def escape_for_terminal(text: str) -> str:
    r"""Return ``text`` with all that could hurt a terminal or mislead a reader spelt as ``\x1b``.

    That is control characters, line separators, what reorders text, and bytes that are no UTF-8.
    """
    return _HARMFUL.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return match[0].encode("unicode_escape", "surrogatepass").decode()


def windows_path(path: PathParts) -> PathParts:
    """Return a cleaned path with the names that Windows can have, the same each time (row A9).

    Reserved names get ``_`` in front, what separates a folder, a drive or a stream becomes ``_``,
    as do other characters that names cannot have; dots and spaces at the end go.
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
    if not _RESERVED_ON_WINDOWS.fullmatch(kept):
        return kept
    return shortened(f"_{kept}", MAX_ELEMENT_BYTES).rstrip(". ")


def _shortened_path(path: PathParts) -> PathParts:
    if sum(len(name.encode()) + 1 for name in path) <= MAX_PATH_BYTES:
        return path
    limit_bytes = MAX_PATH_BYTES // len(path) - 1
    return tuple(
        name if len(name.encode()) <= limit_bytes else shortened(name, limit_bytes) for name in path
    )


def _folders(paths: Iterable[PathParts]) -> set[PathParts]:
    found: set[PathParts] = set()
    for path in paths:
        parent = path[:-1]
        while parent and parent not in found:
            found.add(parent)
            parent = parent[:-1]
    return found


def _renumbered(
    paths: Sequence[PathParts],
    keys: Sequence[PathParts],
    folders: set[PathParts],
    folding: NameFolding,
) -> list[PathParts]:
    """Add a number to every path whose key is a folder's or came before."""
    reserved = folders.union(keys)
    taken: set[PathParts] = set()
    result: list[PathParts] = []
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
