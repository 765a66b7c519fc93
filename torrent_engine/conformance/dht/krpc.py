"""Messages of the DHT, apart from the engine's own: any dictionary may be sent, any is read.

Source: BEP 5, "KRPC protocol".
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from torrent_engine.conformance.bencoding import Bencodable, bencode, parse_dictionary
from torrent_engine.conformance.errors import KitBencodeError

ID_BYTES: Final = 20
NODE_BYTES: Final = 26
NODE6_BYTES: Final = 38
VERSION: Final = b"TC01"
NodeAddress = tuple[str, int]
KrpcArguments = Mapping[bytes, Bencodable]


@dataclass(frozen=True, slots=True)
class KrpcMessage:
    """One datagram that is a dictionary."""

    content: dict[bytes, Bencodable]
    sender: NodeAddress
    at: float
    size: int
    """Length of the datagram."""

    @property
    def kind(self) -> bytes:
        """``q``, ``r`` or ``e``; anything else as it came."""
        return text_of(self.content, b"y")

    @property
    def transaction(self) -> bytes:
        """The transaction id; empty if there is none."""
        return text_of(self.content, b"t")

    @property
    def method(self) -> str:
        """The method of a query."""
        return text_of(self.content, b"q").decode("latin-1")

    @property
    def values(self) -> dict[bytes, Bencodable]:
        """What a response returns; empty if it is none."""
        found = self.content.get(b"r")
        return found if isinstance(found, dict) else {}

    @property
    def arguments(self) -> dict[bytes, Bencodable]:
        """The arguments of a query; empty if it is none."""
        found = self.content.get(b"a")
        return found if isinstance(found, dict) else {}

    @property
    def error(self) -> int | None:
        """The code of an error; None for other messages, 0 for one without a code."""
        if self.kind != b"e":
            return None
        found = self.content.get(b"e")
        code = found[0] if isinstance(found, list) and found else 0
        return code if isinstance(code, int) else 0

    def text(self, key: bytes) -> bytes:
        """Return a string of a response; empty if it is not there."""
        return text_of(self.values, key)

    def argument(self, key: bytes) -> bytes:
        """Return a string of a query; empty if it is not there."""
        return text_of(self.arguments, key)

    @property
    def peers(self) -> list[bytes]:
        """The strings of "values"."""
        found = self.values.get(b"values")
        return (
            [each for each in found if isinstance(each, bytes)] if isinstance(found, list) else []
        )

    @property
    def node_ids(self) -> list[bytes]:
        """The ids of "nodes"."""
        return [each[:ID_BYTES] for each in cut(self.text(b"nodes"), NODE_BYTES)]


def text_of(values: KrpcArguments, key: bytes) -> bytes:
    """Return a string of a dictionary; empty if it is not there."""
    found = values.get(key)
    return found if isinstance(found, bytes) else b""


def cut(blob: bytes, size: int) -> Iterator[bytes]:
    """Yield the whole parts of a string of records."""
    for start in range(0, len(blob) - size + 1, size):
        yield blob[start : start + size]


def parse_krpc(data: bytes, sender: NodeAddress, at: float) -> KrpcMessage | None:
    """Read a datagram; None if it is no dictionary."""
    try:
        content = parse_dictionary(data)
    except KitBencodeError:
        return None
    return KrpcMessage(content, sender, at, len(data))


def query(transaction: bytes, method: str, arguments: KrpcArguments, **extra: Bencodable) -> bytes:
    """Return a query; ``extra`` stands beside its arguments."""
    more = {key.encode(): value for key, value in extra.items()}
    message: dict[bytes, Bencodable] = {
        b"a": dict(arguments),
        b"q": method.encode(),
        b"t": transaction,
        b"y": b"q",
    }
    return bencode({**message, **more})


def response(transaction: bytes, values: KrpcArguments, **extra: Bencodable) -> bytes:
    """Return a response."""
    more = {key.encode(): value for key, value in extra.items()}
    message: dict[bytes, Bencodable] = {b"r": dict(values), b"t": transaction, b"y": b"r"}
    return bencode({**message, b"v": VERSION, **more})


def failure(transaction: bytes, code: int, text: str = "no") -> bytes:
    """Return an error."""
    return bencode({b"e": [code, text.encode()], b"t": transaction, b"y": b"e"})
