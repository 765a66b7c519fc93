"""The files of the web page as they are sent, with tags and compressed forms.

All of them are read once. Nothing else can be asked for, as a request is looked up by its name.
"""

import gzip
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

INDEX: Final = "index.html"
MODULES_MARK: Final = b"<!-- modules -->"
BASE_MARK: Final = b"@base@"
TYPES: Final[Mapping[str, str]] = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "mjs": "text/javascript; charset=utf-8",
    "png": "image/png",
    "svg": "image/svg+xml",
    "webmanifest": "application/manifest+json",
}
"""Files of other types, such as licences, are not sent."""
_LATER: Final = ("locale/",)
"""Modules that the first paint does not need."""
_MIN_GAIN_BYTES: Final = 64
_COMMENT: Final = re.compile(rb"^ */\*(?s:.*?)\*/\n|^ *//.*\n|^\n", re.MULTILINE)
"""Lines for readers of the source only, which browsers need not fetch."""
_INDENT: Final = re.compile(rb"^[ \t]+", re.MULTILINE)
_STYLE_SPACE: Final = re.compile(rb"\s*([{};])\s*|(?<=[:,])\s+")
"""Where a style needs no space; none of ours has such a place in a text."""


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file as it is sent."""

    data: bytes
    zipped: bytes | None
    """In gzip; None if that is not shorter."""
    media_type: str
    etag: str


class PageFiles:
    """All files of the page; their addresses change with any of their contents."""

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self.version: Final = _digest(*(part for each in sorted(contents.items()) for part in each))
        self._files = {
            name: page_file(name, data) for name, data in contents.items() if name != INDEX
        }
        self.index: Final = page_file(INDEX, self._index(contents[INDEX]))

    def get(self, name: str) -> PageFile | None:
        """Return a file by its path below the folder of the page; None if there is none."""
        return self._files.get(name)

    def names(self) -> list[str]:
        """Return the paths of all files but the index."""
        return sorted(self._files)

    def _index(self, template: bytes) -> bytes:
        """Return the first page, which names all modules so that they are fetched at once."""
        base = f"ui/{self.version}"
        modules = [
            f'<link rel="modulepreload" href="{base}/{escape(name)}">'
            for name in self.names()
            if name.endswith(("js", "mjs")) and not name.startswith(_LATER)
        ]
        page = template.replace(MODULES_MARK, "\n".join(modules).encode())
        return page.replace(BASE_MARK, base.encode())


def page_file(name: str, data: bytes) -> PageFile:
    """Return a file as it is sent: our own without comments and needless space."""
    if name.endswith((".js", ".css")):
        data = _INDENT.sub(b"", _COMMENT.sub(b"", data))
    if name.endswith(".css"):
        data = _STYLE_SPACE.sub(rb"\1", data)
    zipped = gzip.compress(data, 9, mtime=0)
    is_shorter = len(zipped) + _MIN_GAIN_BYTES <= len(data)
    kind = TYPES[name.rpartition(".")[2]]
    return PageFile(data, zipped if is_shorter else None, kind, _digest(data))


def _digest(*parts: str | bytes) -> str:
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "big") + data)
    return total.hexdigest()[:16]


def read_contents() -> dict[str, bytes]:
    """Return the files of the package by their paths. Blocks."""
    return dict(_walk(files(__package__) / "static", ""))


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for each in folder.iterdir():
        name = prefix + each.name
        if each.is_dir():
            yield from _walk(each, f"{name}/")
        elif name.rpartition(".")[2] in TYPES:
            yield name, each.read_bytes()
