"""A response of limited size; parts that do not fit are left out."""

from collections.abc import Sequence
from typing import Final

from torrent_engine.base.ids import NodeId
from torrent_engine.protocol.dht.krpc import Bencoded, encode_response

_EMPTY_BYTES: Final = len(encode_response(b"", NodeId(bytes(20)), {}))
_LIST_BYTES: Final = len(b"le")


class Reply:
    """The values of a response, and the ``room`` left, in bytes."""

    __slots__ = ("_client", "_external", "_values", "room")

    def __init__(
        self, limit_bytes: int, transaction: bytes, external: bytes, client: bytes = b""
    ) -> None:
        self._external = external
        self._client = client
        self._values: dict[bytes, bytes] = {}
        self.room = limit_bytes - _EMPTY_BYTES
        self.room -= _string_bytes(len(transaction)) - _string_bytes(0)
        self.room -= len(b"2:ip") + _string_bytes(len(external))
        self.room -= len(b"1:v") + _string_bytes(len(client)) if client else 0

    def add(self, key: bytes, value: bytes) -> bool:
        """Add a string; return whether there was room."""
        cost = _string_bytes(len(key)) + _string_bytes(len(value))
        if cost > self.room:
            return False
        self.room -= cost
        self._values[key] = value
        return True

    def add_bencoded(self, key: bytes, value: bytes) -> bool:
        """Add a value that is bencoded already; return whether there was room."""
        cost = _string_bytes(len(key)) + len(value)
        if cost > self.room:
            return False
        self.room -= cost
        self._values[key] = Bencoded(value)
        return True

    def add_all(self, values: dict[bytes, Bencoded]) -> bool:
        """Add several bencoded values, or none of them; return whether they were added."""
        if sum(_string_bytes(len(key)) + len(value) for key, value in values.items()) > self.room:
            return False
        for key, value in values.items():
            self.add_bencoded(key, value)
        return True

    def add_records(self, key: bytes, blob: bytes, record_bytes: int, reserve: int = 0) -> None:
        """Add as many records of a string as fit, keeping ``reserve`` bytes free."""
        room = self.room - reserve - _string_bytes(len(key)) - len(b"999:")
        self.add(key, blob[: max(room, 0) // record_bytes * record_bytes])

    def list_fits(self, key: bytes, string_bytes: int) -> int:
        """Return how many strings of one length fit as a list."""
        room = self.room - _string_bytes(len(key)) - _LIST_BYTES
        return max(room, 0) // _string_bytes(string_bytes)

    def add_list(self, key: bytes, strings: Sequence[bytes]) -> bool:
        """Add a list of strings of one length; return whether there was room."""
        length = b"%d:" % len(strings[0]) if strings else b""
        return self.add_bencoded(key, b"l%b%be" % (length, length.join(strings)))

    def encode(self, transaction: bytes, own_id: NodeId) -> bytes:
        """Return the datagram."""
        return encode_response(
            transaction, own_id, self._values, external=self._external, client=self._client
        )


def _string_bytes(length: int) -> int:
    """Return the bencoded length of a string."""
    return length + (2 if length < 10 else 3 if length < 100 else 4 if length < 1000 else 5)
