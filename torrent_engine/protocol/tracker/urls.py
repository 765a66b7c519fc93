"""Tracker URLs: validation, and redaction of secrets.

Source: BEP 3, 15, 41, 48; fault model, rows D1 and D4.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import SplitResult, urlsplit

from torrent_engine.base.errors import TrackerError
from torrent_engine.codec.urls import (
    MAX_HOST_CHARS,
    TRACKER_SCHEMES,
    ascii_host,
    quote_path,
    quote_query,
)

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
PARSED_URLS: Final = 1_024  # ours: thousands of torrents share a few trackers
MAX_URL_CHARS: Final = 4_096  # ours: each one is kept in memory
REDACTED: Final = "***"
MAX_SHOWN_ELEMENTS: Final = 32  # ours: a longer path is hidden as a whole
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_PLAIN_PATH_ELEMENT: Final = re.compile(
    r"(announce|scrape|tracker|bt|stat|stats|cgi-bin)?(\.php|\.cgi|\.aspx?)?", re.IGNORECASE
)
_SECRET_LABEL: Final = re.compile(r"(?=.*\d)[0-9a-z]{16,}", re.IGNORECASE)
_MIN_SECRET_CHARS: Final = 4  # shorter words occur in ordinary text


@dataclass(frozen=True, slots=True)
class TrackerUrl:
    """A valid tracker URL, split; all parts are ASCII."""

    scheme: str
    host: str
    """A name or a literal address, without brackets."""
    port: int
    target: str
    """Path and query as sent; "" for a udp:// URL without them."""

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port."""
        return self.scheme, self.host, self.port


def parse_tracker_url(url: str) -> TrackerUrl:
    """Split a tracker URL, and percent-encode spaces and non-ASCII characters.

    Raises TrackerError if it is no http, https or udp URL with a host, its port is not within
    1 to 65535 or missing for UDP, or it has control characters. An odd URL can take 3 ms the first
    time; where there are many, parse them in a thread before.
    """
    found = _parsed(url)
    if isinstance(found, str):
        raise TrackerError(found)
    return found


@lru_cache(maxsize=PARSED_URLS)
def _parsed(url: str) -> TrackerUrl | str:
    """Return a URL, or what is wrong with it."""
    url = url.strip(" ")
    if len(url) > MAX_URL_CHARS or _CONTROL.search(url):
        return "tracker URL is too long or has control characters"
    try:
        parts = urlsplit(url)
        port = parts.port
        host = ascii_host(parts.hostname or "")
        target = _target(parts)
    except ValueError:
        return f"tracker URL is malformed: {redact_url(url)}"
    scheme = parts.scheme.lower()
    if scheme not in TRACKER_SCHEMES:
        return f"trackers of scheme {scheme[:20]!r} are not supported"
    port = port if port is not None else DEFAULT_PORTS.get(scheme, 0)
    if not host or not port:
        return f"tracker URL without host or port: {redact_url(url)}"
    if scheme != "udp" and not target.startswith("/"):
        target = f"/{target}"
    return TrackerUrl(scheme, host, port, target)


def scrape_url(announce_url: str) -> str | None:
    """Return the scrape URL: "scrape" for "announce" in the last path element (BEP 48).

    None if the tracker's URL does not follow the convention; UDP URLs are returned unchanged.
    """
    try:
        parts = urlsplit(announce_url)
    except ValueError:
        return None
    if parts.scheme.lower() == "udp":
        return announce_url
    folder, slash, last = parts.path.rpartition("/")
    if not last.startswith("announce"):
        return None
    path = f"{folder}{slash}scrape{last.removeprefix('announce')}"
    return parts._replace(path=path, fragment="").geturl()


@lru_cache(maxsize=PARSED_URLS)
def redact_url(url: str) -> str:
    """Return a URL without user, password, passkey, query values and fragment."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port is not None else ""
        host = parts.hostname or ""
    except ValueError:
        return REDACTED
    if len(host) > MAX_HOST_CHARS:
        return REDACTED
    host = f"[{host}]" if ":" in host else ".".join(_shown_label(x) for x in host.split("."))
    elements = parts.path.split("/", MAX_SHOWN_ELEMENTS)
    is_long = len(elements) > MAX_SHOWN_ELEMENTS
    path = f"/{REDACTED}" if is_long else "/".join(map(_shown_element, elements))
    query = f"?{REDACTED}" if parts.query else ""
    return f"{parts.scheme}://{host}{port}{path}{query}"


def redact_text(text: str, url: str) -> str:
    """Return ``text`` without the parts of ``url`` that :func:`redact_url` hides."""
    text = text.replace(url, redact_url(url))
    for secret in sorted(_secrets(url), key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    return text


def _target(parts: SplitResult) -> str:
    path, query = quote_path(parts.path), quote_query(parts.query)
    return f"{path}?{query}" if query else path


def _secrets(url: str) -> set[str]:
    try:
        parts = urlsplit(url)
        found = [parts.username or "", parts.password or "", parts.query, parts.fragment]
        labels = (parts.hostname or "").split(".")
    except ValueError:
        return {url}
    found += [value for field in parts.query.split("&") for value in field.split("=", 1)[1:]]
    found += [element for element in parts.path.split("/") if _shown_element(element) == REDACTED]
    found += [label for label in labels if _shown_label(label) == REDACTED]
    return {secret for secret in found if len(secret) >= _MIN_SECRET_CHARS}


def _shown_element(element: str) -> str:
    return element if _PLAIN_PATH_ELEMENT.fullmatch(element) else REDACTED


def _shown_label(label: str) -> str:
    return REDACTED if _SECRET_LABEL.fullmatch(label) else label
