"""Sessions of browsers: a cookie, and a token that proves that our own page sends a request."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from torrent_engine.daemon.security.principals import Means, Principal
from torrent_engine.daemon.security.records import CookieRecord, CredentialStore, digest_of

MAX_SESSIONS: Final = 1_000
UNUSED_S: Final = 60.0  # ours: a session that never comes back
_NOTE_USE_S: Final = 60.0
_ID_CHARACTERS: Final = 16


@dataclass(frozen=True, slots=True)
class CookieKind:
    """The cookie of one interface."""

    name: str
    """In plain HTTP; on TLS with the prefix ``__Host-`` unless it is fixed."""
    life_s: float
    """From the last use."""
    is_fixed_name: bool = False

    def name_on(self, scheme: str) -> str:
        """Return the name of the cookie."""
        return self.name if self.is_fixed_name or scheme != "https" else f"__Host-{self.name}"


OWN: Final = CookieKind("te_session", 30 * 86_400.0)
QBITTORRENT: Final = CookieKind("SID", 3_600.0, is_fixed_name=True)
KINDS: Final = {OWN.name: OWN, QBITTORRENT.name: QBITTORRENT}


def csrf_token_of(cookie: str) -> str:
    """Return the token that belongs to a cookie; it can be told only by who has the cookie."""
    digest = hmac.new(cookie.encode("utf-8"), b"torrent-engine csrf", hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")


class CookieSessions:
    """All sessions, by the hash of their cookie; the oldest end when there are too many."""

    def __init__(self, store: CredentialStore, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now
        self._by_digest = {record.digest: record for record in store.sessions()}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._by_digest)

    def begin(self, kind: CookieKind) -> str:
        """Begin a session; return its cookie."""
        self._clean()
        while len(self._by_digest) >= MAX_SESSIONS:
            oldest = min(self._by_digest.values(), key=lambda record: record.last_used_at)
            self._drop(oldest.digest)
        cookie, now = secrets.token_urlsafe(32), self._now()
        self._put(CookieRecord(digest_of(cookie), kind.name, now, now))
        return cookie

    def end(self, cookie: str) -> None:
        """End a session; does nothing if there is none."""
        if (digest := digest_of(cookie)) in self._by_digest:
            self._drop(digest)

    def end_all(self) -> None:
        """End every session, as after a change of the password."""
        for digest in list(self._by_digest):
            self._drop(digest)

    def principal(self, cookie: str, kind: CookieKind) -> Principal | None:
        """Return whose cookie it is, and prolong the session; None if it is nobody's."""
        record = self._by_digest.get(digest_of(cookie))
        if record is None or record.kind != kind.name:
            return None
        now = self._now()
        if now >= self._ends_at(record):
            self._drop(record.digest)
            return None
        if not record.is_used or now - record.last_used_at >= _NOTE_USE_S:
            self._put(replace(record, last_used_at=now, is_used=True))
        session_id = record.digest[:_ID_CHARACTERS]
        return Principal(
            "session",
            Means.COOKIE,
            csrf_token=csrf_token_of(cookie),
            session_id=session_id,
            credential=record.digest,
        )

    def is_open(self, digest: str) -> bool:
        """Return whether there is a session of the hash of a cookie."""
        record = self._by_digest.get(digest)
        return record is not None and self._now() < self._ends_at(record)

    def expires_at(self, cookie: str) -> float | None:
        """Return when a session ends if its cookie does not come back; None if there is none."""
        record = self._by_digest.get(digest_of(cookie))
        return None if record is None else record.last_used_at + KINDS[record.kind].life_s

    def _ends_at(self, record: CookieRecord) -> float:
        life_s = KINDS[record.kind].life_s if record.is_used else UNUSED_S
        return record.last_used_at + life_s

    def _clean(self) -> None:
        now = self._now()
        for record in [each for each in self._by_digest.values() if now >= self._ends_at(each)]:
            self._drop(record.digest)

    def _put(self, record: CookieRecord) -> None:
        self._by_digest[record.digest] = record
        self._store.put_session(record)

    def _drop(self, digest: str) -> None:
        del self._by_digest[digest]
        self._store.drop_session(digest)
