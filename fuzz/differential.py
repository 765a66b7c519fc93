"""Damaged torrents and magnet links, loaded by us and by libtorrent.

    python -m fuzz.differential --count 20000 [--seed 1]

Prints how often both agree, and each class of disagreement with its reason. Exit status 1: there is
one without a reason, or a torrent that both load is not the same for both.
"""

import argparse
import random
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, Final, NamedTuple

import libtorrent

from fuzz import codec, magnet
from torrent_engine.base.errors import BencodeError, MagnetError, MetainfoError
from torrent_engine.codec.bencode import BencodeValue, decode, encode
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo

WE_REFUSE: Final = {
    r"duplicate dictionary key": "a key that is read comes twice, with different values",
    r"have \d{19,} bytes|a length of -\d{19} bytes": "a length beyond 64 bits is no length;"
    " libtorrent takes it for 0",
    r"unknown meta version \d{10,}": "meta version above 2; libtorrent looks at its last 32 bits",
    r"the info-hash is neither": "a character in an info-hash that is no base32 digit",
    r"leading zero or minus zero|malformed integer|outside 64 bits": "a number in the info"
    " dictionary of v2 has one spelling, and 64 bits",
    r'"files" is empty or no list': "a v2 torrent with a list of v1's files that is empty or none",
    r'"pieces" of the torrent is missing': "a hybrid without the hashes of its v1 part",
    r"has the root of a file of another length": "two contents with one root, of which one must"
    " be wrong",
    r"names of files collide": "more than 500 files in each other's place",
}
"""Words of our refusal, and why we refuse what libtorrent loads; the first that fits counts."""
THEY_REFUSE: Final = {
    r"integer overflow": "integers may have any number of digits",
    r"invalid 'name' of torrent|missing name": "path is read where path.utf-8 is no list of names,"
    " a link without a target is an empty file",
    r"invalid info-hash": "of several info-hashes the first good one counts",
    r"invalid escaped string": "a percent sign that escapes nothing stands for itself",
    r"unsupported URL protocol|missing info-hash from URI": "what is not understood is passed over",
}
"""The same for what we load and libtorrent refuses."""
KEYS: Final = (
    b"name", b"length", b"files", b"piece length", b"pieces", b"private", b"path", b"attr",
    b"name.utf-8", b"path.utf-8", b"announce", b"announce-list", b"url-list", b"httpseeds",
    b"nodes", b"comment", b"created by", b"creation date", b"encoding", b"source", b"x",
    b"symlink path", b"meta version", b"file tree", b"pieces root", b"piece layers",
)  # fmt: skip
ODD: Final[tuple[Any, ...]] = (
    0, 1, -1, 2**31, 2**62, 2**63 - 1, b"", b"x", b"..", b"/", b"a/b", b"\xff", b"p", b"l",
    b"_____padding_file_7", [b"_____padding_file_8"], -7, 2, b"1",
    b"x" * 300, [], [b"x"], [[b"x"]], {}, {b"x": 1}, [b""], [1], [b"..", b"a"], 16_384, 32_768, 100,
)  # fmt: skip


BITCOMET: Final = b"_____padding_file_"
PARTS_DIFFER: Final = "the v1 and v2 file metadata does not match"
PADS_IN_FOLDERS: Final = "libtorrent looks for BitComet's name of pad files in folders, too"
Hashes = tuple[bytes | None, bytes | None]
PAD_FLAG: Final = int(libtorrent.file_flags_t.flag_pad_file)


class Loaded(NamedTuple):
    """What a torrent says, whoever read it."""

    info_hashes: Hashes
    """Of v1 and of v2."""
    piece_count: int
    piece_bytes: int
    total_bytes: int
    file_sizes: tuple[int, ...]
    pads: tuple[int, ...]
    """Which files are pad files."""
    is_private: bool


