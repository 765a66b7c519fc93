"""Lookups of items: their queries, and the validation of responses.

Source: BEP 44. A value is valid if it hashes to the target, or if it is signed by a key that does;
of signed ones the highest sequence number wins.
"""

from collections.abc import Iterator
from typing import Final

from torrent_engine.base.ids import NodeId, PeerAddress
from torrent_engine.protocol.dht.events import DhtEvent, ItemFound, LookupKind
from torrent_engine.protocol.dht.items import (
    MAX_SEQUENCE,
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    MutableItem,
    immutable_target,
)
from torrent_engine.protocol.dht.krpc import Bencoded, NodeInfo, Response
from torrent_engine.protocol.dht.lookup_tasks import Arguments, LookupTask

PADDING: Final[Arguments] = {b"pad": bytes(320)}
"""Padding that makes the query a third of the size of a response with a value: nodes limit their
responses to unverified addresses to three times the query (row C1)."""


class GetItem(LookupTask):
    """Get an item: an immutable one ends the lookup, of a mutable one the newest is searched."""

    kind = LookupKind.GET
    method = b"get"
    is_widened = True

    def __init__(self, target: NodeId, *, salt: bytes = b"", min_seq: int | None = None) -> None:
        super().__init__(target)
        self._salt = salt
        self._newest = -1 if min_seq is None else min_seq
        self._newer_than: Arguments = {} if min_seq is None else {b"seq": min_seq}

    def arguments(self) -> Arguments:
        """Return the arguments of the query, without our own id."""
        return {b"target": self.target, **self._newer_than, **PADDING}

    def take(self, lookup: int, node: NodeInfo, response: Response) -> Iterator[DhtEvent]:
        """Yield a verified value that is newer than the one before."""
        value = response.value
        if value is None:
            return
        if immutable_target(value) == self.target:
            self.found += 1
            self.is_enough = True
            yield ItemFound(lookup, self.target, value)
            return
        item = _signed_item(response, value, self._salt)
        if item is None or item.target != self.target or item.sequence < self._newest:
            return
        if item.is_genuine():
            self.found += 1
            self.holders.add(node.address)
            if item.sequence > self._newest:
                self._newest = item.sequence
                yield ItemFound(lookup, self.target, value, item)


class PutImmutable(LookupTask):
    """Put an immutable item at the nodes closest to its hash."""

    kind = LookupKind.PUT
    method = b"get"
    is_widened = True
    writes = True

    def __init__(self, value: Bencoded) -> None:
        super().__init__(NodeId(immutable_target(value)))
        self._value = value

    def arguments(self) -> Arguments:
        """Return the arguments of the query, without our own id."""
        return {b"target": self.target, **PADDING}

    def take(self, lookup: int, node: NodeInfo, response: Response) -> Iterator[DhtEvent]:
        """Count the nodes that store it already."""
        if response.value == self._value:
            self.found += 1
            self.holders.add(node.address)
        yield from ()

    def write(self, node: NodeInfo, token: bytes) -> tuple[bytes, Arguments]:
        """Return the method and arguments of a "put" query."""
        return b"put", {b"token": token, b"v": self._value}


class PutMutable(LookupTask):
    """Put a signed item at the closest nodes, in place of an older version."""

    kind = LookupKind.PUT
    method = b"get"
    is_widened = True
    writes = True

    def __init__(self, item: MutableItem, *, cas: int | None = None) -> None:
        super().__init__(NodeId(item.target))
        self._item = item
        self._cas = cas
        self._older: set[PeerAddress] = set()
        """Nodes with a version older than the one to replace."""

    def arguments(self) -> Arguments:
        """Return the arguments of the query, without our own id."""
        return {b"target": self.target, **PADDING}

    def take(self, lookup: int, node: NodeInfo, response: Response) -> Iterator[DhtEvent]:
        """Record the nodes that have a version; "cas" is sent only to those where it may match."""
        sequence = response.values.get(b"seq")
        if response.value is not None or sequence is not None:
            self.holders.add(node.address)
            self.found += 1
            if self._cas is not None and isinstance(sequence, int) and sequence < self._cas:
                self._older.add(node.address)
        yield from ()

    def write(self, node: NodeInfo, token: bytes) -> tuple[bytes, Arguments]:
        """Return the method and arguments of a "put" query."""
        item = self._item
        arguments: Arguments = {
            b"k": item.key,
            b"seq": item.sequence,
            b"sig": item.signature,
            b"token": token,
            b"v": item.value,
        }
        if item.salt:
            arguments[b"salt"] = item.salt
        if self._cas is not None and node.address in self.holders - self._older:
            arguments[b"cas"] = self._cas
        return b"put", arguments


def _signed_item(response: Response, value: Bencoded, salt: bytes) -> MutableItem | None:
    key, sequence = response.values.get(b"k"), response.values.get(b"seq")
    signature = response.values.get(b"sig")
    if not isinstance(key, bytes) or len(key) != PUBLIC_KEY_BYTES:
        return None
    if not isinstance(signature, bytes) or len(signature) != SIGNATURE_BYTES:
        return None
    if not isinstance(sequence, int) or not 0 <= sequence <= MAX_SEQUENCE:
        return None
    return MutableItem(key, sequence, value, signature, salt)
