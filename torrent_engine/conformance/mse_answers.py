"""The kit's own message stream encryption, as the side that is connected to.

Source: "Message Stream Encryption" of the Azureus wiki, which every client follows; there is no
BEP.
"""

import random
from dataclasses import dataclass

from anyio.abc import ByteStream

from torrent_engine.conformance.mse import (
    CONSTANT,
    KEY_BYTES,
    MAX_PAD_BYTES,
    PRIVATE_BITS,
    CipherStream,
    KitRc4,
    masked_hash,
    public_key,
    sha1,
    shared_secret,
)
from torrent_engine.conformance.raw_peer import RawPeer

HASH_BYTES = 20


@dataclass(frozen=True, slots=True)
class TakenOffer:
    """An offer that a program made, as far as an answer needs it."""

    provide: int
    sending: KitRc4
    receiving: KitRc4
    first_data: bytes
    """IA, decrypted."""
    end: int
    """So many bytes of the connection belong to it."""


async def take_offer(peer: RawPeer, info_hash: bytes, limit_s: float) -> TakenOffer | None:
    """Exchange keys, and read the offer; None if it does not come, or makes no sense."""
    private = random.getrandbits(PRIVATE_BITS)
    theirs = await peer.receive_bytes(KEY_BYTES, limit_s)
    if len(theirs) < KEY_BYTES:
        return None
    await peer.send(public_key(private), "MSE: key")
    secret = shared_secret(theirs, private)
    start = await _find(peer, sha1(b"req1", secret), limit_s)
    if start is None:
        return None
    masked = (await peer.receive_bytes(start + HASH_BYTES, limit_s))[start:]
    if masked != masked_hash(info_hash, secret):
        return None
    receiving = KitRc4(sha1(b"keyA", secret, info_hash))
    reader = _OfferReader(peer, receiving, start + HASH_BYTES, limit_s)
    head = await reader.take(len(CONSTANT) + 6)
    pad = int.from_bytes(head[-2:], "big")
    tail = (await reader.take(pad + 2))[pad:]
    first_data = await reader.take(int.from_bytes(tail, "big"))
    if reader.is_short or head[: len(CONSTANT)] != CONSTANT:
        return None
    provide = int.from_bytes(head[len(CONSTANT) : -2], "big")
    sending = KitRc4(sha1(b"keyB", secret, info_hash))
    return TakenOffer(provide, sending, receiving, first_data, reader.end)


async def answer_offer(peer: RawPeer, offer: TakenOffer, selected: int) -> None:
    """Select a method, whether it was offered or not; nothing of the stream changes."""
    data = CONSTANT + selected.to_bytes(4, "big") + bytes(2)
    await peer.send(offer.sending.apply(data), f"MSE: {selected} of {offer.provide}")


def go_on_encrypted(peer: RawPeer, offer: TakenOffer) -> None:
    """Read and send what follows an answer that selected RC4."""

    def wrap(stream: ByteStream, rest: bytes) -> ByteStream:
        first = offer.first_data + offer.receiving.apply(rest)
        return CipherStream(stream, offer.sending, offer.receiving, first)

    peer.wrap(wrap, offer.end)


async def _find(peer: RawPeer, mark: bytes, limit_s: float) -> int | None:
    """Return where the mark ends, which stands behind the key and PadA."""
    count = KEY_BYTES + len(mark)
    while (start := (await peer.receive_bytes(count, limit_s)).find(mark, KEY_BYTES)) < 0:
        is_far = count >= KEY_BYTES + MAX_PAD_BYTES + len(mark)
        if peer.is_closed or is_far or peer.early_bytes < count:
            return None
        count += 1
    return start + len(mark)


class _OfferReader:
    """The encrypted part of an offer."""

    def __init__(self, peer: RawPeer, cipher: KitRc4, start: int, limit_s: float) -> None:
        self._peer = peer
        self._cipher = cipher
        self._limit_s = limit_s
        self.end = start
        self.is_short = False

    async def take(self, count: int) -> bytes:
        """Return the next bytes, decrypted; fewer if they do not come."""
        start, self.end = self.end, self.end + count
        data = (await self._peer.receive_bytes(self.end, self._limit_s))[start:]
        self.is_short = self.is_short or len(data) < count
        return self._cipher.apply(data)
