"""What a scripted program knows of a torrent: files, pieces, hashes."""

import hashlib
from collections.abc import Iterator

from torrent_engine.conformance.bencoding import Bencodable, parse_dictionary


class OddTorrentError(Exception):
    """The torrent is refused."""


class ScriptedContent:
    """An info dictionary that makes sense."""

    def __init__(self, info: bytes, *, takes_any_name: bool = False) -> None:
        content = parse_dictionary(info)
        self.piece_bytes = _positive(content.get(b"piece length"))
        hashes = content.get(b"pieces")
        name = content.get(b"name")
        if not isinstance(hashes, bytes) or not isinstance(name, bytes):
            raise OddTorrentError
        self._hashes = hashes
        self.is_private = content.get(b"private") == 1
        self.files = list(_files(name, content))
        self.attributes = dict(_attributes(name, content))
        self.length = sum(length for _, length in self.files)
        if len(hashes) != 20 * self.piece_count or not hashes:
            raise OddTorrentError
        self.has_bad_name = any(map(_is_bad_name, self.files))
        if self.has_bad_name and not takes_any_name:
            raise OddTorrentError

    @property
    def piece_count(self) -> int:
        return -(-self.length // self.piece_bytes)

    def piece_length(self, index: int) -> int:
        return min(self.piece_bytes, self.length - index * self.piece_bytes)

    def is_right(self, index: int, data: bytes) -> bool:
        return hashlib.sha1(data).digest() == self._hashes[20 * index : 20 * index + 20]

    def checkable(self) -> set[int]:
        """Return the pieces whose hashes are there: all."""
        return set(range(self.piece_count))

    def pieces_of(self, numbers: set[int]) -> set[int]:
        """Return the pieces that some files have a part of."""
        found: set[int] = set()
        start = 0
        for number, (_, length) in enumerate(self.files):
            if number in numbers and length:
                last = (start + length - 1) // self.piece_bytes
                found.update(range(start // self.piece_bytes, last + 1))
            start += length
        return found

    def part(self, name: str, data: bytes) -> bytes | None:
        """Return the bytes of a file; None if there is none of that name."""
        start = 0
        for path, length in self.files:
            if path == name.encode():
                return data[start : start + length]
            start += length
        return None


def _positive(value: object) -> int:
    if not isinstance(value, int) or not 0 < value <= 2**27:
        raise OddTorrentError
    return value


def _files(name: bytes, content: dict[bytes, Bencodable]) -> list[tuple[bytes, int]]:
    if b"files" not in content:
        length = content.get(b"length")
        if not isinstance(length, int) or not 0 < length < 2**40:
            raise OddTorrentError
        return [(name, length)]
    files, found = content[b"files"], []
    assert isinstance(files, list)
    for each in files:
        assert isinstance(each, dict)
        path, length = each[b"path"], each[b"length"]
        assert isinstance(path, list)
        assert isinstance(length, int)
        found.append((b"/".join([name, *path]), length))  # type: ignore[list-item]
    if not found:
        raise OddTorrentError
    return found


def _attributes(
    name: bytes, content: dict[bytes, Bencodable]
) -> Iterator[tuple[bytes, tuple[Bencodable, Bencodable]]]:
    """Yield the path of each file that has attributes, these, and where a link leads."""
    files = content.get(b"files")
    for each in files if isinstance(files, list) else []:
        if isinstance(each, dict) and b"attr" in each and isinstance(each[b"path"], list):
            path = b"/".join([name, *each[b"path"]])  # type: ignore[list-item]
            yield path, (each[b"attr"], each.get(b"symlink path", []))


def _is_bad_name(file: tuple[bytes, int]) -> bool:
    parts = file[0].replace(b"\\", b"/").split(b"/")
    return bool({b"", b".", b".."} & set(parts)) or b"\0" in file[0] or len(file[0]) > 200
