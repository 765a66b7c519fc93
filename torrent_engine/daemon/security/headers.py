"""HeaderFields that every answer carries, by the kind of page."""

from collections.abc import Iterable
from typing import Final

from torrent_engine.daemon.http.asgi import HeaderFields
from torrent_engine.daemon.security.access import Page

_OWN_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    b" font-src 'self'; connect-src 'self'; manifest-src 'self'; worker-src 'self';"
    b" media-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_STREAM_POLICY: Final = b"sandbox; default-src 'none'; media-src 'self'; style-src 'unsafe-inline'"

FIELDS: Final[dict[Page, HeaderFields]] = {
    Page.API: [
        (b"content-security-policy", _OWN_POLICY),
        (b"x-frame-options", b"DENY"),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"cache-control", b"no-store"),
    ],
    Page.FOREIGN_UI: [
        (b"content-security-policy", b"frame-ancestors 'self'"),
        (b"x-frame-options", b"SAMEORIGIN"),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"same-origin"),
        (b"cache-control", b"no-cache"),
    ],
    Page.STREAM: [
        (b"content-security-policy", _STREAM_POLICY),
        (b"x-frame-options", b"DENY"),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cross-origin-resource-policy", b"same-site"),
        (b"cache-control", b"private, no-transform"),
    ],
}
"""What is added unless the route says otherwise itself."""

_NEVER: Final = frozenset({b"server", b"x-powered-by"})


def completed(
    fields: Iterable[tuple[bytes, bytes]], page: Page, extra: HeaderFields
) -> HeaderFields:
    """Return the fields of an answer with those of its kind of page."""
    own = [(name, value) for name, value in fields if name.lower() not in _NEVER]
    names = {name.lower() for name, _ in own}
    return [*own, *(each for each in FIELDS[page] if each[0] not in names), *extra]


def cors_fields(origin: str) -> HeaderFields:
    """Return what lets the page of a configured origin read an answer."""
    return [
        (b"access-control-allow-origin", origin.encode("ascii", "replace")),
        (b"access-control-allow-credentials", b"true"),
        (
            b"access-control-expose-headers",
            b"ETag, Location, X-CSRF-Token, X-Transmission-Session-Id",
        ),
        (b"vary", b"Origin"),
    ]


def preflight_fields(asked_headers: str) -> HeaderFields:
    """Return what a page of a configured origin may send."""
    clean = asked_headers.encode("ascii", "replace") if asked_headers.isprintable() else b""
    return [
        (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, PATCH, DELETE"),
        (b"access-control-allow-headers", clean[:1024]),
        (b"access-control-max-age", b"600"),
    ]
