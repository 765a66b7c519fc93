"""BEP 12: the order in which trackers are tried."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.protocol.tracker.tiers import TrackerTiers


class NoShuffle(random.Random):
    def shuffle(self, x):
        pass


def tiers(*groups):
    return TrackerTiers(groups, NoShuffle(1))


def test_bep12_tiers_are_tried_in_order():
    assert list(tiers(["a"], ["b"], ["c"])) == ["a", "b", "c"]


def test_bep12_a_tier_is_shuffled_when_first_read():
    urls = [f"u{n}" for n in range(20)]
    shuffled = list(TrackerTiers([urls], random.Random(1)))
    assert sorted(shuffled) == sorted(urls)
    assert shuffled != urls
    assert list(TrackerTiers([urls, ["z"]], random.Random(2)))[-1] == "z"


def test_bep12_a_tracker_that_answers_moves_to_the_front_of_its_tier():
    """The second example of BEP 12."""
    t = tiers(["t1", "t2", "t3"], ["backup"])
    t.promote("t2")
    assert list(t) == ["t2", "t1", "t3", "backup"]
    t.promote("t3")
    assert list(t) == ["t3", "t2", "t1", "backup"]
    t.promote("backup")
    assert t.tier(1) == ("backup",)


def test_bep12_repeated_urls_and_empty_tiers_vanish():
    t = tiers(["a", "a", "b"], ["a"], [], ["c", "b"])
    assert [t.tier(n) for n in range(len(t))] == [("a", "b"), ("c",)]


def test_adding_a_tracker():
    t = tiers(["a"])
    assert t.add("b") == 1
    assert t.add("c", tier=0) == 0
    assert t.add("d", tier=99) == 2
    assert t.add("a") is None
    assert t.tier_of("c") == 0
    with pytest.raises(KeyError):
        t.tier_of("x")


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=5), max_size=5), st.randoms())
def test_bep12_promotion_keeps_every_url_in_its_tier(groups, rng):
    t = TrackerTiers(groups, random.Random(3))
    before = {url: t.tier_of(url) for url in t}
    for _ in range(10):
        if before:
            url = rng.choice(sorted(before))
            t.promote(url)
            assert t.tier(before[url])[0] == url
    assert {url: t.tier_of(url) for url in t} == before
    assert set(before) == {url for group in groups for url in group}


def test_a_tracker_that_is_removed_leaves_its_tier_where_it_was():
    t = tiers(["a"], ["b", "c"])
    t.remove("a")
    assert list(t) == ["b", "c"]
    assert (len(t), t.tier(0), t.tier_of("c")) == (2, (), 1)
    assert t.add("d", 0) == 0
    assert list(t) == ["d", "b", "c"]
    with pytest.raises(KeyError):
        t.remove("a")
