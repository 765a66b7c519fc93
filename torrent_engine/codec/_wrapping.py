"""What stands around the info dictionary of a .torrent, byte for byte.

The layers of pieces (BEP 52), which may be most of a .torrent, are left out: they are held by the
v2 part of a torrent, and written from there.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from torrent_engine.codec._sources import Tiers
from torrent_engine.codec.bencode import ByteSpan, encode

LAYERS: Final = b"piece layers"
_KEY: Final = encode(LAYERS)


class Wrapping(NamedTuple):
    """The parts of a .torrent that are neither its info dictionary nor its layers."""

    before: bytes
    between: bytes
    """Behind the info dictionary, and before where the layers are or would be."""
    behind: bytes
    is_fixed: bool = False
    """Whether layers are among these bytes as they were found: they are spelt unusually."""

    def around(self, info_bytes: bytes, layers: Mapping[bytes, bytes]) -> bytes:
        """Return the .torrent with this info dictionary and these layers."""
        written = b"" if self.is_fixed or not layers else _KEY + encode(layers)
        return b"".join((self.before, info_bytes, self.between, written, self.behind))


def split(
    data: bytes, spans: Mapping[bytes, ByteSpan], end: int, layers: Mapping[bytes, bytes]
) -> Wrapping:
    """Return what a .torrent is besides; ``spans`` are those of its values, ``layers`` what counts.

    ``end`` is where it ends in ``data``.
    """
    start, stop = spans[b"info"]
    if LAYERS not in spans:
        place = max(past for key, (_, past) in spans.items() if key < LAYERS)
        place = max(place, stop)
        return Wrapping(data[:start], data[stop:place], data[place:end])
    begin, past = spans[LAYERS]
    key_start = begin - len(_KEY)
    is_usual = key_start >= stop and data[key_start:begin] == _KEY
    if not (layers and is_usual and data[begin:past] == encode(layers)):
        return Wrapping(data[:start], b"", data[stop:end], is_fixed=True)
    return Wrapping(data[:start], data[stop:key_start], data[past:end])


def minimal(tiers: Tiers, web_seeds: tuple[str, ...]) -> Wrapping:
    """Return what stands around the info dictionary of a .torrent with no more than these."""
    before, behind = [b"d"], [b"e"]
    if tiers:
        before += [encode("announce"), encode(tiers[0][0])]
        before += [encode("announce-list"), encode(tiers)]
    before.append(encode("info"))
    if web_seeds:
        behind = [encode("url-list"), encode(web_seeds), *behind]
    return Wrapping(b"".join(before), b"", b"".join(behind))
