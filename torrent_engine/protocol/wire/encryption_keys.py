"""The keys of encrypted connections: the shared secret and the RC4 streams made from it.

Source: Message Stream Encryption (no BEP describes it), https://wiki.vuze.com/w/Message_Stream_Encryption
"""

from enum import IntFlag
from hashlib import sha1
from random import Random
from typing import Final, Protocol

from torrent_engine.base.errors import EncryptionError
from torrent_engine.base.ids import InfoHash

PRIME: Final = int(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74"
    "020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437"
    "4FE1356D6D51C245E485B576625E7EC6F44C42E9A63A36210000000000090563",
    16,
)
"""A safe prime of 768 bits: its only small subgroup is that of 1 and ``PRIME - 1``."""
GENERATOR: Final = 2
KEY_BYTES: Final = 96  # MSE: public keys and the secret, big-endian
PRIVATE_BITS: Final = 160  # MSE: more would not add security
DISCARDED_BYTES: Final = 1024  # MSE: the first bytes of RC4 leak information about the key


class CryptoMethod(IntFlag):
    """The methods of ``crypto_provide`` and ``crypto_select``."""

    NONE = 0
    PLAINTEXT = 0x01
    RC4 = 0x02


class Rc4(Protocol):
    """The cipher of one direction of a stream."""

    def update(self, data: bytes | bytearray | memoryview) -> bytes:
        """Return ``data`` encrypted or decrypted, which are the same operation."""

    def update_into(self, data: memoryview, buf: memoryview) -> int:
        """Encrypt or decrypt into a buffer of at least that length, perhaps the same memory."""


class KeyExchange:
    """Our half of one Diffie-Hellman exchange."""

    __slots__ = ("_private", "public")

    def __init__(self, rng: Random) -> None:
        self._private = rng.getrandbits(PRIVATE_BITS)
        self.public = pow(GENERATOR, self._private, PRIME).to_bytes(KEY_BYTES, "big")

    def secret(self, their_public: bytes) -> bytes:
        """Return the shared secret, 96 bytes.

        Raises EncryptionError for a degenerate public key: 0, 1, the prime minus one, or a number
        not below the prime (row B11).
        """
        key = int.from_bytes(their_public, "big")
        if not 1 < key < PRIME - 1:
            raise EncryptionError("degenerate public key")
        return pow(key, self._private, PRIME).to_bytes(KEY_BYTES, "big")


def start_hash(secret: bytes) -> bytes:
    """Return the hash that follows the initiator's padding."""
    return _hash(b"req1", secret)


def req2_hash(info_hash: InfoHash) -> bytes:
    """Return the 20-byte hash that identifies a torrent in the handshake."""
    return _hash(b"req2", info_hash)


def masked_torrent(torrent_hash: bytes, secret: bytes) -> bytes:
    """Mask a torrent's hash for sending, or unmask it; both are the same operation."""
    return bytes(map(int.__xor__, torrent_hash, _hash(b"req3", secret)))


def dialler_stream(secret: bytes, info_hash: InfoHash) -> Rc4:
    """Return the cipher of the initiator's stream."""
    return _rc4(_hash(b"keyA", secret, info_hash))


def listener_stream(secret: bytes, info_hash: InfoHash) -> Rc4:
    """Return the cipher of the responder's stream."""
    return _rc4(_hash(b"keyB", secret, info_hash))


def _hash(*parts: bytes) -> bytes:
    return sha1(b"".join(parts), usedforsecurity=False).digest()


def _rc4(key: bytes) -> Rc4:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4
    from cryptography.hazmat.primitives.ciphers import Cipher

    try:
        stream = Cipher(ARC4(key), mode=None).encryptor()
    except UnsupportedAlgorithm as error:
        raise EncryptionError("this system's OpenSSL has no RC4") from error
    stream.update(bytes(DISCARDED_BYTES))
    return stream
