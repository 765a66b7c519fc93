"""The arguments of received "get" and "put" queries (BEP 44).

Source: BEP 44.
"""

from typing import Final

from torrent_engine.base.errors import KrpcError
from torrent_engine.protocol.dht.item_store import INVALID_SIGNATURE, StoredItem
from torrent_engine.protocol.dht.items import (
    MAX_SEQUENCE,
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    MutableItem,
)
from torrent_engine.protocol.dht.krpc import Bencoded, Query

SALT_TOO_BIG: Final = 207


def item_values(item: StoredItem, query: Query) -> dict[bytes, Bencoded]:
    """Return the response values for a "get"; of a known version only the sequence number."""
    if item.mutable is None:
        return {b"v": item.value}
    sequence = item.mutable.sequence
    told = {b"seq": Bencoded(b"i%de" % sequence)}
    known = query.arguments.get(b"seq")
    if isinstance(known, int) and sequence <= known:
        return told
    return told | {
        b"k": Bencoded(b"%d:%b" % (PUBLIC_KEY_BYTES, item.mutable.key)),
        b"sig": Bencoded(b"%d:%b" % (SIGNATURE_BYTES, item.mutable.signature)),
        b"v": item.value,
    }


def mutable_item(
    query: Query, value: Bencoded, max_salt_bytes: int
) -> tuple[MutableItem, int | None]:
    """Return the item of a "put", its signature unchecked, and its "cas".

    Raises KrpcError with a code of BEP 5 or 44 if an argument is missing or malformed.
    """
    arguments = query.arguments
    key, signature = arguments.get(b"k"), arguments.get(b"sig")
    if not isinstance(key, bytes) or len(key) != PUBLIC_KEY_BYTES:
        raise KrpcError("no public key", bep=44)
    if not isinstance(signature, bytes) or len(signature) != SIGNATURE_BYTES:
        raise KrpcError("invalid signature", code=INVALID_SIGNATURE, bep=44)
    salt, sequence = arguments.get(b"salt", b""), arguments.get(b"seq")
    if not isinstance(salt, bytes) or len(salt) > max_salt_bytes:
        raise KrpcError("salt too big", code=SALT_TOO_BIG, bep=44)
    if not isinstance(sequence, int) or not 0 <= sequence <= MAX_SEQUENCE:
        raise KrpcError("no sequence number", bep=44)
    cas = arguments.get(b"cas")
    if cas is not None and not isinstance(cas, int):
        raise KrpcError("cas is not a number", bep=44)
    return MutableItem(key, sequence, value, signature, salt), cas
