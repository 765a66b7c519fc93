"""The kit's own message stream encryption, as the side that connects.

Source: "Message Stream Encryption" of the Azureus wiki, which every client follows; there is no
BEP.
"""

import hashlib
import random
from dataclasses import dataclass
from typing import Final

from anyio.abc import ByteStream

from torrent_engine.conformance.raw_peer import RawPeer

PRIME: Final = int(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD"
    "EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A63A36210000000000090563",
    16,
)
GENERATOR: Final = 2
KEY_BYTES: Final = 96
PRIVATE_BITS: Final = 160
DISCARDED_BYTES: Final = 1024
CONSTANT: Final = bytes(8)
"""VC: what shows where the encrypted part begins."""
PLAIN_TEXT, RC4 = 1, 2
MAX_PAD_BYTES: Final = 512
SYNC_BYTES: Final = KEY_BYTES + MAX_PAD_BYTES + len(CONSTANT)
ANSWER_S: Final = 10.0


class KitRc4:
    """The RC4 cipher without its first 1024 bytes."""

    def __init__(self, key: bytes, discarded: int = DISCARDED_BYTES) -> None:
        state = list(range(256))
        j = 0
        for i in range(256):
            j = (j + state[i] + key[i % len(key)]) & 255
            state[i], state[j] = state[j], state[i]
        self._state = state
        self._i = self._j = 0
        self.apply(bytes(discarded))

    def apply(self, data: bytes) -> bytes:
        """Encrypt or decrypt what comes next."""
        state, i, j = self._state, self._i, self._j
        out = bytearray(len(data))
        for place, byte in enumerate(data):
            i = (i + 1) & 255
            a = state[i]
            j = (j + a) & 255
            b = state[j]
            state[i], state[j] = b, a
            out[place] = byte ^ state[(a + b) & 255]
        self._i, self._j = i, j
        return bytes(out)


def sha1(*parts: bytes) -> bytes:
    """Return the SHA-1 of several strings, one behind the other."""
    return hashlib.sha1(b"".join(parts), usedforsecurity=False).digest()


def public_key(private: int) -> bytes:
    """Return the public key of a private one."""
    return pow(GENERATOR, private, PRIME).to_bytes(KEY_BYTES, "big")


def shared_secret(theirs: bytes, private: int) -> bytes:
    """Return what both sides compute from the other's public key."""
    return pow(int.from_bytes(theirs, "big"), private, PRIME).to_bytes(KEY_BYTES, "big")


def masked_hash(info_hash: bytes, secret: bytes) -> bytes:
    """Return HASH('req2', SKEY) xor HASH('req3', S)."""
    pairs = zip(sha1(b"req2", info_hash), sha1(b"req3", secret), strict=True)
    return bytes(a ^ b for a, b in pairs)


class CipherStream(ByteStream):
    """A stream that is encrypted in both directions; ``rest`` came already, and is decrypted."""

    def __init__(self, stream: ByteStream, sending: KitRc4, receiving: KitRc4, rest: bytes) -> None:
        self._stream = stream
        self._sending = sending
        self._receiving = receiving
        self._rest = rest

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        """Return decrypted bytes."""
        if self._rest:
            data, self._rest = self._rest[:max_bytes], self._rest[max_bytes:]
            return data
        return self._receiving.apply(await self._stream.receive(max_bytes))

    async def send(self, item: bytes) -> None:
        """Encrypt and send."""
        await self._stream.send(self._sending.apply(item))

    async def send_eof(self) -> None:
        """Close our half."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()


@dataclass(frozen=True, slots=True)
class MseOffer:
    """What the kit sends, right or wrong."""

    info_hash: bytes
    provide: int = PLAIN_TEXT | RC4
    pad_a: bytes = b""
    pad_c: bytes = b""
    first_data: bytes = b""
    """IA: what is sent together with the offer."""
    constant: bytes = CONSTANT
    pad_c_length: int | None = None
    """What is said, if that is not the truth."""
    key: bytes | None = None
    """A public key of the rule's choice."""
    pause_s: float = 0.0
    """Between single bytes; 0: all at once."""


@dataclass(frozen=True, slots=True)
class MseAnswer:
    """What came of an offer."""

    selected: int
    pad_b: int
    """Length of the padding before the encrypted part."""
    pad_d: int


async def encrypt(peer: RawPeer, offer: MseOffer, limit_s: float) -> MseAnswer | None:
    """Exchange keys and make an offer; what the peer sends then is encrypted as was selected.

    Returns None if the other side closed, was silent, or sent what makes no sense.
    """
    private = random.getrandbits(PRIVATE_BITS)
    await _send(peer, (offer.key or public_key(private)) + offer.pad_a, offer, "key and PadA")
    theirs = await peer.receive_bytes(KEY_BYTES, limit_s)
    if len(theirs) < KEY_BYTES:
        return None
    secret = shared_secret(theirs, private)
    sending = KitRc4(sha1(b"keyA", secret, offer.info_hash))
    receiving = KitRc4(sha1(b"keyB", secret, offer.info_hash))
    pad_length = len(offer.pad_c) if offer.pad_c_length is None else offer.pad_c_length
    head = offer.constant + offer.provide.to_bytes(4, "big") + pad_length.to_bytes(2, "big")
    tail = len(offer.first_data).to_bytes(2, "big") + offer.first_data
    data = sha1(b"req1", secret) + masked_hash(offer.info_hash, secret)
    data += sending.apply(head + offer.pad_c + tail)
    await _send(peer, data, offer, f"offer {offer.provide}")
    return await _read_answer(peer, sending, receiving, limit_s)


async def _send(peer: RawPeer, data: bytes, offer: MseOffer, note: str) -> None:
    if offer.pause_s:
        await peer.send_slowly(data, offer.pause_s)
    else:
        await peer.send(data, f"MSE: {note}")


async def _read_answer(
    peer: RawPeer, sending: KitRc4, receiving: KitRc4, limit_s: float
) -> MseAnswer | None:
    wanted = receiving.apply(CONSTANT)
    count = KEY_BYTES + len(wanted)
    while (start := (await peer.receive_bytes(count, limit_s)).find(wanted, KEY_BYTES)) < 0:
        if peer.is_closed or count >= SYNC_BYTES or peer.early_bytes < count:
            return None
        count += 1
    behind = start + len(wanted)
    head = receiving.apply((await peer.receive_bytes(behind + 6, limit_s))[behind:])
    if len(head) < 6:
        return None
    selected, pad_d = int.from_bytes(head[:4], "big"), int.from_bytes(head[4:], "big")
    end = behind + 6 + pad_d
    pad = await peer.receive_bytes(end, limit_s)
    if len(pad) < end:
        return None
    receiving.apply(pad[behind + 6 :])

    def wrap(stream: ByteStream, rest: bytes) -> ByteStream:
        if selected != RC4:
            return stream
        return CipherStream(stream, sending, receiving, receiving.apply(rest))

    peer.wrap(wrap, end)
    return MseAnswer(selected, start - KEY_BYTES, pad_d)
