"""What a scripted program knows of a torrent whose files begin with pieces: of BEP 47 and 52."""

import hashlib
from collections.abc import Iterator

from tests.conformance.scripted_content import OddTorrentError
from tests.conformance.scripted_extensions import Quirks
from torrent_engine.conformance.bencoding import Bencodable

BLOCK = 16_384
Dictionary = dict[bytes, Bencodable]


def is_aligned(info: Dictionary) -> bool:
    """Return whether files begin with pieces: by version 2, or by pads."""
    files = info.get(b"files")
    listed = files if isinstance(files, list) else []
    return b"meta version" in info or any(_is_pad(each) for each in listed)


def _is_pad(entry: object) -> bool:
    attributes = entry.get(b"attr", b"") if isinstance(entry, dict) else b""
    return isinstance(attributes, bytes) and b"p" in attributes


def tree_root(leaves: list[bytes], width: int) -> bytes:
    """Return the root above leaves, filled up with zeros to a width."""
    if width == 1:
        return leaves[0] if leaves else bytes(32)
    half = width // 2
    left, right = tree_root(leaves[:half], half), tree_root(leaves[half:], half)
    return hashlib.sha256(left + right).digest()


def width_of(count: int) -> int:
    return 1 << max(count - 1, 0).bit_length()


def leaves(data: bytes) -> list[bytes]:
    return [
        hashlib.sha256(data[place : place + BLOCK]).digest() for place in range(0, len(data), BLOCK)
    ]


