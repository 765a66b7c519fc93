"""Hashes of passwords: scrypt, in text that names its parameters."""

import base64
import hashlib
import hmac
import secrets
from typing import Final

N: Final = 2**15
R: Final = 8
P: Final = 1
SALT_BYTES: Final = 16
HASH_BYTES: Final = 32
MAX_MEMORY_BYTES: Final = 128 * 1024 * 1024
MAX_CHARACTERS: Final = 1024
_LABEL: Final = "scrypt"


def hash_password(password: str) -> str:
    """Return what is stored of a password; takes about 100 ms."""
    salt = secrets.token_bytes(SALT_BYTES)
    digest = _scrypt(password, salt, N, R, P)
    return "$".join([_LABEL, f"{N},{R},{P}", _text(salt), _text(digest)])


def is_hash(stored: str) -> bool:
    """Return whether a text is what :func:`hash_password` returns."""
    return _parsed(stored) is not None


def matches(password: str, stored: str) -> bool:
    """Return whether a password has that hash; takes as long for every password."""
    parsed = _parsed(stored)
    if parsed is None or len(password) > MAX_CHARACTERS:
        return False
    n, r, p, salt, digest = parsed
    return hmac.compare_digest(_scrypt(password, salt, n, r, p), digest)


def _parsed(stored: str) -> tuple[int, int, int, bytes, bytes] | None:
    try:
        label, numbers, salt, digest = stored.split("$")
        n, r, p = map(int, numbers.split(","))
        values = base64.b64decode(salt, validate=True), base64.b64decode(digest, validate=True)
    except ValueError:
        return None
    is_sane = 1 < n <= 2**17 and n & (n - 1) == 0 and 0 < r <= 16 and 0 < p <= 4
    if label != _LABEL or not is_sane or len(values[1]) != HASH_BYTES:
        return None
    return n, r, p, *values


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    data = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(data, salt=salt, n=n, r=r, p=p, maxmem=MAX_MEMORY_BYTES, dklen=HASH_BYTES)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
