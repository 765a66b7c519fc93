"""Peer exchange messages: ``ut_pex``.

Source: BEP 11; BEP 23 and BEP 7 for the compact lists.
"""

from dataclasses import dataclass
from enum import IntFlag
from itertools import zip_longest
from typing import Final, NamedTuple, TypeVar

from torrent_engine.base.config import PEX_BENCODE_LIMITS, PexConfig
from torrent_engine.base.errors import BencodeError, RemoteProtocolError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.codec.bencode import BencodeValue, encode
from torrent_engine.codec.compact import (
    IPV4_PEER_BYTES,
    IPV6_PEER_BYTES,
    decode_ipv4_peers,
    decode_ipv6_peers,
    encode_peer,
)
from torrent_engine.codec.tolerant import decode_reply

T = TypeVar("T")
Entries = dict[bytes, BencodeValue]

UT_PEX: Final = "ut_pex"
DEFAULTS: Final = PexConfig()


class PexFlag(IntFlag):
    """The flags of a contact; unknown bits are kept."""

    NONE = 0
    PREFERS_ENCRYPTION = 0x01
    UPLOAD_ONLY = 0x02
    """It is a seed or a partial seed."""
    SUPPORTS_UTP = 0x04
    SUPPORTS_HOLEPUNCH = 0x08
    REACHABLE = 0x10
    """The sender dialled it."""


class PexContact(NamedTuple):
    """A peer that the sender is connected to."""

    address: PeerAddress
    flags: PexFlag = PexFlag.NONE


@dataclass(frozen=True, slots=True)
class PexMessage:
    """The contacts added and dropped since the last message."""

    added: tuple[PexContact, ...] = ()
    dropped: tuple[PeerAddress, ...] = ()


def encode_pex(message: PexMessage) -> bytes:
    """Return the bencoded dictionary, without its message header.

    Host names and empty lists are left out.
    """
    entries: dict[bytes, BencodeValue] = {}
    all_added = [(encode_peer(each.address), int(each.flags) & 0xFF) for each in message.added]
    all_dropped = list(map(encode_peer, message.dropped))
    for suffix, size in ((b"", IPV4_PEER_BYTES), (b"6", IPV6_PEER_BYTES)):
        added = [(raw, flags) for raw, flags in all_added if len(raw) == size]
        dropped = [raw for raw in all_dropped if len(raw) == size]
        if added:
            entries[b"added" + suffix] = b"".join(raw for raw, _ in added)
            entries[b"added" + suffix + b".f"] = bytes(flags for _, flags in added)
        if dropped:
            entries[b"dropped" + suffix] = b"".join(dropped)
    return encode(entries)


def decode_pex(payload: bytes, config: PexConfig = DEFAULTS) -> PexMessage:
    """Decode one message, up to ``max_contacts`` added and as many dropped contacts.

    IPv4 and IPv6 contacts alternate. Missing flags are 0. A list of another type counts as empty,
    and an incomplete last contact is ignored. Raises RemoteProtocolError if the payload is too
    long or does not begin with a bencoded dictionary.
    """
    if len(payload) > config.max_message_bytes:
        raise RemoteProtocolError(f"ut_pex of {len(payload)} bytes", bep=11)
    try:
        value, _ = decode_reply(payload, limits=PEX_BENCODE_LIMITS)
    except BencodeError as error:
        raise RemoteProtocolError(f"ut_pex: {error}", bep=11) from error
    count = config.max_contacts
    added = _in_turn(_contacts(value, b"added", count), _contacts(value, b"added6", count))
    dropped = _in_turn(_addresses(value, b"dropped", count), _addresses(value, b"dropped6", count))
    return PexMessage(tuple(added[:count]), tuple(dropped[:count]))


def _contacts(value: Entries, key: bytes, max_count: int) -> list[PexContact]:
    addresses, flags = _addresses(value, key, max_count), value.get(key + b".f")
    flags = flags[:max_count] if isinstance(flags, bytes) else b""
    return list(map(PexContact, addresses, map(PexFlag, flags.ljust(len(addresses), b"\0"))))


def _addresses(value: Entries, key: bytes, max_count: int) -> list[PeerAddress]:
    blob, is_ipv6 = value.get(key), key.endswith(b"6")
    if not isinstance(blob, bytes):
        return []
    size = IPV6_PEER_BYTES if is_ipv6 else IPV4_PEER_BYTES
    decode_peers = decode_ipv6_peers if is_ipv6 else decode_ipv4_peers
    return decode_peers(blob[: min(max_count, len(blob) // size) * size])


def _in_turn(one: list[T], other: list[T]) -> list[T]:
    """Return both lists interleaved."""
    pairs = zip_longest(one, other)
    return [each for pair in pairs for each in pair if each is not None]
