"""v2 and hybrid .torrents, good and bad, a case for each rule, and who loads them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from tests.support.torrents import payload_of
from tests.support.v2_torrents import SMALL, file_of, hybrid_info, torrent_around, v2_info

BASE: Final[dict[str, Any]] = {"name": "n", "piece length": 16_384, "meta version": 2}
ROOT: Final = SMALL[""]["pieces root"]
EMPTY: Final = {"": {"length": 0}}
LONG: Final = payload_of(40_000)
PAD: Final = {"length": 16_379, "path": [".pad", "16379"], "attr": "p"}
MISSPELT: Final = "out of order|duplicate|leading zero|malformed"
LINK: Final = {"": {"attr": "l", "symlink path": ["a"]}}


@dataclass(frozen=True, slots=True)
class Case:
    """One .torrent, and what becomes of it."""

    data: bytes
    error: str | None = None
    """Words of our refusal; None: it loads."""
    libtorrent_loads: bool | None = None
    """Where that is not the same: with a reason in :data:`REASONS`."""


REASONS: Final = {
    "minus zero": "a number has one spelling where the order and the spelling count",
    "hybrid without pieces": "it would be downloaded without hashes",
    "hybrid whose pieces are a number": "it would be downloaded without hashes",
    "hybrid without files": "it would be another torrent by its v1 part",
    "a root of two lengths": "one of the files cannot be right",
    "a root of two lengths, layers missing": "one of the files cannot be right",
    "a root of two lengths, as many pieces": "one of the files cannot be right",
}
"""Why a case is judged in another way than libtorrent judges it."""


def v2(tree: Any, **extra: Any) -> Case:
    """Return a torrent of v2 alone that loads."""
    return Case(torrent_around({**BASE, "file tree": tree, **extra}, {}))


def bad(error: str, tree: Any, **extra: Any) -> Case:
    """Return one that does not."""
    return Case(v2(tree, **extra).data, error)


def hybrid(tree: Any, files: list[Any], pieces: int = 1, error: str | None = None) -> Case:
    """Return a hybrid with these files in its v1 part."""
    info = {**BASE, "file tree": tree, "files": files, "pieces": bytes(20 * pieces)}
    return Case(torrent_around(info, {}), error)


def _entry(name: str, length: int = 5, **extra: Any) -> dict[str, Any]:
    return {"length": length, "path": name.split("/"), **extra}


def _props(**properties: Any) -> dict[str, Any]:
    return {"": {key.replace("_", " "): value for key, value in properties.items()}}


def cases() -> dict[str, Case]:
    """Return all cases by their names."""
    return {
        **dict(_keys()),
        **dict(_trees()),
        **dict(_properties()),
        **dict(_links()),
        **dict(_piece_lengths()),
        **dict(_spellings()),
        **dict(_layers()),
        **dict(_hybrids()),
        **dict(_hybrids_that_differ()),
    }


Named = Iterator[tuple[str, Case]]


def _keys() -> Named:
    v1 = {"name": "n", "piece length": 16_384, "length": 5, "pieces": bytes(20)}
    tree = {"a": SMALL}
    yield "one file", v2(tree)
    yield "several files", v2({"a": SMALL, "b": SMALL})
    yield (
        "a newer version, nothing else right",
        Case(torrent_around({"meta version": 3}), "unknown meta version 3"),
    )
    for what, files in {"a number": [1], "other properties": [{"hash": "x"}]}.items():
        newer = {"meta version": 3, "files": files}
        yield f"a newer version, its files {what}", Case(torrent_around(newer), "version 3")
    yield "no tree", Case(torrent_around(BASE), "without a dictionary")
    yield "the tree a list", bad("without a dictionary", [])
    yield "a tree in v1", Case(torrent_around({**v1, "file tree": tree}), "without a .meta version")
    yield (
        "a tree in version 1",
        Case(
            torrent_around({**v1, "meta version": 1, "file tree": tree}), "without a .meta version"
        ),
    )
    yield "the version a string", bad("without a .meta version", tree, **{"meta version": "2"})
    yield "pieces without files", v2(tree, pieces=bytes(20))
    yield "private", v2(tree, private=1)
    yield "name no string", bad("name", tree, name=1)
    yield "name empty", v2(tree, name="")
    no_name = {key: value for key, value in BASE.items() if key != "name"}
    yield "no name", Case(torrent_around({**no_name, "file tree": tree}), "name")


def _trees() -> Named:
    yield "a folder", v2({"d": {"a": SMALL}})
    yield "order of elements", v2({"d": {"a": SMALL}, "d-x": SMALL, "d.txt": SMALL})
    yield "a file that is a folder", bad("both a file and a folder", {"a": {**SMALL, "x": SMALL}})
    yield "the root a file", bad("both a file and a folder", SMALL)
    yield "the root a file and a folder", bad("both a file and a folder", {**SMALL, "b": SMALL})
    yield "an entry that is no dictionary", bad("no dictionary", {"a": 1})
    yield "properties that are none", bad("properties of a wrong type", {"a": {"": 1}})
    yield "an empty folder", v2({"a": SMALL, "d": {}})
    yield "only an empty folder", bad("no files", {"d": {}})
    yield "no files", bad("no files", {})
    yield "an element without a name", bad("length", {"d": {"": {"": SMALL}}, "b": SMALL})
    yield "..", v2({"..": {"a": SMALL}, "b": SMALL})
    yield "a name with a slash", v2({"b": SMALL, "x/y": SMALL})
    yield "names that become one", v2({"x\x01y": SMALL, "x\x02y": SMALL})
    yield (
        "no UTF-8",
        Case(torrent_around({**BASE, "file tree": {b"\xff": SMALL}})),
    )
    yield "60 folders inside each other", v2(_deep(60))
    yield "150 folders inside each other", Case(v2(_deep(150)).data, "deep|inside each other")


def _deep(folders: int) -> dict[str, Any]:
    tree: dict[str, Any] = {"a": SMALL}
    for _ in range(folders):
        tree = {"d": tree}
    return tree


def _properties() -> Named:
    other = {"b": SMALL}
    yield "empty file", v2({"a": EMPTY, **other})
    yield "only empty files", bad("0 bytes", {"a": EMPTY})
    yield "empty file with a root", v2({"a": _props(length=0, pieces_root=ROOT), **other})
    yield "empty file with half a root", v2({"a": _props(length=0, pieces_root="x"), **other})
    yield "no length", bad("no length", {"a": _props(pieces_root=ROOT)})
    yield "no properties", bad("no length", {"a": {"": {}}})
    yield "length below zero", bad("a length of -1", {"a": _props(length=-1, pieces_root=ROOT)})
    yield "2 ** 30 blocks", bad("a length of", {"a": _props(length=1 << 44, pieces_root=ROOT)})
    tiny = _props(length=(0x200000 << 14) + 1, pieces_root=ROOT)
    yield "too many pieces", bad("more than 2097152 pieces", {"a": tiny})
    yield "no root", bad("pieces root", {"a": _props(length=5)})
    yield "root of zeros", bad("pieces root", {"a": _props(length=5, pieces_root=bytes(32))})
    yield "root of 31 bytes", bad("pieces root", {"a": _props(length=5, pieces_root=ROOT[:31])})
    yield "root a number", bad("pieces root", {"a": _props(length=5, pieces_root=7)})
    yield "executable", v2({"a": _props(length=5, pieces_root=ROOT, attr="x")})
    yield "attributes a number", v2({"a": _props(length=5, pieces_root=ROOT, attr=1)})
    yield "unknown properties", v2({"a": _props(length=5, pieces_root=ROOT, zz=[1])})
    pad = _props(length=5, pieces_root=ROOT, attr="p")
    yield "a pad file", bad("pad file", {"a": pad, **other})


def _links() -> Named:
    other = {"a": SMALL}
    yield "link", v2({**other, "b": LINK})
    yield (
        "link with a length",
        v2({**other, "b": _props(attr="l", length=5, pieces_root=ROOT, symlink_path=["a"])}),
    )
    yield "link without a target", v2({**other, "b": _props(attr="l")})
    yield "only a link", bad("0 bytes", {"b": LINK})


def _piece_lengths() -> Named:
    tree = {"a": SMALL}
    for length in (1 << 14, 1 << 20, 1 << 27, 1 << 28):
        yield f"pieces of {length}", v2(tree, **{"piece length": length})
    for length in (0, 8_192, 16_383, 49_152, 1 << 29):
        yield f"pieces of {length}", bad("piece length", tree, **{"piece length": length})


def _spellings() -> Named:
    data = v2({"a": SMALL, "b": SMALL}).data
    info = b"4:infod"
    for what, old, new in (
        ("tree unsorted", b"1:ad0:", b"1:zd0:"),
        ("a name twice", b"1:bd0:", b"1:ad0:"),
        ("info unsorted", info, info + b"1:zi1e"),
        ("a number with a zero in front", info, info + b"1:ai01e"),
        ("a length with a zero in front", info, info + b"01:ai1e"),
        ("a key twice", info, info + b"1:ai1e1:ai1e"),
        ("unsorted below", info, info + b"1:ad1:zi1e1:ai1ee"),
        ("minus zero", info, info + b"1:ai-0e"),
    ):
        is_zero = what == "minus zero"
        yield (
            what,
            Case(data.replace(old, new, 1), MISSPELT, libtorrent_loads=True if is_zero else None),
        )
    files = hybrid({"a": SMALL}, [_entry("a")]).data
    unsorted = files.replace(b"d6:lengthi5e4:pathl1:ae", b"d4:pathl1:ae6:lengthi5e")
    yield "a hybrid's files unsorted", Case(unsorted, MISSPELT)
    yield "unsorted outside", Case(data.replace(b"4:info", b"1:zi1e4:info"))
    yield "a number with a zero in front, outside", Case(data.replace(b"4:info", b"1:ai01e4:info"))
    yield "a line feed behind it", Case(data + b"\n")


def _layers() -> Named:
    long, layer = file_of(LONG)
    root = long[""]["pieces root"]
    info = {**BASE, "file tree": {"a": long, "b": SMALL}}
    good: Any
    for what, good in {
        "layers": {root: layer},
        "layers missing": None,
        "no layer of any": {},
        "layers no dictionary": [],
    }.items():
        yield what, Case(torrent_around(info, good))
    for what, wrong in {
        "a layer too short": {root: layer[:-32]},
        "a layer too long": {root: layer + bytes(32)},
        "a layer of 95 bytes": {root: layer[:-1]},
        "a layer that is wrong": {root: layer[:-32] + bytes(32)},
        "a layer that is a number": {root: 1},
    }.items():
        yield what, Case(torrent_around(info, wrong), "wrong hashes of 'n/a'")
    for what, wrong in {
        "a root of 1 byte": {root: layer, b"x": b""},
        "a root of no file": {root: layer, bytes(range(1, 33)): layer},
        "a layer of a short file": {root: layer, ROOT: ROOT},
    }.items():
        yield what, Case(torrent_around(info, wrong), "is not the root of a file")
    twice, layers = v2_info({"a": LONG, "b": LONG})
    yield "a root twice, one layer", Case(torrent_around(twice, layers))
    for length in (40_001, 50_000):
        other = {"": {"length": length, "pieces root": root}}
        info = {**BASE, "file tree": {"a": long, "b": other}}
        is_close = length == 40_001
        what = "a root of two lengths" + ", as many pieces" * is_close
        error = "'n/b' has the root of a file of another length"
        yield what, Case(torrent_around(info, {root: layer}), error, libtorrent_loads=True)
    yield (
        "a root of two lengths, layers missing",
        Case(torrent_around(info), error, libtorrent_loads=True),
    )
    exact, none = v2_info({"a": LONG[:16_384], "b": LONG[:32_768]})
    yield "exact pieces", Case(torrent_around(exact, none))


def _hybrids() -> Named:
    two = {"a": SMALL, "b": SMALL}
    single = {**BASE, "file tree": {"n": SMALL}, "length": 5, "pieces": bytes(20)}
    yield "hybrid of one file", Case(torrent_around(single, {}))
    yield "hybrid without a pad at its end", hybrid(two, [_entry("a"), PAD, _entry("b")], 2)
    yield "hybrid with one", hybrid(two, [_entry("a"), PAD, _entry("b"), PAD], 2)
    odd = {**PAD, "path": ["x", "y"]}
    yield "hybrid with a pad of another name", hybrid(two, [_entry("a"), odd, _entry("b")], 2)
    nameless = {"length": 16_379, "attr": "p"}
    yield "hybrid with a nameless pad", hybrid(two, [_entry("a"), nameless, _entry("b")], 2)
    empty = {"a": SMALL, "b": EMPTY}
    yield "hybrid with an empty file", hybrid(empty, [_entry("a"), _entry("b", 0)])
    behind = [_entry("a"), PAD, _entry("b", 0)]
    yield "hybrid with an empty file behind a pad", hybrid(empty, behind)
    other = [_entry("a"), _entry("c", 0)]
    yield "hybrid with another empty file", hybrid(empty, other)
    flagged = hybrid({"a": SMALL}, [_entry("a", attr="x")])
    yield "hybrid with other attributes", flagged
    link = {"a": SMALL, "b": LINK}
    linked = _entry("b", 0, attr="l", **{"symlink path": ["a"]})
    yield "hybrid with a link", hybrid(link, [_entry("a"), linked])
    info, layers = hybrid_info({"a": LONG, "d/b": b"", "d/c": b"12345"})
    yield "hybrid with layers", Case(torrent_around(info, layers))
    yield "hybrid whose files are a number", Case(torrent_around({**single, "files": 1}, {}))
    pieces = {**single}
    del pieces["pieces"]
    yield "hybrid without pieces", Case(torrent_around(pieces, {}), "pieces", libtorrent_loads=True)
    for what, wrong, error in (
        ("hybrid whose pieces are a number", {"pieces": 1}, "pieces"),
        ("hybrid without files", {"files": []}, "files"),
    ):
        data = torrent_around({**single, **wrong}, {})
        yield what, Case(data, error, libtorrent_loads=True)
    middle = {"a": SMALL, "b": EMPTY, "c": SMALL}
    around = [_entry("a"), _entry("b", 0), PAD, _entry("c")]
    yield "hybrid with an empty file before a pad", hybrid(middle, around, 2)


def _hybrids_that_differ() -> Named:
    one, two = {"a": SMALL}, {"a": SMALL, "b": SMALL}
    single = {**BASE, "file tree": {"m": SMALL}, "length": 5, "pieces": bytes(20)}
    yield "name of the only file", Case(torrent_around(single, {}), "path: 'n' and 'm'")
    yield "length", hybrid(one, [_entry("a", 6)], 1, "length of 'a': 6 and 5 bytes")
    yield "path", hybrid(one, [_entry("b")], 1, "path: 'b' and 'a'")
    yield "no pad between", hybrid(two, [_entry("a"), _entry("b")], 1, "place of 'b': byte 5")
    swapped = [_entry("b"), PAD, _entry("a"), PAD]
    yield "order", hybrid(two, swapped, 2, "path: 'b' and 'a'")
    paths = {"d": {"a": SMALL}, "d-x": SMALL}
    whole = [_entry("d-x"), PAD, _entry("d/a")]
    yield "order by whole paths", hybrid(paths, whole, 2, "path: 'd-x' and 'd/a'")
    halves = [{**PAD, "length": 16_378}, {**PAD, "length": 1}]
    yield "two pads", hybrid(two, [_entry("a"), *halves, _entry("b")], 2, "pad files: 2, not 1")
    empty = {"a": SMALL, "b": EMPTY}
    yield "an empty file missing", hybrid(empty, [_entry("a")], 1, "number of files: 1 and 2")
    more = [_entry("a"), _entry("b", 0)]
    yield "an empty file too many", hybrid(one, more, 1, "number of files: 2 and 1")
    nothing = {"a": EMPTY, "b": EMPTY}
    yield "a tree of empty files", hybrid(nothing, more, 1, "length of 'a': 5 and 0 bytes")
    behind = {**two, "c": EMPTY}
    moved = [_entry("a"), PAD, _entry("c", 0), _entry("b")]
    yield "an empty file elsewhere", hybrid(behind, moved, 2, "path: 'c' and 'b'")
    first = [_entry("c", 0), _entry("a"), PAD, _entry("b")]
    yield "an empty file in front", hybrid(behind, first, 2, "path: 'c' and 'a'")
    yield "a file too many", hybrid(one, [_entry("a"), PAD, _entry("b")], 2, "number of files")
    yield "a piece too many", hybrid(one, [_entry("a")], 2, "are 1 pieces, not 2")
    long_pad = {**PAD, "length": 16_379 + 16_384}
    yield "a pad too long", hybrid(one, [_entry("a"), long_pad], 2, "total length")
