"""What hosts say of their trackers in TXT records (BEP 34)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.protocol.tracker.preferences import (
    MAX_PLACES,
    MAX_RECORD_BYTES,
    TrackerPlace,
    TrackerPreferences,
    parse_preferences,
)
from torrent_engine.protocol.tracker.urls import parse_tracker_url

UDP_80, TCP_80 = TrackerPlace(is_udp=True, port=80), TrackerPlace(is_udp=False, port=80)
TCP_443 = TrackerPlace(is_udp=False, port=443)

RECORDS = {
    "example_none": ([b"BITTORRENT"], ()),
    "example_deny": ([b"BITTORRENT DENY ALL"], ()),
    "order": ([b"BITTORRENT UDP:80 TCP:80"], (UDP_80, TCP_80)),
    "other_order": ([b"BITTORRENT TCP:80 UDP:80"], (TCP_80, UDP_80)),
    "other_words": ([b"BITTORRENT v=1 TCP:443 ~all"], (TCP_443,)),
    "more_spaces": ([b"BITTORRENT  TCP:80   UDP:80 "], (TCP_80, UDP_80)),
    "twice": ([b"BITTORRENT TCP:80 TCP:80"], (TCP_80,)),
    "largest_port": ([b"BITTORRENT UDP:65535"], (TrackerPlace(is_udp=True, port=65_535),)),
    "beside_others": ([b"v=spf1 -all", b"BITTORRENT UDP:80", b""], (UDP_80,)),
    "two_records": ([b"BITTORRENT UDP:80", b"BITTORRENT TCP:80"], (UDP_80, TCP_80)),
    "deny_and_a_port": ([b"BITTORRENT DENY UDP:80"], (UDP_80,)),
}


@pytest.mark.parametrize(("records", "places"), RECORDS.values(), ids=RECORDS)
def test_bep34_record(records: list[bytes], places: tuple[TrackerPlace, ...]) -> None:
    assert parse_preferences(records) == TrackerPreferences(places)


NO_RECORDS: dict[str, list[bytes]] = {
    "none": [],
    "empty": [b""],
    "lower_case": [b"bittorrent UDP:80"],
    "not_the_first_word": [b"x BITTORRENT UDP:80"],
    "space_in_front": [b" BITTORRENT UDP:80"],
    "longer_word": [b"BITTORRENTS UDP:80"],
    "tab": [b"BITTORRENT\tUDP:80"],
    "quoted": [b'"BITTORRENT" UDP:80'],
    "null": [b"BITTORRENT\0 UDP:80"],
    "other_encoding": ["BITTORRENT UDP:80".encode("utf-16")],
}


@pytest.mark.parametrize("records", NO_RECORDS.values(), ids=NO_RECORDS)
def test_bep34_record_that_says_nothing_of_trackers(records: list[bytes]) -> None:
    assert parse_preferences(records) is None


MALFORMED_WORDS = {
    "no_port": b"UDP:",
    "no_colon": b"UDP80",
    "zero": b"UDP:0",
    "leading_zero": b"UDP:080",
    "too_large": b"UDP:65536",
    "six_digits": b"TCP:100000",
    "very_long": b"TCP:" + b"1" * 5_000,
    "negative": b"TCP:-1",
    "sign": b"TCP:+80",
    "underscore": b"TCP:8_0",
    "hexadecimal": b"TCP:0x50",
    "lower_case": b"tcp:80",
    "host": b"TCP:tracker.example:80",
    "slash": b"TCP/80",
    "line_end": b"UDP:80\n",
    "other_digits": "UDP:\u0668\u0660".encode(),
    "second_colon": b"UDP:80:80",
    "unknown": b"QUIC:80",
    "null": b"UDP:80\0",
}


@pytest.mark.parametrize("word", MALFORMED_WORDS.values(), ids=MALFORMED_WORDS)
def test_bep34_word_that_is_not_known_is_ignored(word: bytes) -> None:
    assert parse_preferences([b"BITTORRENT " + word]) == TrackerPreferences()


def test_bep34_records_are_bounded() -> None:
    ports = b" ".join(b"UDP:%d" % port for port in range(1, 2_000))
    many = parse_preferences([b"BITTORRENT " + ports] * 3)
    assert many is not None
    assert [place.port for place in many.places] == list(range(1, MAX_PLACES + 1))
    late = b"BITTORRENT " + b"x" * MAX_RECORD_BYTES + b" UDP:80"
    assert parse_preferences([late]) == TrackerPreferences()


@given(
    st.lists(
        st.binary(max_size=80)
        | st.text("BITORENUDPC:0123456789 ", max_size=80).map(
            lambda text: b"BITTORRENT " + text.encode()
        ),
        max_size=4,
    )
)
def test_any_records_give_valid_urls_at_the_same_host(records: list[bytes]) -> None:
    found = parse_preferences(records)
    if found is None:
        return
    assert len(found.places) <= MAX_PLACES
    for url in ("http://u:p@t.example/announce?k=1", "udp://t.example:1", "https://t.example/x"):
        for each in found.urls(url):
            parts = parse_tracker_url(each)
            assert parts.host == "t.example"
            assert not url.startswith("https") or parts.scheme == "https"


BOTH = TrackerPreferences((UDP_80, TrackerPlace(is_udp=False, port=8080)))
REWRITTEN = {
    "http": (
        "http://t.example/announce?key=1",
        ("udp://t.example:80/announce?key=1", "http://t.example:8080/announce?key=1"),
    ),
    "user": (
        "http://me:secret@t.example:9/announce",
        ("udp://t.example:80/announce", "http://me:secret@t.example:8080/announce"),
    ),
    "udp_without_path": (
        "udp://t.example:9",
        ("udp://t.example:80", "http://t.example:8080/announce"),
    ),
    "website": ("http://t.example", ("udp://t.example:80", "http://t.example:8080/announce")),
    "https": ("https://t.example/s3cret/announce", ("https://t.example:8080/s3cret/announce",)),
    "case_and_spaces": (
        " HTTP://T.example/a#b",
        ("udp://t.example:80/a", "http://t.example:8080/a"),
    ),
}


@pytest.mark.parametrize(("url", "places"), REWRITTEN.values(), ids=REWRITTEN)
def test_bep34_url_becomes_those_that_the_host_prefers(url: str, places: tuple[str, ...]) -> None:
    assert BOTH.urls(url) == places


def test_bep34_url_with_tls_is_not_tried_without() -> None:
    assert TrackerPreferences((UDP_80,)).urls("https://t.example/announce") == ()
