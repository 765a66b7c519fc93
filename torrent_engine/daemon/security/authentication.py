"""From the credentials of a request to its principal."""

import base64
import binascii
import hashlib
import hmac
import os
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final
from urllib.parse import parse_qs

import anyio
import anyio.to_thread

from torrent_engine.daemon.security.access import RouteAccess
from torrent_engine.daemon.security.cookie_sessions import OWN, QBITTORRENT, CookieSessions
from torrent_engine.daemon.security.named_tokens import NamedTokens
from torrent_engine.daemon.security.passwords import matches
from torrent_engine.daemon.security.principals import Means, Principal
from torrent_engine.daemon.security.request_facts import RequestFacts
from torrent_engine.daemon.security.signed_urls import SignedUrls
from torrent_engine.daemon.security.tickets import Tickets

MAX_HASHING: Final = 2
"""Passwords that are hashed at once; more are refused."""
MAX_REMEMBERED: Final = 64
_OF_PROXIES: Final = (
    *(b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"),
    *(b"x-real-ip", b"via"),
    *(b"origin", b"referer", b"sec-fetch-site", b"sec-fetch-mode"),
)
"""Fields of proxies, and of browsers: these reach a unix socket through a proxy only."""
_STREAM_PATH: Final = re.compile(
    r"/stream/([0-9A-Fa-f]{40,64})/([0-9]{1,7}|playlist\.m3u8)(?:/.*)?"
)


class Denial(Enum):
    """Why there is no principal."""

    MISSING = "missing"
    WRONG = "wrong"
    INVALID = "invalid"
    """A ticket or signature that is no more, or was never valid: nobody guesses these."""
    BUSY = "busy"


@dataclass(slots=True)
class Secrets:
    """What is compared with credentials; changed while the daemon runs."""

    token: str
    password_hash: str = ""
    user: str = ""
    """What Basic must name; empty: anything."""
    socket_users: frozenset[int] = field(default_factory=lambda: frozenset({os.geteuid(), 0}))


class Authenticator:
    """Finds the principal of a request."""

    def __init__(
        self,
        known: Secrets,
        tokens: NamedTokens,
        sessions: CookieSessions,
        tickets: Tickets,
        links: SignedUrls,
        *,
        now: Callable[[], float],
    ) -> None:
        self.secrets = known
        self.tokens, self.sessions, self.tickets, self.links = tokens, sessions, tickets, links
        self._now = now
        self._hashing = 0
        self._remembered: OrderedDict[bytes, str] = OrderedDict()
        self._key = secrets.token_bytes(32)

    async def principal(
        self, facts: RequestFacts, access: RouteAccess | None
    ) -> Principal | Denial:
        """Return who makes a request: by its credentials, else by the unix socket."""
        if facts.has(b"authorization"):
            return await self._by_authorization(facts.field(b"authorization") or "")
        if (found := self._by_query(facts, access)) is not None:
            return found
        if (found := self._by_cookie(facts)) is not None:
            return found
        is_passed_on = any(facts.has(name) for name in _OF_PROXIES)  # for whom is not known
        if facts.is_unix and facts.peer_uid in self.secrets.socket_users and not is_passed_on:
            return Principal(f"user {facts.peer_uid}", Means.UNIX)
        return Denial.MISSING

    # -- Authorization ----------------------------------------------------------------------

    async def _by_authorization(self, value: str) -> Principal | Denial:
        kind, _, rest = value.partition(" ")
        if kind.lower() == "bearer":
            return self._by_token(rest.strip()) or Denial.WRONG
        if kind.lower() == "basic":
            return await self._by_basic(rest.strip())
        return Denial.WRONG

    def _by_token(self, text: str) -> Principal | None:
        if _equal(text, self.secrets.token):
            return Principal("token", Means.TOKEN)
        return self.tokens.principal(text)

    async def _by_basic(self, text: str) -> Principal | Denial:
        try:
            user, colon, password = base64.b64decode(text, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return Denial.WRONG
        if not colon or (self.secrets.user and not _equal(user, self.secrets.user)):
            return Denial.WRONG
        if _equal(password, self.secrets.token):
            return Principal("token", Means.BASIC)
        if (named := self.tokens.principal(password)) is not None:
            return replace(named, means=Means.BASIC)
        denial = await self.check_password(password)
        return Principal(user or "password", Means.BASIC) if denial is None else denial

    async def check_password(self, password: str) -> Denial | None:
        """Return None for the right password. A right one is remembered, since hashing is slow."""
        stored = self.secrets.password_hash
        if not stored:
            return Denial.WRONG
        key = hmac.new(
            self._key, password.encode("utf-8", "surrogatepass"), hashlib.sha256
        ).digest()
        if self._remembered.get(key) == stored:
            self._remembered.move_to_end(key)
            return None
        if self._hashing >= MAX_HASHING:
            return Denial.BUSY
        self._hashing += 1
        try:
            is_right = await anyio.to_thread.run_sync(matches, password, stored)
        finally:
            self._hashing -= 1
        if not is_right:
            return Denial.WRONG
        self._remembered[key] = stored
        while len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)
        return None

    async def log_in(self, user: str | None, password: str) -> Denial | None:
        """Return None if a login form has the password, or the token in its place."""
        if user is not None and self.secrets.user and not _equal(user, self.secrets.user):
            return Denial.WRONG
        if _equal(password, self.secrets.token):
            return None
        return await self.check_password(password)

    # -- cookies and URLs -------------------------------------------------------------------

    def _by_cookie(self, facts: RequestFacts) -> Principal | None:
        for kind in (OWN, QBITTORRENT):
            cookie = facts.cookie(kind.name_on(facts.scheme))
            found = None if cookie is None else self.sessions.principal(cookie, kind)
            if found is not None:
                return found
        return None

    def _by_query(
        self, facts: RequestFacts, access: RouteAccess | None
    ) -> Principal | Denial | None:
        if access is None or not facts.query:
            return None
        if access.takes_ticket and (ticket := _query(facts).get("ticket")) is not None:
            return self.by_ticket(ticket) or Denial.INVALID
        if access.takes_signed_url and (signature := _query(facts).get("t")) is not None:
            return self._by_signature(facts, signature) or Denial.INVALID
        return None

    def by_ticket(self, secret: str) -> Principal | None:
        """Return whose ticket it is, and forget it; None also if its maker may do nothing now."""
        found = self.tickets.take(secret)
        return found if found is not None and self.is_current(found) else None

    def is_current(self, principal: Principal) -> bool:
        """Return whether what a principal has shown still lets in: no logout, no revocation."""
        shown = principal.credential
        return not shown or self.sessions.is_open(shown) or self.tokens.is_valid(shown)

    def _by_signature(self, facts: RequestFacts, signature: str) -> Principal | None:
        found = _STREAM_PATH.fullmatch(facts.path)
        if found is None or facts.method not in {"GET", "HEAD"}:
            return None
        file = "*" if found[2].startswith("playlist") else found[2]
        return self.links.principal(signature, found[1], file, self._now())


def _equal(given: str, known: str) -> bool:
    """Return whether two secrets are the same, in a time that does not tell how much of it is."""
    left, right = (text.encode("utf-8", "surrogatepass") for text in (given, known))
    return bool(known) and hmac.compare_digest(left, right)


def _query(facts: RequestFacts) -> Mapping[str, str]:
    """Return the values that a query has once."""
    try:
        found = parse_qs(facts.query.decode("ascii", "replace"), max_num_fields=100)
    except ValueError:
        return {}
    return {name: values[0] for name, values in found.items() if len(values) == 1}
