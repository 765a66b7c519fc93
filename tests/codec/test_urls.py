"""URLs with raw spaces and non-ASCII."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.codec._sources import clean_tiers, parse_web_urls
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.urls import ascii_host, host_of, quote_path, quote_query, url_text

TEXTS = {
    "plain": (b"http://h/a%20b", "http://h/a%20b"),
    "raw space": (b"http://h/a b", "http://h/a b"),
    "UTF-8": ("http://h/ü".encode(), "http://h/ü"),
    "Latin-1": (b"http://h/\xfc x", "http://h/%FC x"),
    "both": ("http://h/ü".encode() + b"\xfc", "http://h/%C3%BC%FC"),
    "ideographic space": ("http://h/a\u3000b".encode(), "http://h/a%E3%80%80b"),
    "right-to-left override": ("http://h/\u202e".encode(), "http://h/%E2%80%AE"),
    "line feed": (b"http://h/\n", "http://h/\n"),
}
PATHS = {
    "plain": ("/a/b.c", "/a/b.c"),
    "space": ("/a b", "/a%20b"),
    "encoded already": ("/a%20b%c3%bc", "/a%20b%c3%bc"),
    "encoded percent sign": ("/a%2520b", "/a%2520b"),
    "both": ("/a%20b c", "/a%20b%20c"),
    "non-ASCII": ("/ü/日本", "/%C3%BC/%E6%97%A5%E6%9C%AC"),
    "lone percent sign": ("/100%/50%zz%", "/100%25/50%25zz%25"),
    "brackets": ('/[a]{b}|"<>\\^`', "/%5Ba%5D%7Bb%7D%7C%22%3C%3E%5C%5E%60"),
    "reserved": ("/:@!$&'()*+,;=~", "/:@!$&'()*+,;=~"),
    "no-break space": ("/a\xa0b", "/a%C2%A0b"),
}


@pytest.mark.parametrize(("raw", "text"), TEXTS.values(), ids=TEXTS)
def test_a_url_is_text_that_can_be_shown(raw: bytes, text: str) -> None:
    assert url_text(raw) == text


@pytest.mark.parametrize(("path", "quoted"), PATHS.values(), ids=PATHS)
def test_rfc3986_a_path_is_quoted_once(path: str, quoted: str) -> None:
    assert quote_path(path) == quoted
    assert quote_path(quoted) == quoted


def test_rfc3986_a_query_keeps_its_question_marks() -> None:
    assert quote_query("a=b c?d&e=ü") == "a=b%20c?d&e=%C3%BC"
    assert quote_path("a?b") == "a%3Fb"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_rfc3986_quoting_twice_is_quoting_once(text: str) -> None:
    assert quote_path(text).isascii()
    assert quote_path(quote_path(text)) == quote_path(text)


HOSTS = {
    "ASCII": ("Example.ORG", "example.org"),
    "umlaut": ("Bücher.example", "xn--bcher-kva.example"),
    "capital umlaut": ("BÜCHER.example", "xn--bcher-kva.example"),
    "Chinese with an ideographic full stop": ("例え。jp", "xn--r8jz45g.jp"),
    "emoji": ("💩.example", "xn--ls8h.example"),
    "IDNA already": ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    "address": ("::1", "::1"),
}


@pytest.mark.parametrize(("host", "name"), HOSTS.values(), ids=HOSTS)
def test_rfc3490_a_host_is_told_as_dns_wants_it(host: str, name: str) -> None:
    assert ascii_host(host) == name


@pytest.mark.parametrize(
    "host",
    [
        "a b.example",
        "ü b.example",
        "ü\u3000b",
        "a\x7f",
        "ü" * 80,
        ".example",
        "a..example",
        "a.example..",
        ".",
        "a" * 64 + ".example",
    ],
)
def test_rfc3490_a_host_that_cannot_be_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        ascii_host(host)


@pytest.mark.parametrize("host", ["", "a.example.", "a" * 63, "::ffff:1.2.3.4", "fe80::1%eth0.1"])
def test_rfc1035_other_hosts_stay_as_they_are(host: str) -> None:
    assert ascii_host(host) == host


@pytest.mark.parametrize(
    ("url", "host"),
    [("http://A.Example:1/x", "a.example"), ("udp://[::1]:2", "::1"), ("http://[", ""), ("x", "")],
)
def test_the_host_of_a_url_is_told_or_there_is_none(url: str, host: str) -> None:
    assert host_of(url) == host


@given(st.text())
def test_rfc3490_any_host_is_ascii_or_refused(host: str) -> None:
    name = ""
    with suppress(ValueError):
        name = ascii_host(host)
    assert name.isascii()


def test_bep19_web_seeds_with_raw_characters_are_kept() -> None:
    raw = ["http://h/a b", "http://h/ü", " http://h/c\n"]
    found = parse_web_urls([*(url.encode() for url in raw), b"http://h/\xfc", b"http://h/\x01"])
    assert found == ("http://h/a b", "http://h/ü", "http://h/c", "http://h/%FC")


def test_bep12_trackers_with_raw_characters_are_kept() -> None:
    tiers = clean_tiers([[b"http://t/a b/announce", "udp://bücher.example:80".encode()]])
    assert tiers == (("http://t/a b/announce", "udp://bücher.example:80"),)


def test_bep9_a_link_with_raw_characters_is_the_same_when_it_is_read_again() -> None:
    link = Magnet.parse(f"magnet:?xt=urn:btih:{'ab' * 20}&ws=http://h/a%20b%2520c/ü")
    assert link.web_seeds == ("http://h/a b%20c/ü",)
    assert Magnet.parse(str(link)) == link
