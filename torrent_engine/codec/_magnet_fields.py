"""The fields of magnet links, as they stand in the link."""

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote_to_bytes

SCHEME: Final = "magnet:"
_KEY: Final = re.compile(rb"(?:amp;)?([a-z.]+?)(?:\.[0-9]{1,6})?", re.IGNORECASE)
"""``tr``, or ``tr.1`` of several; ``amp;tr`` where the link was copied from the text of a page."""
_QUERY: Final = re.compile(rb"/*\??")
"""What stands between "magnet:" and the fields: some write ``magnet:///?xt=``."""

LinkFields = dict[bytes, list[bytes]]
"""The values of each key, still quoted, in the order of the link."""


def fields_of(rest: bytes) -> LinkFields:
    """Return the fields of what follows the scheme of a link."""
    fields: LinkFields = {}
    for part in _QUERY.sub(b"", rest, count=1).split(b"&"):
        key, _, value = part.partition(b"=")
        if match := _KEY.fullmatch(key.strip()):
            fields.setdefault(match[1].lower(), []).append(value.strip())
    return fields


def unquoted(fields: LinkFields, key: bytes) -> Iterator[bytes]:
    """Yield the values of a key as they are meant."""
    return map(unquote_to_bytes, fields.get(key, []))