class Verdict(NamedTuple):
    """What came of one input."""

    kind: str
    """Agree, both refuse, we refuse, they refuse, differ."""
    reason: str
    """For a disagreement: why, or what was said where no reason is known."""
    is_explained: bool


def mutated_torrent(rng: random.Random) -> bytes:
    """Return a torrent with damaged bytes, or with odd values that are well encoded."""
    if rng.randrange(3) == 0:
        return codec.mutated(rng)
    if rng.randrange(4) == 0:
        return badly_spelt(rng)
    torrent = decode(codec.sample(rng))
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        place = rng.choice(list(_dictionaries(torrent)))
        key = rng.choice([*KEYS, *place, *place])
        if rng.randrange(5) == 0:
            place.pop(key, None)
        else:
            place[key] = deepcopy(rng.choice(ODD))
    return encode(torrent)


def badly_spelt(rng: random.Random) -> bytes:
    """Return a torrent that is well formed but for its numbers, keys and ends."""
    data = codec.sample(rng)
    for _ in range(rng.choice((1, 1, 2, 3))):
        choice = rng.randrange(6)
        if choice == 0:
            data += rng.choice((b"\n", b"\0" * 9, b"e", b"d1:ai1ee", data))
        elif choice == 1:
            data = _once(rng, rb"i(?=\d)", rng.choice((b"i0", b"i000", b"i-")), data)
        elif choice == 2:
            digits = rng.choice((b"9" * 19, b"9" * 20, b"18446744073709551615", b"1" * 30))
            data = _once(rng, rb"i\d+e", b"i%be" % digits, data)
        elif choice == 3:
            data = _once(rng, rb"(?<=[:e])(?=\d+:)", b"0", data)
        else:
            key = rng.choice((*KEYS, b"q", b"z"))
            value = encode(deepcopy(rng.choice(ODD)))
            data = _once(rng, rb"d(?=\d)", b"d%d:%b%b" % (len(key), key, value), data)
    return data


def _once(rng: random.Random, pattern: bytes, replacement: bytes, data: bytes) -> bytes:
    """Replace one match of a pattern, chosen by chance."""
    found = list(re.finditer(pattern, data))
    if not found:
        return data
    start, end = rng.choice(found).span()
    return data[:start] + replacement + data[end:]


def _dictionaries(value: BencodeValue) -> Iterator[dict[bytes, Any]]:
    if isinstance(value, dict):
        yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        yield from _dictionaries(each)


def compare_torrent(data: bytes) -> Verdict:
    """Load one torrent on both sides."""
    verdict = _verdict(_our_torrent(data), _their_torrent(data))
    if verdict.kind == "they refuse" and PARTS_DIFFER in verdict.reason and BITCOMET in data:
        return verdict._replace(reason=PADS_IN_FOLDERS, is_explained=True)
    return verdict


def compare_magnet(data: bytes) -> Verdict:
    """Load one link on both sides; its info-hash is what must be the same, if it has but one."""
    text = data.decode("utf-8", "replace")
    ours, theirs = _our_link(text), _their_link(text)
    if ours != theirs and not isinstance(ours, str) and text.count("xt") > 1:
        return Verdict("differ", "the first of several info-hashes counts", is_explained=True)
    return _verdict(ours, theirs)


def _our_torrent(data: bytes) -> Loaded | str:
    try:
        torrent = Metainfo.from_bytes(data)
    except (BencodeError, MetainfoError) as error:
        return str(error)
    return Loaded(
        (torrent.info_hash_v1, torrent.info_hash_v2),
        torrent.piece_count,
        torrent.geometry.piece_bytes,
        torrent.total_bytes,
        tuple(entry.length_bytes for entry in torrent.files),
        tuple(index for index, entry in enumerate(torrent.files) if entry.is_pad),
        torrent.is_private,
    )


