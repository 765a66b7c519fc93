"""Who makes a request, and what he may do."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    """What a principal may do."""

    READ = "read"
    ADD = "add"
    CONTROL = "control"
    SETTINGS = "settings"
    ADMIN = "admin"
    STREAM = "stream"
    METRICS = "metrics"


ALL_SCOPES: Final = frozenset(Scope)


class Means(StrEnum):
    """How a principal proved who he is."""

    TOKEN = "token"  # noqa: S105 - the name of a means
    NAMED_TOKEN = "named_token"  # noqa: S105
    BASIC = "basic"
    COOKIE = "cookie"
    UNIX = "unix"
    SIGNED_URL = "signed_url"
    TICKET = "ticket"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request."""

    name: str
    """For the log: the name of a token or user, never a secret."""
    means: Means
    scopes: frozenset[Scope] = ALL_SCOPES
    csrf_token: str = ""
    """What a cookie's requests that change something must carry."""
    session_id: str = ""
    """Names a cookie's session; not the cookie."""
    credential: str = ""
    """The hash of the cookie or named token that was shown, which may end; "": none of these."""

    def allows(self, scope: Scope) -> bool:
        """Return whether he may do that."""
        return scope in self.scopes