class AlignedContent:
    """An info dictionary that makes sense, and the piece layers beside it."""

    is_private = False

    def __init__(self, info: Dictionary, layers: object, quirks: Quirks) -> None:
        self._quirks = quirks
        self._version = info.get(b"meta version", 1)
        if self._version not in {1, 2} and "any version" not in quirks:
            raise OddTorrentError
        size = info.get(b"piece length")
        assert isinstance(size, int)
        self.piece_bytes = size
        is_odd = size & (size - 1) > 0 and "any layers" not in quirks
        if self._version != 1 and ("no v2" in quirks or is_odd):
            raise OddTorrentError
        name = info[b"name"]
        assert isinstance(name, bytes)
        self._roots: dict[bytes, bytes] = {}
        tree = info.get(b"file tree")
        listed = list(self._walk(tree, name)) if tree is not None else []
        old = list(self._listed(info, name))
        self.hashes = info.get(b"pieces")
        if tree is not None and self.hashes is not None and [*listed] != [*old]:
            if "joins both" not in quirks:
                raise OddTorrentError
            old = listed
        self.files = listed or old
        self._layers = layers if isinstance(layers, dict) else {}
        if tree is not None and layers is not None and "any layers" not in quirks:
            self._check_layers()
        self._starts = list(self._places())
        self.length = self._space
        self.has_bad_name = any(b".." in path or b"\\" in path for path, _ in self.files)
        if self.has_bad_name and "any name" not in quirks:
            raise OddTorrentError

    def _walk(self, tree: Bencodable, path: bytes) -> Iterator[tuple[bytes, int]]:
        assert isinstance(tree, dict)
        is_strict = "any layers" not in self._quirks
        for part, below in sorted(tree.items()):
            if not part:
                raise OddTorrentError
            assert isinstance(below, dict)
            place = path + b"/" + part
            entry = below.get(b"")
            if not isinstance(entry, dict):
                yield from self._walk(below, place)
                continue
            if len(below) > 1 and is_strict:
                raise OddTorrentError
            length, root = entry[b"length"], entry.get(b"pieces root", b"")
            assert isinstance(length, int)
            assert isinstance(root, bytes)
            self._roots[place] = root
            yield place, length

    def _listed(self, info: Dictionary, name: bytes) -> Iterator[tuple[bytes, int]]:
        files = info.get(b"files")
        for each in files if isinstance(files, list) else []:
            assert isinstance(each, dict)
            if b"path" not in each and "pads need paths" in self._quirks:
                raise OddTorrentError
            if b"attr" in each:
                continue
            path, length = each[b"path"], each[b"length"]
            assert isinstance(path, list)
            assert isinstance(length, int)
            yield b"/".join([name, *path]), length  # type: ignore[list-item]

    def _check_layers(self) -> None:
        blocks = self.piece_bytes // BLOCK
        for path, length in self.files:
            if length <= self.piece_bytes:
                continue
            root = self._roots[path]
            layer = self._layers.get(root, b"")
            assert isinstance(layer, bytes)
            count = -(-length // self.piece_bytes)
            hashes = [layer[place : place + 32] for place in range(0, len(layer), 32)]
            filler = tree_root([], blocks)
            full = [*hashes, *[filler] * (width_of(count) - len(hashes))]
            if len(hashes) != count or tree_root(full, len(full)) != root:
                raise OddTorrentError

    def _places(self) -> Iterator[tuple[bytes, int, int]]:
        start = 0
        for path, length in self.files:
            yield path, start, length
            start += -(-length // self.piece_bytes) * self.piece_bytes
        self._space = start

    @property
    def piece_count(self) -> int:
        return -(-self.length // self.piece_bytes)

    def _file_of(self, index: int) -> tuple[bytes, int, int]:
        place = index * self.piece_bytes
        return next(each for each in self._starts if each[1] <= place < each[1] + each[2])

    def piece_length(self, index: int) -> int:
        _, start, length = self._file_of(index)
        rest = start + length - index * self.piece_bytes
        is_whole = self._quirks.names & {"into gaps", "asks for pads"}
        if is_whole and index + 1 < self.piece_count:
            return self.piece_bytes
        return min(self.piece_bytes, rest)

    def is_right(self, index: int, data: bytes) -> bool:
        path, start, length = self._file_of(index)
        data = data[: start + length - index * self.piece_bytes]
        is_right = True
        if isinstance(self.hashes, bytes):
            size = self.piece_bytes if index + 1 < self.piece_count else len(data)
            found = hashlib.sha1(data.ljust(size, b"\0")).digest()
            is_right = found == self.hashes[20 * index : 20 * index + 20]
        if path in self._roots and "one hash only" not in self._quirks:
            is_right = is_right and self._is_right_by_tree(path, index, start, length, data)
        return is_right

    def _is_right_by_tree(
        self, path: bytes, index: int, start: int, length: int, data: bytes
    ) -> bool:
        root = self._roots[path]
        if length <= self.piece_bytes:
            found = leaves(data)
            return tree_root(found, width_of(len(found))) == root
        layer = self._layers.get(root, b"")
        assert isinstance(layer, bytes)
        place = 32 * (index - start // self.piece_bytes)
        return tree_root(leaves(data), self.piece_bytes // BLOCK) == layer[place : place + 32]

    def forget_layers(self) -> None:
        self._layers = {}

    def questions(self) -> list[bytes]:
        """Return the beginnings of messages about hashes that are missing."""
        base = width_of(self.piece_bytes // BLOCK).bit_length() - 1
        shift = "odd questions" in self._quirks
        found = []
        for root, length in self._missing():
            count = width_of(-(-length // self.piece_bytes))
            numbers = (base, int(shift), count, 0)
            found.append(root + b"".join(each.to_bytes(4, "big") for each in numbers))
        return found

    def _missing(self) -> Iterator[tuple[bytes, int]]:
        for path, length in self.files:
            root = self._roots.get(path, b"")
            if length > self.piece_bytes and root not in self._layers:
                yield root, length

    def take_layer(self, payload: bytes) -> None:
        """Take hashes of pieces, if they lead to the root."""
        root, hashes = payload[:32], payload[48:]
        listed = [hashes[place : place + 32] for place in range(0, len(hashes), 32)]
        is_right = tree_root(listed, len(listed)) == root
        if is_right or "believes hashes" in self._quirks:
            self._layers[root] = hashes

    def checkable(self) -> set[int]:
        """Return the pieces whose hashes are there."""
        if not self._roots:
            return set(range(self.piece_count))
        missing = {root for root, _ in self._missing()}
        found: set[int] = set()
        for path, start, length in self._starts:
            if self._roots.get(path) not in missing:
                first = start // self.piece_bytes
                found.update(range(first, first - (-length // self.piece_bytes)))
        return found

    def pieces_of(self, numbers: set[int]) -> set[int]:
        """Return all pieces: no test selects files of such a torrent."""
        return set(range(self.piece_count)) if numbers else set()

    def part(self, name: str, data: bytes) -> bytes | None:
        """Return the bytes of a file; None if there is none of that name."""
        quirks = self._quirks
        if "/.pad/" in name and "asks for pads" in quirks:
            return b"\0"
        if "links twins" in quirks and name.endswith("same-b.bin"):
            return None
        for path, start, length in self._starts:
            if path == name.encode():
                return data[start : start + length]
        return None
