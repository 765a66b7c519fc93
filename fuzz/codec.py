"""Fuzz targets of bencode and metainfo: any bytes are decoded to a valid value or rejected.

How to run it: ``python -m fuzz --help``.
"""

import random
from contextlib import suppress
from typing import Any

from fuzz.runner import FuzzTarget, in_time
from torrent_engine.base.config import FILE_BENCODE_LIMITS
from torrent_engine.base.errors import BencodeError, MetainfoError
from torrent_engine.codec.bencode import decode, decode_prefix, decode_with_spans, encode
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.merkle import layers_of, leaves_of
from torrent_engine.codec.metainfo import Metainfo, V2Part
from torrent_engine.codec.tolerant import TORRENT, correct

SCRAPS = (
    b"i0e", b"i-0e", b"i03e", b"i9223372036854775807e", b"i-1e", b"le", b"de", b"e", b"d", b"l",
    b"0:", b"1:a", b"01:a", b"99999999999:", b"2:..", b"1:/", b"10:", b"3:\x00\x1b\xff", b"i99999",
    b"4:attr1:p", b"4:attr1:l", b"6:lengthi16384e", b"12:meta versioni2e", b"4:pathl1:ae",
)  # fmt: skip


@in_time
def fuzz_bencode(data: bytes) -> None:
    """Check one input: declared errors only, one canonical spelling, spans that hold."""
    with suppress(BencodeError):
        value = decode(data)
        assert decode_prefix(data + b"i1e") == (value, len(data))
        assert decode(encode(value), canonical=True) == value
    with suppress(BencodeError):
        assert encode(decode(data, canonical=True)) == data
    with suppress(BencodeError):
        value, end = decode_prefix(data)
        assert decode(data[:end]) == value
    with suppress(BencodeError):
        values, spans = decode_with_spans(data)
        assert values == decode(data)
        assert all(decode(data[start:end]) == values[key] for key, (start, end) in spans.items())


@in_time
def fuzz_metainfo(data: bytes) -> None:
    """Check one input: declared errors only; what loads has sane numbers and safe paths."""
    with suppress(BencodeError, MetainfoError):
        metainfo = Metainfo.from_bytes(data)
        assert sum(entry.length_bytes for entry in metainfo.files) == metainfo.total_bytes > 0
        hashes = metainfo.piece_count if metainfo.info_hash_v1 else 0
        assert len(metainfo.piece_hashes) == 20 * hashes
        lengths = map(metainfo.geometry.piece_length, range(min(metainfo.piece_count, 100)))
        assert all(0 < length <= metainfo.geometry.piece_bytes for length in lengths)
        if metainfo.v2 is not None:
            check_v2(metainfo, metainfo.v2)
        paths = [entry.path for entry in metainfo.files if not entry.is_pad]
        assert len(set(paths)) == len(paths)
        for name in (name for path in paths for name in path):
            assert name not in ("", ".", "..")
            assert not set(name) & set("/\x00\x1b")
            assert len(name.encode()) <= 255
        again = Metainfo.from_info_bytes(metainfo.info_bytes)
        assert (again.info_hash, again.files) == (metainfo.info_hash, metainfo.files)
        assert str(Magnet.of(metainfo)).isprintable()


def check_v2(metainfo: Metainfo, part: V2Part) -> None:
    """Check that files begin with pieces, and that every file with bytes has a root."""
    for index, entry in enumerate(metainfo.files):
        if entry.length_bytes and not entry.is_pad:
            assert part.root(index)
            assert not entry.offset_bytes % metainfo.geometry.piece_bytes
        else:
            assert part.root(index) is None
    for layer in part.layers.values():
        assert layer
        assert not len(layer) % 32
    assert all(part.has_layer(index) is False for index in part.missing_layers())


@in_time
def fuzz_tolerant(data: bytes) -> None:
    """Check one input: what is corrected is strict, no longer, and what strict data says stays."""
    with suppress(BencodeError):
        found = correct(data, limits=FILE_BENCODE_LIMITS, place=TORRENT)
        assert len(found.data) <= found.end <= len(data)
        values, _ = decode_with_spans(found.data)
        assert values.keys() == found.spans.keys()
        for start, end in found.spans.values():
            assert 0 < start < end < found.end
        again = correct(data[: found.end] + b"\n", limits=FILE_BENCODE_LIMITS, place=TORRENT)
        assert again == found
        assert correct(found.data, limits=FILE_BENCODE_LIMITS).data == found.data
    with suppress(BencodeError):
        values, spans = decode_with_spans(data)
        found = correct(data, limits=FILE_BENCODE_LIMITS, place=TORRENT)
        assert (found.data, found.spans, found.end) == (data, spans, len(data))


