"""Immutable and mutable items (BEP 44): their targets and signatures.

The target of an immutable item is its hash; that of a mutable item is the hash of a public key, and
each version is signed. Source: BEP 44; BEP 46 (updatable torrents).
"""

from dataclasses import dataclass
from hashlib import sha1
from typing import Final

from torrent_engine.protocol.dht.krpc import Bencoded

PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
MAX_SEQUENCE: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class MutableItem:
    """One version of a mutable item (BEP 44)."""

    key: bytes
    """Ed25519 public key, 32 bytes."""
    sequence: int
    """0 to 2**63 - 1; higher numbers replace lower ones."""
    value: Bencoded
    signature: bytes
    """64 bytes, over :func:`signed_bytes`."""
    salt: bytes = b""
    """Up to 64 bytes that distinguish several items of one key."""

    @property
    def target(self) -> bytes:
        """Its target, 20 bytes."""
        return mutable_target(self.key, self.salt)

    def is_genuine(self) -> bool:
        """Return whether the signature is valid."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        if len(self.signature) != SIGNATURE_BYTES or len(self.key) != PUBLIC_KEY_BYTES:
            return False
        try:
            public = Ed25519PublicKey.from_public_bytes(self.key)
            public.verify(self.signature, signed_bytes(self.sequence, self.value, self.salt))
        except (InvalidSignature, ValueError):  # ValueError: not a point of the curve
            return False
        return True


def immutable_target(value: bytes) -> bytes:
    """Return the target of an immutable item: the SHA-1 of its bencoded value (BEP 44)."""
    return sha1(value, usedforsecurity=False).digest()


def mutable_target(key: bytes, salt: bytes = b"") -> bytes:
    """Return the target of a mutable item by public key and salt (BEP 44, 46)."""
    return sha1(key + salt, usedforsecurity=False).digest()


def signed_bytes(sequence: int, value: bytes, salt: bytes = b"") -> bytes:
    """Return the bytes that are signed (BEP 44)."""
    salted = b"4:salt%d:%b" % (len(salt), salt) if salt else b""
    return b"%b3:seqi%de1:v%b" % (salted, sequence, value)


def sign_item(seed: bytes, value: Bencoded, sequence: int, *, salt: bytes = b"") -> MutableItem:
    """Sign a value with the private key of a 32-byte seed.

    Raises ValueError for a seed of another length.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.from_private_bytes(seed)
    signature = private.sign(signed_bytes(sequence, value, salt))
    key = private.public_key().public_bytes_raw()
    return MutableItem(key, sequence, value, signature, salt)
