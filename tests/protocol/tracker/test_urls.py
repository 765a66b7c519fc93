"""Tracker URLs: what is allowed, what is hidden."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.errors import TrackerError
from torrent_engine.protocol.tracker import urls
from torrent_engine.protocol.tracker.schedule import usable_trackers
from torrent_engine.protocol.tracker.urls import (
    TrackerUrl,
    parse_tracker_url,
    redact_text,
    redact_url,
    scrape_url,
)

PASSKEY = "deadbeefcanary0123456789abcdef00"

ACCEPTED = {
    "http": ("http://t.example/announce", TrackerUrl("http", "t.example", 80, "/announce")),
    "https_port": ("https://t.example:8443/a", TrackerUrl("https", "t.example", 8443, "/a")),
    "upper_case": ("HTTP://T.Example/A", TrackerUrl("http", "t.example", 80, "/A")),
    "query_only": ("http://t.example?a", TrackerUrl("http", "t.example", 80, "/?a")),
    "no_path": ("http://t.example", TrackerUrl("http", "t.example", 80, "/")),
    "query": ("http://t.example/a?k=1&b=%2F", TrackerUrl("http", "t.example", 80, "/a?k=1&b=%2F")),
    "ipv6": ("udp://[2001:db8::1]:6969", TrackerUrl("udp", "2001:db8::1", 6969, "")),
    "udp_path": ("udp://t.example:80/x?y", TrackerUrl("udp", "t.example", 80, "/x?y")),
    "idna": (
        "http://b\u00fccher.example/\u00fc?\u00fc",
        TrackerUrl("http", "xn--bcher-kva.example", 80, "/%C3%BC?%C3%BC"),
    ),
    "space": ("http://t.example/a b?c d", TrackerUrl("http", "t.example", 80, "/a%20b?c%20d")),
    "quoted": ("http://t.example/a%20b%C3%bc", TrackerUrl("http", "t.example", 80, "/a%20b%C3%bc")),
    "spaces_around": (" http://t.example/a ", TrackerUrl("http", "t.example", 80, "/a")),
    "udp_space": ("udp://t.example:80/a b", TrackerUrl("udp", "t.example", 80, "/a%20b")),
    "userinfo": ("http://u:p@t.example/a", TrackerUrl("http", "t.example", 80, "/a")),
}
REFUSED = {
    "empty": "",
    "no_scheme": "t.example/announce",
    "file": "file:///etc/passwd",
    "ws": "wss://t.example/announce",
    "gopher": "gopher://t.example:70/",
    "no_host": "http:///announce",
    "udp_without_port": "udp://t.example/announce",
    "port_zero": "udp://t.example:0/announce",
    "port_too_large": "http://t.example:65536/",
    "port_no_number": "http://t.example:x/",
    "space_in_host": "http://t. example/announce",
    "tab": "http://t.example/an\tnounce",
    "newline": "http://t.example/\r\nHost: evil",
    "nul": "http://t.example/\x00",
    "too_long": "http://t.example/" + "a" * 5_000,
    "surrogate": "http://t.example/\udcc9",
    "bad_bracket": "http://[::1/announce",
    "label_too_long": f"http://{chr(252) * 80}.example/",
}


@pytest.mark.parametrize(("url", "expected"), ACCEPTED.values(), ids=ACCEPTED.keys())
def test_d1_tracker_url_is_split(url, expected):
    parts = parse_tracker_url(url)
    if expected is not None:
        assert parts == expected
    assert parts.host.isascii()
    assert parts.target.isascii()


@pytest.mark.parametrize("url", REFUSED.values(), ids=REFUSED.keys())
def test_d1_tracker_url_is_refused(url):
    with pytest.raises(TrackerError):
        parse_tracker_url(url)


@given(st.text(max_size=60) | st.text("htpsu:/[]@.?#%=0123456789 a", max_size=40))
def test_d1_any_text_raises_nothing_but_tracker_error(text):
    for url in (text, "http://" + text, "udp://" + text):
        with suppress(TrackerError):
            parts = parse_tracker_url(url)
            assert parts.target.isascii()
            assert 0 < parts.port <= 0xFFFF
        redact_url(url)
        redact_text("message", url)


@pytest.mark.parametrize(
    ("announce", "expected"),
    [
        ("http://t.example/announce", "http://t.example/scrape"),
        ("http://t.example/x/announce", "http://t.example/x/scrape"),
        ("http://t.example/announce.php?k=1", "http://t.example/scrape.php?k=1"),
        ("http://t.example/announcers/announce", "http://t.example/announcers/scrape"),
        ("http://t.example/a", None),
        ("http://t.example/announce/x", None),
        ("http://t.example/a?announce", None),
        ("http://[::1/announce", None),
        ("http://t.example/\u00fc b/announce?c d", "http://t.example/\u00fc b/scrape?c d"),
        ("udp://t.example:6969/announce", "udp://t.example:6969/announce"),
    ],
)
def test_bep48_scrape_url_follows_the_convention(announce, expected):
    assert scrape_url(announce) == expected


SECRET_URLS = {
    "path": f"https://t.example/{PASSKEY}/announce",
    "query": f"http://t.example:8080/announce.php?passkey={PASSKEY}",
    "userinfo": f"http://me:{PASSKEY}@t.example/announce",
    "fragment": f"http://t.example/announce#{PASSKEY}",
    "host": f"http://{PASSKEY}.t.example/announce",
    "udp": f"udp://t.example:6969/{PASSKEY}/announce",
    "last": f"http://t.example/announce/{PASSKEY}",
}


@pytest.mark.parametrize("url", SECRET_URLS.values(), ids=SECRET_URLS.keys())
def test_d4_redaction_hides_every_secret(url):
    assert PASSKEY not in redact_url(url)
    assert PASSKEY not in redact_text(f"GET {url} failed: bad key {PASSKEY}", url)
    assert "t.example" in redact_url(url)


def test_d4_redaction_keeps_what_is_not_secret():
    assert redact_url("udp://t.example:6969/announce") == "udp://t.example:6969/announce"
    assert redact_url("http://[::1]:80/scrape.php") == "http://[::1]:80/scrape.php"
    assert redact_text("timed out", "http://t.example/announce") == "timed out"


def test_d4_malformed_url_is_hidden_whole():
    assert redact_url("http://[::1/secret") == "***"
    assert redact_text("cannot read http://[::1/secret", "http://[::1/secret") == "cannot read ***"


LONG = {
    "labels": "http://" + ".".join("\u00e4" * 900) + "/announce",
    "label": "http://" + "\u00e4" * 1_900 + "/announce",
    "ascii": "http://" + "a." * 1_000 + "/announce",
}


@pytest.mark.parametrize("url", LONG.values(), ids=LONG.keys())
def test_d1_a_host_that_is_longer_than_a_name_can_be_is_refused_at_once(url, monkeypatch):
    monkeypatch.setattr(urls, "quote_path", None)  # nothing more is done with it
    with pytest.raises(TrackerError):
        parse_tracker_url(url)
    assert redact_url(url) == "***"


@pytest.mark.parametrize("count", [30, 31, 32, 3_900])
def test_d4_a_path_of_very_many_elements_is_hidden_whole(count):
    shown = redact_url("http://t.example" + "/" * count + "announce")
    slashes = "/" * count + "announce" if count < 32 else "/***"
    assert shown == f"http://t.example{slashes}"


def test_what_was_learnt_is_parsed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it is good or not: in a .torrent they may be a thousand."""
    good, bad = "udp://learnt.example:80", "udp://learnt.example:0"
    usable_trackers([[good, bad]])
    monkeypatch.setattr(urls, "urlsplit", None)
    assert urls.parse_tracker_url(good).host == "learnt.example"
    with pytest.raises(TrackerError, match="without host or port"):
        urls.parse_tracker_url(bad)
