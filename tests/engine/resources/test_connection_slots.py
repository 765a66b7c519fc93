"""How the connections of all torrents are shared: no torrent starves, and none is idle for it."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.engine.resources.connection_slots import (
    MAX_UNPROVEN,
    TAKEN,
    ConnectionSlots,
    Evictable,
)


class FakeLink:
    """A connection of a fake pool."""

    def __init__(self, pool: "FakePool") -> None:
        self.pool = pool
        self.reason = ""

    def end(self, reason: str) -> None:
        """End soon, as a link does."""
        self.reason = reason
        self.pool.ending.append(self)


class FakePool:
    """A torrent that would like to have so many links; does nothing until :meth:`look`."""

    def __init__(self, slots: ConnectionSlots, called: deque["FakePool"]) -> None:
        self.wanted = 0
        self.links: list[FakeLink] = []
        self.ending: list[FakeLink] = []
        self.share = slots.share(self.least_useful)
        self._called = called

    def least_useful(self) -> Evictable | None:
        """Return a link that goes on."""
        return next((link for link in self.links if link not in self.ending), None)

    @property
    def here(self) -> int:
        """Return how many links go on."""
        return len(self.links) - len(self.ending)

    def wake(self) -> None:
        """Look soon."""
        self._called.append(self)

    def look(self) -> None:
        """Take what it can have."""
        while self.here < self.wanted and self.share.has_room():
            self.share.take()
            self.links.append(FakeLink(self))
        self.share.end_turn(self.wake if self.here < self.wanted else None)

    def close_some(self, count: int) -> None:
        """Have links end by themselves."""
        for link in [link for link in self.links if link not in self.ending][:count]:
            link.end("over")

    def finish_closing(self) -> None:
        """Let those end that were told to."""
        while self.ending:
            self.links.remove(self.ending.pop())
            self.share.give_back()


class Swarms:
    """Some pools, and the order in which they are called."""

    def __init__(self, limit: int, count: int) -> None:
        self.slots = ConnectionSlots(limit)
        self.called: deque[FakePool] = deque()
        self.pools = [FakePool(self.slots, self.called) for _ in range(count)]

    def want(self, *wanted: int) -> None:
        """Set what each would like, and let it look."""
        for pool, count in zip(self.pools, wanted, strict=True):
            pool.wanted = count
            pool.look()

    def settle(self, steps: int = 10_000) -> None:
        """Let everybody act until nobody has anything to do."""
        for _ in range(steps):
            for pool in self.pools:
                if pool.ending:
                    pool.finish_closing()
                    pool.wake()  # as a pool looks for others in the place of those that ended
            if not self.called:
                return
            self.called.popleft().look()
        raise AssertionError("it never comes to rest")

    @property
    def here(self) -> list[int]:
        """How many links each has."""
        return [pool.here for pool in self.pools]


def test_a_torrent_alone_has_all_connections() -> None:
    swarms = Swarms(10, 2)
    swarms.want(100, 0)
    assert (swarms.here, swarms.slots.used) == ([10, 0], 10)


def test_who_comes_late_gets_its_fair_share_at_once_and_who_wants_little_lends_the_rest() -> None:
    swarms = Swarms(100, 4)
    swarms.want(1_000, 0, 0, 0)
    swarms.want(1_000, 1_000, 3, 0)
    first, second, third, _ = swarms.here
    assert third == 3
    assert min(first, second) >= 100 // 3
    swarms.settle()
    assert sum(swarms.here) == swarms.slots.used == 100


def test_500_connections_and_20_torrents_leave_25_to_each() -> None:
    swarms = Swarms(500, 20)
    swarms.want(5_000, *[0] * 19)
    swarms.want(*[5_000] * 20)
    swarms.settle()
    assert swarms.here == [25] * 20


def test_who_has_its_share_takes_nothing_from_anybody() -> None:
    swarms = Swarms(11, 2)
    swarms.want(8, 100)
    assert swarms.here == [6, 5]
    swarms.settle()
    swarms.want(100, 100)
    assert swarms.here == [6, 5]
    assert not any(pool.share.has_room() for pool in swarms.pools)


def test_what_becomes_free_goes_to_who_has_least_and_is_passed_on_by_who_wants_it_no_more() -> None:
    swarms = Swarms(4, 3)
    first, second, third = swarms.pools
    first.least_useful = lambda: None  # type: ignore[method-assign]
    first.share.least_useful = first.least_useful
    swarms.want(4, 9, 9)
    assert swarms.here == [4, 0, 0]
    second.wanted = 0
    first.wanted = 3
    first.close_some(1)
    swarms.settle()
    assert swarms.here == [3, 0, 1]
    assert third.share.used == 1


def test_for_dials_that_came_to_nothing_nobody_elses_link_is_ended() -> None:
    swarms = Swarms(20, 2)
    swarms.want(20, 0)
    share = swarms.pools[1].share
    assert share.has_room(MAX_UNPROVEN - 1)
    assert not share.has_room(MAX_UNPROVEN)
    swarms.pools[0].wanted = 19
    swarms.pools[0].close_some(1)
    swarms.settle()
    assert share.has_room(MAX_UNPROVEN)  # of what is free there are no better uses


def test_who_came_while_all_was_dialled_hears_when_a_link_may_be_lent() -> None:
    swarms = Swarms(10, 2)
    greedy, late = swarms.pools
    greedy.share.least_useful = lambda: None  # nobody has shaken hands yet
    swarms.want(10, 10)
    swarms.settle()
    assert swarms.here == [10, 0]
    greedy.share.least_useful = greedy.least_useful
    late.share.dial_succeeded()  # it has nothing to lend
    assert not swarms.called
    greedy.share.dial_succeeded()
    swarms.settle()
    assert swarms.here == [5, 5]
    greedy.share.dial_succeeded()
    assert not swarms.called


def test_without_a_limit_there_is_always_room_and_nobody_waits() -> None:
    swarms = Swarms(0, 2)
    swarms.want(1_000, 1_000)
    assert swarms.here == [1_000, 1_000]
    swarms.pools[0].share.end_turn(swarms.pools[0].wake)
    swarms.pools[1].close_some(5)
    swarms.settle()
    assert not swarms.called


def test_more_torrents_than_connections_take_turns_as_links_end() -> None:
    swarms, had = Swarms(2, 5), set[int]()
    swarms.want(*[1] * 5)
    for _ in range(5):
        had |= {number for number, here in enumerate(swarms.here) if here}
        for pool in swarms.pools:
            if pool.here:
                pool.close_some(1)
                pool.finish_closing()
                pool.share.end_turn(pool.wake)
                break
        swarms.settle()
    assert had == set(range(5))


def test_a_link_that_changes_hands_counts_once() -> None:
    slots = ConnectionSlots(5)
    before, after = (slots.share(lambda: None) for _ in range(2))
    before.take()
    before.hand_over(after)
    assert (before.used, after.used, slots.used, slots.fair_share()) == (0, 1, 1, 5)
    after.give_back()
    assert slots.used == 0


STEP = st.tuples(
    st.sampled_from(["want", "end", "close", "call"]), st.integers(0, 5), st.integers(0, 12)
)


def act(swarms: Swarms, verb: str, number: int, count: int) -> None:
    """Do one of the things that happen to pools."""
    pool = swarms.pools[number % len(swarms.pools)]
    if verb == "want":
        pool.wanted = count
        pool.close_some(max(pool.here - count, 0))
        pool.look()
    elif verb == "end":
        pool.close_some(count)
    elif verb == "close":
        pool.finish_closing()
    elif swarms.called:
        swarms.called.popleft().look()


@given(limit=st.integers(1, 12), count=st.integers(1, 6), steps=st.lists(STEP, max_size=60))
def test_whatever_happens_the_limit_holds_and_nobody_starves(
    limit: int, count: int, steps: list[tuple[str, int, int]]
) -> None:
    swarms = Swarms(limit, count)
    for verb, number, amount in steps:
        act(swarms, verb, number, amount)
        assert 0 <= swarms.slots.used <= limit
        assert swarms.slots.used == sum(pool.share.used for pool in swarms.pools)
        assert swarms.slots.used >= sum(swarms.here)
    for pool in swarms.pools:
        pool.look()
    swarms.settle()
    wanting = [pool for pool in swarms.pools if pool.wanted]
    for pool in wanting:
        assert pool.here >= min(pool.wanted, limit // len(wanting))  # its fair share
    assert sum(swarms.here) == min(limit, sum(pool.wanted for pool in wanting))  # nothing idle


@pytest.mark.parametrize("limit", [1, 7, 500])
def test_the_last_connection_given_back_leaves_nothing_behind(limit: int) -> None:
    swarms = Swarms(limit, 3)
    swarms.want(400, 400, 400)
    swarms.settle()
    for pool in swarms.pools:
        pool.wanted = 0
        pool.close_some(pool.here)
        pool.share.end_turn(None)
    swarms.settle()
    assert (swarms.slots.used, swarms.slots.fair_share()) == (0, limit)


def test_a_limit_that_is_lowered_closes_links_of_the_largest_torrents() -> None:
    called: deque[FakePool] = deque()
    slots = ConnectionSlots(20)
    small, large = FakePool(slots, called), FakePool(slots, called)
    small.wanted, large.wanted = 4, 16
    small.look()
    large.look()
    slots.set_limit(8)
    assert (slots.used, small.here, large.here) == (8, 4, 4)
    for link in list(large.ending):
        large.links.remove(link)
        large.ending.remove(link)
        large.share.give_back()
    assert slots.used == 8


def test_a_dial_under_way_when_the_limit_is_lowered_is_closed_once_it_has_succeeded() -> None:
    swarms = Swarms(6, 2)
    swarms.want(3, 3)
    dialling = swarms.pools[0]
    dialling.share.least_useful = lambda: None  # nobody has shaken hands yet
    swarms.slots.set_limit(2)
    swarms.settle()
    assert (swarms.slots.used, swarms.here) == (3, [3, 0])
    dialling.share.least_useful = dialling.least_useful
    dialling.share.dial_succeeded()
    swarms.settle()
    assert swarms.here == [1, 1]  # no more than the limit, and nobody has nothing
    assert swarms.slots.used == 2


def test_a_dial_over_a_lowered_limit_that_comes_to_nothing_costs_no_other_its_place() -> None:
    swarms = Swarms(3, 1)
    (pool,) = swarms.pools
    swarms.want(3)
    pool.share.least_useful = lambda: None
    swarms.slots.set_limit(2)
    assert swarms.slots.used == 3
    pool.wanted = 2
    pool.close_some(1)  # the dial fails
    swarms.settle()
    pool.share.least_useful = pool.least_useful
    pool.share.dial_succeeded()
    swarms.settle()
    assert (swarms.slots.used, pool.here) == (2, 2)


def test_a_limit_that_is_raised_lets_those_in_that_wait() -> None:
    called: deque[FakePool] = deque()
    slots = ConnectionSlots(2)
    pool = FakePool(slots, called)
    pool.wanted = 5
    pool.look()
    slots.set_limit(5)
    while called:
        called.popleft().look()
    assert pool.here == 5


# -- strangers, row B5 ------------------------------------------------------------------------


def test_b5_one_address_in_all_torrents_takes_nothing_from_a_busy_one() -> None:
    swarms = Swarms(100, 100)
    busy, *others = swarms.pools
    swarms.want(40, *[0] * 99)
    for pool in others:
        if pool.share.has_room_for_incoming("8.0.0.1"):
            pool.share.take_for_incoming()
            pool.share.joined("8.0.0.1")
    assert (busy.here, swarms.slots.used) == (40, 50)  # half of all are for others
    assert list(swarms.slots.crowded) == ["8.0.0.1"]
    assert others[0].share.has_room_for_incoming("8.0.0.2")
    for pool in others[:10]:
        pool.share.left("8.0.0.1")
    assert not swarms.slots.crowded
    assert swarms.slots.used == 40


def test_b5_without_a_limit_no_address_is_crowded() -> None:
    slots = ConnectionSlots(0)
    share = slots.share(lambda: None)
    for _ in range(20):
        assert share.has_room_for_incoming("8.0.0.1")
        share.take_for_incoming()
        share.joined("8.0.0.1")
    assert not slots.is_short


def test_b5_for_who_comes_to_us_no_link_ends_that_carries_payload() -> None:
    swarms = Swarms(10, 2)
    busy, other = swarms.pools
    idle: list[FakeLink] = []
    busy.share.least_active = lambda: next((each for each in idle if not each.reason), None)
    swarms.want(10, 0)
    assert other.share.has_room()  # a dial is our own choice
    assert not other.share.has_room_for_incoming("8.0.0.1")
    idle.append(busy.links[3])
    assert other.share.has_room_for_incoming("8.0.0.1")
    other.share.take_for_incoming()
    assert [link.reason for link in busy.links if link.reason] == [TAKEN]
    assert busy.links[3].reason == TAKEN
    assert not other.share.has_room_for_incoming("8.0.0.2")
