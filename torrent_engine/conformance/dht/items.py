"""Values that nodes store, signed by a key of the kit.

Source: BEP 44.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from torrent_engine.conformance.bencoding import Bencodable, bencode

BEP44_KEY: Final = bytes.fromhex("77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548")
BEP44_VALUE: Final = b"Hello World!"
BEP44_SALT: Final = b"foobar"
BEP44_SALTED_TARGET: Final = bytes.fromhex("411eba73b6f087ca51a3795d9c8c938d365e32c1")
BEP44_SALTED_SIGNATURE: Final = bytes.fromhex(
    "6834284b6b24c3204eb2fea824d82f88883a3d95e8b4a21b8c0ded553d17d17d"
    "df9a8a7104b1258f30bed3787e6cb896fca78c58f8e03b5f18f14951a87d9a08"
)
BEP44_TARGET: Final = bytes.fromhex("4a533d47ec9c7d95b1ad75f576cffc641853b750")
BEP44_SIGNATURE: Final = bytes.fromhex(
    "305ac8aeb6c9c151fa120f120ea2cfb923564e11552d06a5d856091e5e853cff"
    "1260d3f39e4999684aa92eb73ffd136e6f4f3ecbfda0ce53a1608ecd7ae21f01"
)
IMMUTABLE_TARGET: Final = bytes.fromhex("e5f96f6f38320f0f33959cb4d3d656452117aadb")
"""Of the value ``Hello World!``."""


def immutable_target(value: Bencodable) -> bytes:
    """Return where a value is stored that cannot change."""
    return hashlib.sha1(bencode(value), usedforsecurity=False).digest()


def signed_bytes(value: Bencodable, sequence: int, salt: bytes = b"") -> bytes:
    """Return what is signed."""
    head = b"4:salt" + bencode(salt) if salt else b""
    return head + b"3:seqi%de1:v" % sequence + bencode(value)


@dataclass(frozen=True, slots=True)
class KitItem:
    """What one key signs; each key has one item, or one for each salt."""

    salt: bytes = b""
    private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def key(self) -> bytes:
        """The public key."""
        return self.private.public_key().public_bytes_raw()

    @property
    def target(self) -> bytes:
        """Where it is stored."""
        return hashlib.sha1(self.key + self.salt, usedforsecurity=False).digest()

    def put(self, value: Bencodable, sequence: int) -> dict[bytes, Bencodable]:
        """Return the arguments of a "put", but for the token."""
        signature = self.private.sign(signed_bytes(value, sequence, self.salt))
        salt: dict[bytes, Bencodable] = {b"salt": self.salt} if self.salt else {}
        return salt | {b"k": self.key, b"seq": sequence, b"sig": signature, b"v": value}
