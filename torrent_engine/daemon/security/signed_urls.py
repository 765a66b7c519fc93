"""Signatures in URLs of streamed files, for players that cannot log in.

A signature allows reading one file of one torrent, or all of its files, until a time.
"""

import base64
import hashlib
import hmac
from typing import Final

from torrent_engine.daemon.security.principals import Means, Principal, Scope

ANY_FILE: Final = "*"
_MAC_BYTES: Final = 16
_MAX_CHARACTERS: Final = 64


class SignedUrls:
    """Makes and checks signatures with a key of the state folder."""

    def __init__(self, key: str) -> None:
        self._key = hashlib.sha256(b"torrent-engine stream links " + key.encode("utf-8")).digest()

    def sign(self, info_hash: str, file: str, expires_at: int) -> str:
        """Return the ``t`` of a URL; ``file`` is the index of a file or ``*``."""
        scope = "a" if file == ANY_FILE else "f"
        return f"{scope}.{expires_at:x}.{self._mac(info_hash, file, expires_at)}"

    def principal(self, text: str, info_hash: str, file: str, now: float) -> Principal | None:
        """Return who may read that file by a signature; None if it does not say so."""
        parts = text.split(".") if len(text) <= _MAX_CHARACTERS else []
        if len(parts) != 3 or parts[0] not in {"a", "f"}:
            return None
        try:
            expires_at = int(parts[1], 16)
        except ValueError:
            return None
        expected = self._mac(info_hash, ANY_FILE if parts[0] == "a" else file, expires_at)
        if not hmac.compare_digest(expected.encode(), parts[2].encode("utf-8", "replace")):
            return None
        if now >= expires_at:
            return None
        return Principal("link", Means.SIGNED_URL, frozenset({Scope.STREAM}))

    def _mac(self, info_hash: str, file: str, expires_at: int) -> str:
        message = f"GET\n{info_hash.lower()}\n{file}\n{expires_at}".encode()
        digest = hmac.new(self._key, message, hashlib.sha256).digest()[:_MAC_BYTES]
        return base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")
