"""Trackers and web seeds that a user added or removed: what is kept of them, what is believed."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.errors import ConfigError
from torrent_engine.engine.runs.source_edits import (
    NO_EDITS,
    SourceEdits,
    check_web_seed,
    edits_from,
    is_web_seed_url,
)

A, B, C = (f"http://{name}.example/announce" for name in "abc")
METAINFO, _ = make_torrent(payload_of(20_000), web_seeds=(A, B))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner),
    max_leaves=10,
)


def test_what_is_added_and_removed_is_told_as_plain_values_and_back() -> None:
    edits = (
        NO_EDITS.with_tracker(A, None)
        .with_tracker(B, 2)
        .without_tracker(C)
        .with_web_seed(A, 17)
        .without_web_seed(B)
    )
    values = json.loads(json.dumps(edits.values()))
    assert edits_from(values) == edits
    assert set(values) == {"trackers", "no_trackers", "web_seeds", "no_web_seeds"}
    assert edits_from({}) == NO_EDITS
    assert NO_EDITS.values() == {}


def test_the_last_word_counts() -> None:
    edits = NO_EDITS.with_tracker(A, 1).without_tracker(A)
    assert edits.values() == {"no_trackers": [A]}
    edits = edits.with_tracker(A, 0).with_tracker(A, 3)
    assert edits.values() == {"trackers": {A: 3}}
    edits = NO_EDITS.with_web_seed(C, 19).with_web_seed(C, 17).without_web_seed(A)
    assert edits.web_seeds_of(METAINFO) == {B: 19, C: 17}
    assert edits.with_web_seed(A, 19).web_seeds_of(METAINFO) == {A: 19, B: 19, C: 17}
    assert NO_EDITS.web_seeds_of(None) == {}


DAMAGED: dict[str, dict[str, Any]] = {
    "trackers no dictionary": {"trackers": [A]},
    "tracker of another scheme": {"trackers": {"ftp://a.example/": None}},
    "web seed of another scheme": {"web_seeds": {"file:///etc/passwd": 19}},
    "web seed of another BEP": {"web_seeds": {A: 3}},
    "web seed without a BEP": {"web_seeds": {A: None}},
    "web seed with an endless URL": {"web_seeds": {A + "x" * 5_000: 19}},
    "removed no list": {"no_trackers": A, "no_web_seeds": {A: 1}},
    "removed of another kind": {"no_trackers": [1, None], "no_web_seeds": [[]]},
}


@pytest.mark.parametrize("values", DAMAGED.values(), ids=DAMAGED.keys())
def test_what_makes_no_sense_is_left_out(values: dict[str, Any]) -> None:
    assert edits_from(values) == NO_EDITS


def test_a_tier_that_is_no_number_is_none() -> None:
    assert edits_from({"trackers": {A: "first"}}).trackers == ((A, None),)


@given(
    st.dictionaries(
        st.sampled_from(["trackers", "no_trackers", "web_seeds", "no_web_seeds", "other"]), JSON
    )
)
def test_no_values_whatever_raise(values: dict[str, Any]) -> None:
    edits = edits_from(values)
    assert isinstance(edits, SourceEdits)
    assert edits_from(edits.values()) == edits


@pytest.mark.parametrize(
    "url", ["", "http://", "http:///x", "ftp://a/", "http://[::1", "a", "http://a/\n", "udp://a:1/"]
)
def test_only_web_addresses_can_be_web_seeds(url: str) -> None:
    assert not is_web_seed_url(url)
    with pytest.raises(ConfigError, match="web seed"):
        check_web_seed(url, 19)


def test_a_web_seed_is_of_bep_17_or_19() -> None:
    check_web_seed("https://a.example/x", 17)
    with pytest.raises(ConfigError, match="BEP 18"):
        check_web_seed(A, 18)


@given(st.text(max_size=40) | st.text(max_size=30).map("http://".__add__))
def test_no_text_whatever_raises(text: str) -> None:
    assert is_web_seed_url(text) in {True, False}
