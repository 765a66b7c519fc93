"""URLs with raw spaces and non-ASCII characters, normalised for requests.

Source: RFC 3986 section 2 (percent-encoding), RFC 3987 section 3.1 (UTF-8 before that), RFC 3490
(names of hosts).
"""

import re
from typing import Final
from urllib.parse import quote, quote_from_bytes, urlsplit

_ASCII: Final = bytes(range(0x80)).decode("ascii")
_LONE_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PATH_SAFE: Final = "/:@!$&'()*+,;=~-._%"
_QUERY_SAFE: Final = _PATH_SAFE + "?"

TRACKER_SCHEMES: Final = ("http", "https", "udp")
WEB_SCHEMES: Final = ("http", "https")
TRACKER_PREFIXES: Final = tuple(f"{scheme}://" for scheme in TRACKER_SCHEMES)
WEB_PREFIXES: Final = tuple(f"{scheme}://" for scheme in WEB_SCHEMES)
MAX_HOST_CHARS: Final = 253  # DNS has no longer name (RFC 1035, 2.3.4)
MAX_LABEL_CHARS: Final = 63  # nor a longer part of one


def url_text(raw: bytes) -> str:
    """Return a URL of a torrent, a link or a header as text.

    UTF-8 stays readable where it can be printed. The rest of what is not ASCII is percent-encoded
    byte for byte; control characters of ASCII stay, and are for the caller to refuse.
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return quote_from_bytes(raw, safe=_ASCII)
    return "".join(
        char if char.isascii() or char.isprintable() else quote(char, safe="") for char in text
    )


def quote_path(path: str) -> str:
    """Return a path as it goes on the wire; what is percent-encoded already stays as it is.

    A percent sign that begins no escape is one itself. Raises ValueError for lone surrogates.
    """
    return quote(_LONE_PERCENT.sub("%25", path), safe=_PATH_SAFE)


def quote_query(query: str) -> str:
    """Return a query as it goes on the wire, as :func:`quote_path` does."""
    return quote(_LONE_PERCENT.sub("%25", query), safe=_QUERY_SAFE)


def ascii_host(host: str) -> str:
    """Return a host name as DNS wants it: lower case, IDNA for what is not ASCII.

    Raises ValueError (UnicodeError) if there is no such spelling, or if it has spaces or an empty
    label, or is longer than a name can be: IDNA takes 15 ms for a thousand labels.
    """
    if len(host) > MAX_HOST_CHARS:
        raise ValueError("a host name that is too long")
    name = host.lower() if host.isascii() else host.encode("idna").decode("ascii").lower()
    if any(char <= " " or char == "\x7f" for char in name):
        raise ValueError("a host name with spaces or control characters")
    labels = name.removesuffix(".").split(".")
    if name and not all(0 < len(label) <= MAX_LABEL_CHARS for label in labels):
        raise ValueError("a host name with an empty or a long label")
    return name


def host_of(url: str) -> str:
    """Return the host of a URL in lower case; "" if it has none, or is malformed."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
