"""What a route demands, declared at its function.

    @router.get("/torrents")
    @needs(Scope.READ)
    async def list_torrents() -> Response: ...

A route that declares nothing is refused to everybody, and a test looks for such routes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeVar

from torrent_engine.base.config.units import KIB, MIB
from torrent_engine.daemon.security.principals import Scope

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
_ATTRIBUTE: Final = "__daemon_access__"
JSON: Final = "application/json"
MAX_BODY_BYTES: Final = 16 * MIB
MAX_JSON_BYTES: Final = 2 * MIB
MAX_PUBLIC_BYTES: Final = 8 * KIB  # ours: a name and a password, each character as an escape


class Page(Enum):
    """What kind of answer a route gives: which security fields it needs."""

    API = "api"
    FOREIGN_UI = "foreign_ui"
    STREAM = "stream"


@dataclass(frozen=True, slots=True)
class RouteAccess:
    """What a route demands of a request."""

    scope: Scope | None
    """None with ``is_public``: everybody; without: any principal."""
    is_public: bool = False
    media_types: frozenset[str] = frozenset({JSON})
    """Types of a body; with any other one the request is refused. Empty: any."""
    max_body_bytes: int = MAX_BODY_BYTES
    max_json_bytes: int = MAX_JSON_BYTES
    prompts: bool = False
    """Whether a browser shall ask for a password."""
    has_own_csrf: bool = False
    """The route has a check of its own against requests of other sites' pages."""
    plain_errors: bool = False
    """Errors are text, and a missing credential is one of 403 (qBittorrent)."""
    takes_signed_url: bool = False
    takes_ticket: bool = False
    allows_while_starting: bool = False
    page: Page = Page.API


def needs(scope: Scope | None, **demands: Any) -> Callable[[Endpoint], Endpoint]:  # noqa: ANN401
    """Declare what a route demands, see RouteAccess; ``scope`` None: any principal."""
    return _declare(RouteAccess(scope, **demands))


def public(**demands: Any) -> Callable[[Endpoint], Endpoint]:  # noqa: ANN401
    """Declare that a route answers everybody, but takes no long bodies of them."""
    limits = {"max_body_bytes": MAX_PUBLIC_BYTES, "max_json_bytes": MAX_PUBLIC_BYTES}
    return _declare(RouteAccess(None, is_public=True, **{**demands, **limits}))


def _declare(access: RouteAccess) -> Callable[[Endpoint], Endpoint]:
    def mark(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _ATTRIBUTE, access)
        return endpoint

    return mark


def access_of(endpoint: object) -> RouteAccess | None:
    """Return what a route declares; None: nothing."""
    found = getattr(endpoint, _ATTRIBUTE, None)
    return found if isinstance(found, RouteAccess) else None
