"""Write tokens: proof that a node receives datagrams at its address.

Source: BEP 5; BEP 44 (bound to a key as well); row C2.
"""

from hashlib import blake2b
from hmac import compare_digest
from typing import Final

TOKEN_BYTES: Final = 8
SECRET_BYTES: Final = 32


class WriteTokens:
    """Creation and validation of tokens, without storing any.

    The secret behind the tokens is derived from ``secret``, which is random, and changes every
    ``lifetime_s``; tokens of the previous one are still valid.
    """

    def __init__(self, secret: bytes, lifetime_s: float) -> None:
        self._secret = secret[:64]
        self._lifetime_s = lifetime_s
        self._epoch: int | None = None
        self._present = self._previous = b""

    def token(self, packed_host: bytes, key: bytes, now: float) -> bytes:
        """Return the token for an address, 4 or 16 bytes, and an info-hash or target."""
        self._turn(now)
        return _token(self._present, packed_host, key)

    def is_valid(self, token: object, packed_host: bytes, key: bytes, now: float) -> bool:
        """Return whether a value is a valid token of this address for this key."""
        if not isinstance(token, bytes):
            return False
        self._turn(now)
        return any(
            compare_digest(token, _token(secret, packed_host, key))
            for secret in (self._present, self._previous)
        )

    def _turn(self, now: float) -> None:
        epoch = int(now // self._lifetime_s)
        if epoch != self._epoch:
            self._epoch = epoch
            self._present, self._previous = self._secret_of(epoch), self._secret_of(epoch - 1)

    def _secret_of(self, epoch: int) -> bytes:
        return blake2b(b"%d" % epoch, key=self._secret, digest_size=SECRET_BYTES).digest()


def _token(secret: bytes, packed_host: bytes, key: bytes) -> bytes:
    return blake2b(packed_host + key, key=secret, digest_size=TOKEN_BYTES).digest()
