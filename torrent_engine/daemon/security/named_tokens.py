"""Tokens with a name and scopes, for other programs; they are shown once and stored as hashes."""

import secrets
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from torrent_engine.base.errors import ConfigError
from torrent_engine.daemon.security.principals import Means, Principal, Scope
from torrent_engine.daemon.security.records import CredentialStore, TokenRecord, digest_of

PREFIX: Final = "te_"
MAX_TOKENS: Final = 1_000
MAX_NAME: Final = 64
_NOTE_USE_S: Final = 60.0  # ours: how exact the time of the last use is


class NamedTokens:
    """All named tokens, by the hash of their secret."""

    def __init__(self, store: CredentialStore, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now
        self._by_digest = {record.digest: record for record in store.tokens()}

    @property
    def all(self) -> tuple[TokenRecord, ...]:
        """All of them, expired ones too."""
        return tuple(self._by_digest.values())

    def make(
        self, name: str, scopes: Iterable[Scope], expires_at: float | None = None
    ) -> tuple[TokenRecord, str]:
        """Make a token; return its record and its secret. Raises ConfigError."""
        name, chosen = name.strip(), frozenset(scopes)
        if not name or len(name) > MAX_NAME or not name.isprintable():
            raise ConfigError(f"name: 1 to {MAX_NAME} printable characters are needed")
        if not chosen:
            raise ConfigError("scopes: a token without any scope is of no use")
        if len(self._by_digest) >= MAX_TOKENS:
            raise ConfigError(f"there are {MAX_TOKENS} tokens already; revoke one")
        secret = PREFIX + secrets.token_urlsafe(32)
        record = TokenRecord(
            secrets.token_hex(8), name, digest_of(secret), chosen, self._now(), None, expires_at
        )
        self._put(record)
        return record, secret

    def revoke(self, token_id: str) -> bool:
        """Remove a token; False if there is none with that id."""
        for digest, record in self._by_digest.items():
            if record.id == token_id:
                del self._by_digest[digest]
                self._store.drop_token(token_id)
                return True
        return False

    def principal(self, secret: str) -> Principal | None:
        """Return whose token it is; None if it is nobody's or has expired."""
        digest, now = digest_of(secret), self._now()
        record = self._by_digest.get(digest)
        if record is None or not self.is_valid(digest):
            return None
        if record.last_used_at is None or now - record.last_used_at >= _NOTE_USE_S:
            self._put(replace(record, last_used_at=now))
        return Principal(record.name, Means.NAMED_TOKEN, record.scopes, credential=digest)

    def is_valid(self, digest: str) -> bool:
        """Return whether the token of a hash is there and has not expired."""
        record = self._by_digest.get(digest)
        return record is not None and (record.expires_at is None or self._now() < record.expires_at)

    def _put(self, record: TokenRecord) -> None:
        self._by_digest[record.digest] = record
        self._store.put_token(record)
