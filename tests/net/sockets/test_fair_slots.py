"""Slots that strangers compete for."""

from collections import Counter
from functools import partial

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.sleeping_clock import settle
from torrent_engine.net.sockets.fair_slots import FairSlots, SlotLimits

pytestmark = pytest.mark.anyio

LIMITS = SlotLimits(total=8, per_key=4, reserved=2)


async def test_one_key_takes_no_more_than_its_share_and_the_next_one_waits_not_at_all() -> None:
    slots, granted = FairSlots(LIMITS), Counter[str]()

    async def hold(key: str) -> None:
        async with slots.turn(key):
            granted[key] += 1
            await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(hold, "greedy")
        await settle()
        assert granted == {"greedy": 4}
        for key in ("a", "a", "b", "c"):
            tasks.start_soon(hold, key)
            await settle()
        assert granted == {"greedy": 4, "a": 2, "b": 1, "c": 1}
        tasks.cancel_scope.cancel()
    assert slots.used == 0


async def test_doubtful_keys_come_after_others_and_never_take_what_is_reserved() -> None:
    slots, order = FairSlots(LIMITS), list[str]()

    async def hold(key: str, *, is_doubtful: bool) -> None:
        await slots.acquire(key, is_doubtful=is_doubtful)
        order.append(key)

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(partial(hold, f"doubtful {number}", is_doubtful=True))
        await settle()
        assert slots.used == 4
        for number in range(6):
            tasks.start_soon(partial(hold, f"new {number}", is_doubtful=False))
        await settle()
        assert {key for key in order if key.startswith("new")} == set(order[4:])
        assert slots.used == 8
        for key in order[:4]:
            slots.release(key)
        await settle()
        assert sum(key.startswith("new") for key in order) == 6
        assert slots.used == 6
        slots.release(order[4])
        slots.release(order[5])
        await settle()
        assert slots.used == 4
        slots.release(order[6])
        await settle()
        assert slots.used == 4  # a doubtful one has taken its place
        tasks.cancel_scope.cancel()


async def test_who_holds_fewest_is_next_and_the_last_come_last() -> None:
    slots, order = FairSlots(SlotLimits(total=1, per_key=1)), []

    async def take(key: str, *, is_last: bool) -> None:
        async with slots.turn(key, is_last=is_last):
            order.append(key)

    async with anyio.create_task_group() as tasks:
        await slots.acquire("busy")
        for key in ("dht", "dht"):
            tasks.start_soon(partial(take, key, is_last=True))
        await settle()
        for key in ("a", "a", "a", "b"):
            tasks.start_soon(partial(take, key, is_last=False))
        await settle()
        slots.release("busy")
    assert set(order[:2]) == {"a", "b"}  # trio begins tasks in any order
    assert order[2:] == ["a", "a", "dht", "dht"]


async def test_a_slot_is_given_on_without_a_look_at_everybody_who_waits() -> None:
    slots = CountedSlots(LIMITS)
    async with anyio.create_task_group() as tasks:
        for _ in range(LIMITS.total):
            await slots.acquire(None)
        for number in range(200):
            tasks.start_soon(slots.acquire, number)
        await settle()
        slots.looks = 0
        for _ in range(LIMITS.total):
            slots.release(None)
        assert slots.looks <= 2 * LIMITS.total
        tasks.cancel_scope.cancel()


class CountedSlots(FairSlots):
    """Slots that count for how many keys it is asked whether they may have one."""

    looks = 0

    def _may_take(self, key: object, *, is_doubtful: bool = False) -> bool:
        self.looks += 1
        return super()._may_take(key, is_doubtful=is_doubtful)


async def test_one_who_is_cancelled_while_waiting_takes_nothing() -> None:
    slots = FairSlots(SlotLimits(total=1, per_key=1))
    await slots.acquire("a")
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(slots.acquire, "b")
        await settle()
        tasks.cancel_scope.cancel()
    assert not any(slots._waiting)
    slots.release("a")
    assert slots.used == 0


async def test_one_who_is_cancelled_just_when_it_is_its_turn_passes_it_on() -> None:
    slots, scope = FairSlots(SlotLimits(total=1, per_key=1)), anyio.CancelScope()
    await slots.acquire("a")

    async def give_up() -> None:
        with scope:
            await slots.acquire("b")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(give_up)
        await settle()
        slots.release("a")
        scope.cancel()
    if slots.used:
        slots.release("b")  # it was faster
    assert slots.used == 0


async def test_without_a_key_all_slots_may_be_taken() -> None:
    slots = FairSlots(LIMITS)
    for _ in range(8):
        await slots.acquire(None)
    assert slots.used == 8


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60))
def test_any_story_stays_within_the_limits_and_leaves_nobody_waiting_in_vain(
    steps: list[tuple[str, bool]],
) -> None:
    async def story() -> None:
        slots, held, waiting = FairSlots(LIMITS), [], Counter[str]()

        async def take(key: str) -> None:
            waiting[key] += 1
            await slots.acquire(key)
            waiting[key] -= 1
            held.append(key)

        async with anyio.create_task_group() as tasks:
            for key, takes in steps:
                if takes:
                    tasks.start_soon(take, key)
                elif held:
                    slots.release(held.pop(0))
                for _ in range(3):
                    await anyio.lowlevel.checkpoint()
                assert slots.used == len(held) <= LIMITS.total
                assert all(count <= LIMITS.per_key for count in Counter(held).values())
                for each in +waiting:
                    free = LIMITS.total - len(held)
                    crowded = held.count(each) >= LIMITS.per_key or free <= LIMITS.reserved
                    assert not free or (each in held and crowded)
            tasks.cancel_scope.cancel()

    anyio.run(story)
