"""Named tokens and cookie sessions in the daemon's database: hashes, never secrets."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from torrent_engine.daemon.security.principals import Scope
from torrent_engine.daemon.security.records import CookieRecord, TokenRecord
from torrent_engine.daemon.state.store import DaemonStore, StoredTable

RecordT = TypeVar("RecordT")
_Fields = dict[str, Any]


class StoredCredentials:
    """A :class:`CredentialStore` that outlives the process."""

    def __init__(self, store: DaemonStore) -> None:
        self._tokens = store.table("tokens")
        self._sessions = store.table("sessions")

    def tokens(self) -> Iterable[TokenRecord]:
        """Return all named tokens."""
        return tuple(_read(self._tokens, _token))

    def put_token(self, record: TokenRecord) -> None:
        """Add or replace one."""
        self._tokens.put(
            record.id,
            {
                "name": record.name,
                "digest": record.digest,
                "scopes": sorted(record.scopes),
                "created_at": record.created_at,
                "last_used_at": record.last_used_at,
                "expires_at": record.expires_at,
            },
        )

    def drop_token(self, token_id: str) -> None:
        """Remove one."""
        self._tokens.drop(token_id)

    def sessions(self) -> Iterable[CookieRecord]:
        """Return all sessions."""
        return tuple(_read(self._sessions, _session))

    def put_session(self, record: CookieRecord) -> None:
        """Add or replace one."""
        self._sessions.put(
            record.digest,
            {
                "kind": record.kind,
                "created_at": record.created_at,
                "last_used_at": record.last_used_at,
                "is_used": record.is_used,
            },
        )

    def drop_session(self, digest: str) -> None:
        """Remove one."""
        self._sessions.drop(digest)


def _read(table: StoredTable, make: Callable[[str, _Fields], RecordT]) -> Iterator[RecordT]:
    """Yield the records of a table; what cannot be read is deleted: it lets nobody in."""
    for key, value in table.items():
        try:
            yield make(key, value)
        except (TypeError, ValueError, KeyError, AttributeError):
            table.drop(key)


def _token(key: str, value: _Fields) -> TokenRecord:
    return TokenRecord(
        key,
        str(value["name"]),
        str(value["digest"]),
        frozenset(map(Scope, value["scopes"])),
        float(value["created_at"]),
        _time(value["last_used_at"]),
        _time(value["expires_at"]),
    )


def _session(key: str, value: _Fields) -> CookieRecord:
    return CookieRecord(
        key,
        str(value["kind"]),
        float(value["created_at"]),
        float(value["last_used_at"]),
        bool(value["is_used"]),
    )


def _time(value: float | None) -> float | None:
    return None if value is None else float(value)