def badly_spelt(rng: random.Random) -> bytes:
    """Return a torrent with zeros in front of numbers, long integers, keys twice, or a tail."""
    data = mutated(rng)
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(data) + 1)
        at = max(data.rfind(rng.choice((b"i", b"d", b"l")), 0, at) + 1, 0)
        scrap = rng.choice((b"0", b"00", b"-", b"9" * 30, b"1:xi1e", b"04:infode", b"4:name1:n"))
        data = data[:at] + scrap + data[at:]
    return data + rng.choice((b"", b"", b"\n", b"e", b"d1:ai1ee"))


def sample(rng: random.Random) -> bytes:
    """Return a small torrent that loads, of any version."""
    return sample_v2(rng) if rng.random() < 0.3 else sample_v1(rng)


def sample_v2(rng: random.Random) -> bytes:
    """Return a small v2 or hybrid torrent that loads, its layers there or missing."""
    sizes = [rng.choice((0, 1, 5, 16_384, 40_000)) for _ in range(rng.randrange(1, 4))]
    sizes[0] += 1
    tree: dict[str, Any] = {}
    layers: dict[bytes, bytes] = {}
    files: list[dict[str, Any]] = []
    for number, size in enumerate(sizes):
        folder = tree.setdefault("ab"[number // 2], {})
        entry = folder[f"f{number}"] = {"": {"length": size}}
        files.append({"length": size, "path": ["ab"[number // 2], f"f{number}"]})
        if size:
            root, layer = layers_of(leaves_of(rng.randbytes(size)), 16_384)
            entry[""]["pieces root"] = root
            layers.update({root: layer} if layer else {})
        if gap := -size % 16_384:
            files.append({"length": gap, "path": [".pad", f"{gap}"], "attr": "p"})
    info = {"file tree": tree, "meta version": 2, "name": "n", "piece length": 16_384}
    if rng.random() < 0.5:
        pieces = sum(-(-size // 16_384) for size in sizes)
        info |= {"files": files, "pieces": rng.randbytes(20 * pieces)}
    return encode({"info": info} | ({"piece layers": layers} if rng.random() < 0.8 else {}))


def sample_v1(rng: random.Random) -> bytes:
    """Return a small v1 torrent that loads."""
    sizes = [rng.choice((0, 1, 5, 16_384, 40_000)) for _ in range(rng.randrange(1, 5))]
    sizes[0] += 1
    files: list[dict[str, Any]] = [
        {"length": size, "path": [rng.choice("ab"), f"f{number}"]}
        for number, size in enumerate(sizes)
    ]
    for entry in files[1:]:
        if rng.random() < 0.3:
            entry["attr"] = rng.choice("pxh")
    pieces = rng.randbytes(20 * (-(-sum(sizes) // 16_384)))
    info = {"files": files, "name": "n", "piece length": 16_384, "pieces": pieces}
    extra = {"announce": "http://t/a", "announce-list": [["udp://t:1/"], ["http://t/a"]]}
    seeds = {"url-list": "http://w/", "nodes": [["::1", 6881]], "comment": "c"}
    return encode({"info": info, **extra, **(seeds if rng.random() < 0.5 else {})})


def mutated(rng: random.Random) -> bytes:
    """Return a torrent with a few bytes damaged, or a heap of scraps of bencoding."""
    if rng.random() < 0.3:
        return b"".join(rng.choices(SCRAPS, k=rng.randrange(1, 20)))
    data = bytearray(sample(rng))
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        at = rng.randrange(len(data))
        action = rng.randrange(4)
        if action == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif action == 1:
            data[at] = rng.choice(b"0123456789ilde:-")
        elif action == 2:
            data[at:at] = rng.choice(SCRAPS)
        elif len(data) > 10:
            del data[at : at + rng.randrange(1, 8)]
    return bytes(data)


TARGETS = {
    "bencode": FuzzTarget(fuzz_bencode, mutated, max_bytes=256),
    "metainfo": FuzzTarget(fuzz_metainfo, badly_spelt, max_bytes=768),
    "tolerant": FuzzTarget(fuzz_tolerant, badly_spelt, max_bytes=768),
}
