"""What is kept of named tokens and cookie sessions: never the secrets, only their hashes."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from torrent_engine.daemon.security.principals import Scope


def digest_of(secret: str) -> str:
    """Return what is stored of a random secret of 256 bits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A named token. Times are seconds since 1970."""

    id: str
    name: str
    digest: str
    scopes: frozenset[Scope]
    created_at: float
    last_used_at: float | None = None
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class CookieRecord:
    """A session of a browser. Times are seconds since 1970."""

    digest: str
    """Of the cookie; its beginning names the session."""
    kind: str
    """The interface that made it: its life and its cookie differ."""
    created_at: float
    last_used_at: float
    is_used: bool = False
    """Whether it came back once; sessions that never do end soon."""


class CredentialStore(Protocol):
    """Where records survive a restart; writing is not waited for."""

    def tokens(self) -> Iterable[TokenRecord]:
        """Return all named tokens."""

    def put_token(self, record: TokenRecord) -> None:
        """Add or replace one."""

    def drop_token(self, token_id: str) -> None:
        """Remove one."""

    def sessions(self) -> Iterable[CookieRecord]:
        """Return all sessions."""

    def put_session(self, record: CookieRecord) -> None:
        """Add or replace one."""

    def drop_session(self, digest: str) -> None:
        """Remove one."""


class MemoryCredentials:
    """A :class:`CredentialStore` that forgets all at the end of the process."""

    def __init__(self) -> None:
        self._tokens: dict[str, TokenRecord] = {}
        self._sessions: dict[str, CookieRecord] = {}

    def tokens(self) -> Iterable[TokenRecord]:
        """Return all named tokens."""
        return tuple(self._tokens.values())

    def put_token(self, record: TokenRecord) -> None:
        """Add or replace one."""
        self._tokens[record.id] = record

    def drop_token(self, token_id: str) -> None:
        """Remove one."""
        self._tokens.pop(token_id, None)

    def sessions(self) -> Iterable[CookieRecord]:
        """Return all sessions."""
        return tuple(self._sessions.values())

    def put_session(self, record: CookieRecord) -> None:
        """Add or replace one."""
        self._sessions[record.digest] = record

    def drop_session(self, digest: str) -> None:
        """Remove one."""
        self._sessions.pop(digest, None)
