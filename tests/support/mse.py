"""Message Stream Encryption a second time, as plainly as its description has it: the oracle.

Nothing here is shared with the package: RC4 and the exponentiation are written out.
"""

import hashlib
from collections.abc import Iterator
from itertools import islice

PRIME = int(
    "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22514a08798e34"
    "04ddef9519b3cd3a431b302b0a6df25f14374fe1356d6d51c245e485b576625e7ec6f44c42e9a63a362100000000"
    "00090563",
    16,
)
KEY_BYTES = 96
VC = bytes(8)
PLAINTEXT, RC4 = 1, 2


def keystream(key: bytes) -> Iterator[int]:
    """Yield the bytes of RC4 from its first."""
    state, j = list(range(256)), 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    i = j = 0
    while True:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        yield state[(state[i] + state[j]) % 256]


class Stream:
    """One direction, the first 1024 bytes dropped."""

    def __init__(self, name: bytes, secret: bytes, info_hash: bytes) -> None:
        self._bytes = keystream(sha1(name + secret + info_hash))
        for _ in islice(self._bytes, 1024):
            pass

    def crypt(self, data: bytes) -> bytes:
        return bytes(one ^ other for one, other in zip(data, self._bytes, strict=False))


def sha1(data: bytes) -> bytes:
    return hashlib.sha1(data).digest()


def power(base: int, exponent: int) -> int:
    """Return ``base ** exponent`` modulo the prime, bit by bit."""
    result = 1
    for bit in f"{exponent:b}":
        result = result * result % PRIME
        if bit == "1":
            result = result * base % PRIME
    return result


class OtherSide:
    """One side by hand: whatever it should say it can say, and also what it should not."""

    def __init__(self, info_hash: bytes, *, private: int = 0x5EC2E7) -> None:
        self.info_hash = info_hash
        self._private = private
        self.public = power(2, private).to_bytes(KEY_BYTES, "big")
        self.secret = b""
        self.from_dialler: Stream
        self.from_listener: Stream

    def meet(self, their_public: bytes) -> None:
        """Take the other public key."""
        shared = power(int.from_bytes(their_public, "big"), self._private)
        self.secret = shared.to_bytes(KEY_BYTES, "big")
        self.from_dialler = Stream(b"keyA", self.secret, self.info_hash)
        self.from_listener = Stream(b"keyB", self.secret, self.info_hash)

    @property
    def start(self) -> bytes:
        """What ends the padding of who dialled."""
        return sha1(b"req1" + self.secret)

    @property
    def torrent(self) -> bytes:
        """How the torrent is named."""
        one, other = sha1(b"req2" + self.info_hash), sha1(b"req3" + self.secret)
        return bytes(left ^ right for left, right in zip(one, other, strict=True))

    def offer(
        self,
        offered: int = PLAINTEXT | RC4,
        *,
        padding: bytes = b"",
        initial: bytes = b"",
        vc: bytes = VC,
        padding_bytes: int | None = None,
    ) -> bytes:
        """Return everything behind the padding of who dialled."""
        pad_bytes = len(padding) if padding_bytes is None else padding_bytes
        clear = vc + offered.to_bytes(4, "big") + pad_bytes.to_bytes(2, "big") + padding
        clear += len(initial).to_bytes(2, "big") + initial
        return self.start + self.torrent + self.from_dialler.crypt(clear)

    def choice(
        self,
        chosen: int = RC4,
        *,
        padding: bytes = b"",
        vc: bytes = VC,
        padding_bytes: int | None = None,
    ) -> bytes:
        """Return everything behind the padding of who was dialled."""
        pad_bytes = len(padding) if padding_bytes is None else padding_bytes
        clear = vc + chosen.to_bytes(4, "big") + pad_bytes.to_bytes(2, "big") + padding
        return self.from_listener.crypt(clear)