def _their_torrent(data: bytes) -> Loaded | str:
    try:
        torrent = libtorrent.load_torrent_buffer(data).ti
    except RuntimeError as error:
        return str(error)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        files = torrent.files()
        hashes = torrent.info_hashes()
        known = [
            index
            for index in range(files.num_files())
            if hashes.has_v1() or not files.file_flags(index) & PAD_FLAG
        ]  # of v2 alone its pads are its own invention
        sizes = tuple(files.file_size(index) for index in known)
        pads = tuple(
            index for index in range(len(sizes)) if files.file_flags(known[index]) & PAD_FLAG
        )
    return Loaded(
        _both(hashes),
        torrent.num_pieces(),
        torrent.piece_length(),
        sum(sizes),
        sizes,
        pads,
        torrent.priv(),
    )


def _both(hashes: Any) -> Hashes:
    v1 = hashes.v1.to_bytes() if hashes.has_v1() else None
    return v1, hashes.v2.to_bytes() if hashes.has_v2() else None


def _our_link(text: str) -> Hashes | str:
    try:
        magnet = Magnet.parse(text)
    except MagnetError as error:
        return str(error)
    return magnet.info_hash if magnet.has_v1 else None, magnet.info_hash_v2


def _their_link(text: str) -> Hashes | str:
    try:
        return _both(libtorrent.parse_magnet_uri(text).info_hashes)
    except (RuntimeError, ValueError) as error:
        return str(error)


def _verdict(ours: Loaded | Hashes | str, theirs: Loaded | Hashes | str) -> Verdict:
    if isinstance(ours, str) and isinstance(theirs, str):
        return Verdict("both refuse", "", is_explained=True)
    if isinstance(ours, str):
        return _explained("we refuse", ours, WE_REFUSE)
    if isinstance(theirs, str):
        return _explained("they refuse", theirs, THEY_REFUSE)
    if ours == theirs:
        return Verdict("agree", "", is_explained=True)
    if isinstance(ours, Loaded) and isinstance(theirs, Loaded):
        return _difference(ours, theirs)
    return Verdict("differ", f"{ours} and {theirs}", is_explained=False)


def _difference(ours: Loaded, theirs: Loaded) -> Verdict:
    """Say why a torrent that both load is not the same for both."""
    if ours._replace(pads=theirs.pads) == theirs and set(ours.pads) < set(theirs.pads):
        reason = PADS_IN_FOLDERS
    elif ours._replace(is_private=False) == theirs:
        reason = "private beyond 64 bits is private; libtorrent takes it for 0"
    else:
        return Verdict("differ", f"{ours} and {theirs}", is_explained=False)
    return Verdict("differ", reason, is_explained=True)


def _explained(kind: str, said: str, reasons: dict[str, str]) -> Verdict:
    for words, reason in reasons.items():
        if re.search(words, said):
            return Verdict(kind, reason, is_explained=True)
    return Verdict(kind, said, is_explained=False)


def verdicts(count: int, seed: int) -> Iterator[tuple[bytes, Verdict]]:
    """Yield so many torrents, then half as many links, each with what came of it."""
    rng = random.Random(seed)
    for _ in range(count):
        data = mutated_torrent(rng)
        yield data, compare_torrent(data)
    for _ in range(count // 2):
        data = magnet.mutated(rng)
        yield data, compare_magnet(data)


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", action="store_true", help="an example of each class")
    options = parser.parse_args()
    counted: Counter[Verdict] = Counter()
    examples: dict[Verdict, bytes] = {}
    for data, verdict in verdicts(options.count, options.seed):
        counted[verdict] += 1
        examples.setdefault(verdict, data)
    for verdict, count in counted.most_common():
        mark = "" if verdict.is_explained else "  NO REASON"
        print(f"{count:7,}  {verdict.kind:12} {verdict.reason}{mark}")
        if options.show or not verdict.is_explained:
            print(f"         {examples[verdict][:600]!r}")
    return int(not all(verdict.is_explained for verdict in counted))


if __name__ == "__main__":
    sys.exit(main())
