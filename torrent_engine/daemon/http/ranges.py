"""Which bytes of a file a request asks for (RFC 9110, sections 13 and 14).

Players are served one range: of several, small files are sent whole, and of large ones the first.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from typing import Final

from torrent_engine.base.config.units import MIB

WHOLE_BYTES: Final = MIB
"""Up to here, a file of which several ranges are asked for is sent whole."""
_MAX_RANGES: Final = 32
_SPEC: Final = re.compile(r"(\d{0,19})-(\d{0,19})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Validators:
    """What identifies the content of a file: its strong ETag and when it was added."""

    etag: str
    """With its quotes."""
    modified_s: int
    """Seconds since 1970."""

    @property
    def last_modified(self) -> str:
        """The value of Last-Modified."""
        return formatdate(self.modified_s, usegmt=True)


@dataclass(frozen=True, slots=True)
class Selection:
    """The answer to a conditional request with ranges."""

    status: int
    """200, 206, 304 or 416."""
    begin: int = 0
    end: int = 0
    """Past the last byte."""

    @property
    def length(self) -> int:
        """How many bytes are sent."""
        return self.end - self.begin

    def content_range(self, size: int) -> str | None:
        """Return the value of Content-Range; None for the statuses without it."""
        if self.status == 416:
            return f"bytes */{size}"
        return f"bytes {self.begin}-{self.end - 1}/{size}" if self.status == 206 else None


def select(headers: Mapping[str, str], size: int, known: Validators) -> Selection:
    """Return what to send of a file of ``size`` bytes; names of ``headers`` are lower-case."""
    if _is_unchanged(headers, known):
        return Selection(304)
    whole = Selection(200, 0, size)
    text = headers.get("range")
    if text is None or not size or not _is_same(headers.get("if-range"), known):
        return whole
    asked = _parse(text)
    if asked is None:
        return whole
    found = [part for part in (_cut(first, last, size) for first, last in asked) if part]
    if not found:
        return Selection(416)
    if len(asked) > 1 and size <= WHOLE_BYTES:
        return whole
    return Selection(206, *found[0])


def _is_unchanged(headers: Mapping[str, str], known: Validators) -> bool:
    tags = headers.get("if-none-match")
    if tags is not None:
        return tags.strip() == "*" or any(
            tag.strip().removeprefix("W/") == known.etag for tag in tags.split(",")
        )
    since = headers.get("if-modified-since")
    when = None if since is None else _seconds(since)
    return when is not None and known.modified_s <= when


def _is_same(if_range: str | None, known: Validators) -> bool:
    """Return whether the content is the one of which the client has a part."""
    if if_range is None:
        return True
    text = if_range.strip()
    if text.startswith(('"', "W/")):
        return text == known.etag  # a weak tag never matches (section 13.1.5)
    return _seconds(text) == known.modified_s


def _seconds(date: str) -> int | None:
    try:
        return int(parsedate_to_datetime(date).timestamp())
    except (ValueError, OverflowError, TypeError):
        return None


def _parse(text: str) -> list[tuple[int | None, int | None]] | None:
    """Return the ranges of a header; None if it is to be ignored."""
    unit, separator, specs = text.partition("=")
    if not separator or unit.strip().lower() != "bytes":
        return None
    asked: list[tuple[int | None, int | None]] = []
    for spec in specs.split(","):
        if not (spec := spec.strip(" \t")):
            continue  # an empty element of a list (section 5.6.1)
        match = _SPEC.fullmatch(spec)
        if match is None or spec == "-" or len(asked) == _MAX_RANGES:
            return None
        first, last = (int(group) if group else None for group in match.groups())
        if first is not None and last is not None and last < first:
            return None
        asked.append((first, last))
    return asked or None


def _cut(first: int | None, last: int | None, size: int) -> tuple[int, int] | None:
    """Return begin and end of a range within a file; None if no byte of it is there."""
    if first is None:
        return (max(size - (last or 0), 0), size) if last else None
    if first >= size:
        return None
    return first, size if last is None else min(last + 1, size)
