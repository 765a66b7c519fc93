"""The event bus: order, independence of subscribers, bounded streams, cheap silence."""

import gc
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import anyio
import anyio.lowlevel
import pytest

from tests.support.cpu_time import cpu_time
from torrent_engine.base.errors import ConfigError
from torrent_engine.base.ids import InfoHash, PieceIndex
from torrent_engine.engine import event_bus
from torrent_engine.engine.event_bus import TURN_EVENTS, EventBus, Subscription
from torrent_engine.engine.events import (
    Event,
    EventsDropped,
    PieceCompleted,
    PieceHashFailed,
    SessionPaused,
    SessionStopped,
)

pytestmark = pytest.mark.anyio

HASH = InfoHash(b"h" * 20)


def piece(index: int) -> PieceCompleted:
    return PieceCompleted(HASH, PieceIndex(index))


@asynccontextmanager
async def running() -> AsyncIterator[EventBus]:
    bus = EventBus()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bus.run)
        yield bus
        bus.close()


async def settle() -> None:
    for _ in range(5):
        await anyio.lowlevel.checkpoint()


async def test_subscriber_gets_its_type_in_order_on_a_later_tick() -> None:
    seen: list[Event] = []
    async with running() as bus:
        bus.subscribe("piece.completed", seen.append)
        for index in range(3):
            bus.publish(piece(index))
        bus.publish(SessionPaused(HASH))
        assert seen == []  # never inside publish()
        await settle()
        assert seen == [piece(0), piece(1), piece(2)]


async def test_star_gets_every_type() -> None:
    seen: list[Event] = []
    async with running() as bus:
        bus.subscribe("*", seen.append)
        bus.publish(piece(0))
        bus.publish(SessionPaused(HASH))
        await settle()
    assert [event.type for event in seen] == ["piece.completed", "session.paused"]


async def test_raising_subscriber_is_logged_and_does_not_hurt_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[Event] = []

    def fails(event: Event) -> None:
        raise RuntimeError("boom")

    async with running() as bus:
        bus.subscribe("*", fails)
        bus.subscribe("*", seen.append)
        bus.publish(piece(0))
        bus.publish(piece(1))
        await settle()
    assert seen == [piece(0), piece(1)]
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    assert "piece.completed" in caplog.text
    assert "boom" in caplog.text


async def test_subscriber_that_publishes_does_not_hold_the_loop() -> None:
    seen: list[int] = []

    async with running() as bus:

        def echo(event: PieceCompleted) -> None:
            seen.append(event.piece_index)
            bus.publish(piece(event.piece_index + 1))

        subscription = bus.subscribe("piece.completed", echo)
        bus.publish(piece(0))
        await settle()
        subscription.cancel()
        assert seen == list(range(len(seen)))
        assert 1 <= len(seen) <= 6


async def test_very_many_events_are_made_and_handed_out_over_many_turns_in_order() -> None:
    seen: list[Event] = []
    made: list[int] = []

    def events() -> Iterator[PieceCompleted]:
        for index in range(3 * TURN_EVENTS):
            made.append(index)
            yield piece(index)

    async with running() as bus:
        bus.subscribe("*", seen.append)
        bus.publish(SessionPaused(HASH))
        bus.publish_each(PieceCompleted, events)
        bus.publish(SessionStopped(HASH, "stopped"))
        assert not made
        turns = 0
        while len(seen) < 3 * TURN_EVENTS + 2:
            before = len(seen)
            await anyio.lowlevel.checkpoint()
            assert len(seen) - before <= 2 * TURN_EVENTS  # trio may run the bus twice meanwhile
            turns += 1
        assert turns >= 2
    assert seen[1:-1] == list(map(piece, range(3 * TURN_EVENTS)))
    assert (seen[0].type, seen[-1].type) == ("session.paused", "session.stopped")


async def test_a_bus_that_runs_loses_nothing_however_much_is_published_each_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_bus, "MAX_PENDING_EVENTS", 60 * TURN_EVENTS)
    seen: list[Event] = []
    published = 0
    async with running() as bus:
        bus.subscribe("*", seen.append)
        while published < 150 * TURN_EVENTS:
            for _ in range(3 * TURN_EVENTS):
                bus.publish(piece(published))
                published += 1
            await anyio.lowlevel.checkpoint()
    assert len(seen) == published


async def test_events_that_nobody_listens_to_are_not_made() -> None:
    made: list[str] = []

    def events(name: str) -> Iterator[PieceCompleted]:
        made.append(name)
        yield piece(0)

    parent = EventBus()
    bus = EventBus(parent=parent)
    bus.publish_each(PieceCompleted, partial(events, "nobody"))
    stream = parent.stream("piece.completed")
    bus.subscribe("session.paused", lambda _: None)
    bus.publish_each(PieceCompleted, partial(events, "parent"))
    parent.close()
    assert [event async for event in stream] == [piece(0)]
    bus.close()
    assert made == ["parent"]


async def test_the_end_of_a_bus_hands_out_all_of_many_events() -> None:
    bus = EventBus()
    stream = bus.stream(max_queue=3 * TURN_EVENTS)
    bus.publish_each(PieceCompleted, lambda: map(piece, range(2 * TURN_EVENTS)))
    bus.close()
    assert len([event async for event in stream]) == 2 * TURN_EVENTS


async def test_cancelled_subscription_hears_nothing_more_even_of_what_is_pending() -> None:
    seen: list[Event] = []
    async with running() as bus:
        with bus.subscribe("*", seen.append) as subscription:
            bus.publish(piece(0))
            await settle()
            bus.publish(piece(1))
            assert subscription.active
        assert not subscription.active
        subscription.cancel()
        await settle()
    assert seen == [piece(0)]


async def test_a_class_stands_for_its_name_and_the_stream_has_its_type() -> None:
    async with running() as bus:
        seen: list[PieceIndex] = []
        bus.subscribe(PieceCompleted, lambda event: seen.append(event.piece_index))
        async with bus.stream(PieceCompleted, SessionStopped) as stream:
            bus.publish(piece(3))
            bus.publish(PieceHashFailed(HASH, PieceIndex(4), ()))
            bus.publish(SessionStopped(HASH, "stopped"))
            await settle()
            match await anext(stream):
                case PieceCompleted(piece_index=index):
                    assert index == 3
                case other:
                    raise AssertionError(other)
            stopped = await anext(stream)
            assert isinstance(stopped, SessionStopped)
            assert stopped.reason == "stopped"
    assert seen == [3]


async def test_a_stream_of_chosen_classes_counts_what_it_lost_and_tells_it_on_request() -> None:
    async with running() as bus:
        chosen = bus.stream(PieceCompleted, max_queue=1)
        told = bus.stream(PieceCompleted, EventsDropped, max_queue=1)
        for number in range(4):
            bus.publish(piece(number))
        await settle()
        assert (await anext(chosen)).piece_index == 3
        assert chosen.dropped_events == told.dropped_events == 3
        assert await anext(told) == EventsDropped(HASH, 3)
        assert await anext(told) == piece(3)


async def test_the_class_of_all_events_stands_for_all() -> None:
    async with running() as bus:
        stream = bus.stream(Event)
        bus.publish(piece(0))
        await settle()
        assert await anext(stream) == piece(0)


async def test_subscriber_may_cancel_another_one_while_it_is_called() -> None:
    seen: list[Event] = []
    async with running() as bus:
        later: list[Subscription] = []
        bus.subscribe("*", lambda _: later[0].cancel())
        later.append(bus.subscribe("*", seen.append))
        bus.publish(piece(0))
        await settle()
    assert seen == []


async def test_events_of_before_the_first_subscriber_are_gone() -> None:
    seen: list[Event] = []
    async with running() as bus:
        bus.publish(piece(0))
        bus.subscribe("*", seen.append)
        await settle()
    assert seen == []


async def test_stream_yields_wanted_types_and_ends_with_the_bus() -> None:
    seen: list[Event] = []
    async with running() as bus, anyio.create_task_group() as tasks:

        async def read() -> None:
            async with bus.stream("piece.completed", "session.stopped") as stream:
                seen.extend([event async for event in stream])

        tasks.start_soon(read)
        await settle()
        for event in (piece(0), SessionPaused(HASH), SessionStopped(HASH, "stopped")):
            bus.publish(event)
        bus.close()  # hands out what is pending first
    assert seen == [piece(0), SessionStopped(HASH, "stopped")]


async def test_unread_stream_says_how_many_events_it_dropped_before_the_next() -> None:
    async with running() as bus:
        stream = bus.stream(max_queue=3)
        for index in range(10):
            bus.publish(piece(index))
        await settle()
        assert await anext(stream) == EventsDropped(HASH, 7)
        assert [await anext(stream) for _ in range(3)] == [piece(7), piece(8), piece(9)]
        bus.publish(piece(10))
        assert await anext(stream) == piece(10)


async def test_slow_stream_does_not_hurt_a_fast_one() -> None:
    async with running() as bus:
        slow, fast = bus.stream(max_queue=1), bus.stream(max_queue=10)
        for index in range(5):
            bus.publish(piece(index))
        await settle()
        assert [await anext(fast) for _ in range(5)] == [piece(index) for index in range(5)]
        assert await anext(slow) == EventsDropped(HASH, 4)


async def test_two_readers_of_one_stream_share_its_events() -> None:
    seen: list[Event] = []
    async with running() as bus, anyio.create_task_group() as tasks:
        stream = bus.stream()

        async def read() -> None:
            seen.append(await anext(stream))

        tasks.start_soon(read)
        tasks.start_soon(read)
        await settle()
        bus.publish(piece(0))
        bus.publish(piece(1))
    assert sorted(seen, key=repr) == [piece(0), piece(1)]


async def test_forgotten_stream_leaves_the_bus() -> None:
    async with running() as bus:
        stream = bus.stream()
        del stream
        gc.collect()
        assert not bus._listening
        assert bus._streams == []


async def test_star_stream_takes_all_and_closed_stream_takes_no_more() -> None:
    async with running() as bus:
        async with bus.stream("*") as stream:
            bus.publish(piece(0))
            await settle()
        bus.publish(piece(1))
        await settle()
        assert [event async for event in stream] == [piece(0)]


async def test_stream_and_subscription_on_a_closed_bus_end_at_once() -> None:
    bus = EventBus()
    bus.close()
    bus.close()
    assert [event async for event in bus.stream()] == []
    seen: list[Event] = []
    bus.subscribe("*", seen.append)
    bus.publish(piece(0))
    await bus.run()
    assert seen == []


async def test_subscriber_may_close_the_bus_and_nothing_published_before_is_lost() -> None:
    seen: list[Event] = []
    async with running() as bus:
        bus.subscribe("session.stopped", lambda _: bus.close())
        bus.subscribe("*", seen.append)
        bus.publish(SessionStopped(HASH, "stopped"))
        bus.publish(piece(1))
        await settle()
    assert seen == [SessionStopped(HASH, "stopped"), piece(1)]


async def test_close_without_a_run_still_hands_out_what_is_pending() -> None:
    bus = EventBus()
    stream = bus.stream()
    bus.publish(piece(0))
    bus.close()
    assert [event async for event in stream] == [piece(0)]


async def test_bus_that_nobody_runs_is_bounded_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(event_bus, "MAX_PENDING_EVENTS", 2)
    bus = EventBus()
    seen: list[Event] = []
    bus.subscribe("*", seen.append)
    for index in range(5):
        bus.publish(piece(index))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bus.run)
        await settle()
        bus.close()
    assert seen == [piece(0), piece(1)]
    assert "3 events lost" in caplog.text


def test_event_type_of_a_users_own_is_known() -> None:
    @dataclass(frozen=True, slots=True)
    class Mine(Event):
        type: ClassVar[str] = "my.event"

    with pytest.raises(ConfigError, match="event type"):
        EventBus().subscribe("your.event", print)
    assert EventBus().subscribe("my.event", print) is not None


@pytest.mark.parametrize("name", ["piece.complete", "", "PIECE.COMPLETED"])
def test_unknown_event_type_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="event type"):
        EventBus().subscribe(name, print)
    with pytest.raises(ConfigError, match="event type"):
        EventBus().stream(name)


def test_coroutine_function_and_empty_queue_are_refused() -> None:
    async def subscriber(event: Event) -> None:
        raise AssertionError(event)

    with pytest.raises(ConfigError, match="subscriber"):
        EventBus().subscribe("*", subscriber)
    with pytest.raises(ConfigError, match="max_queue"):
        EventBus().stream(max_queue=0)


def test_listeners_of_the_parent_count_as_listeners() -> None:
    parent = EventBus()
    bus = EventBus(parent=parent)
    assert not bus.has_listeners
    with parent.subscribe("*", print):
        assert bus.has_listeners
        assert not bus.is_listening
    assert not bus.has_listeners


def test_publishing_to_nobody_costs_next_to_nothing() -> None:
    bus, event = EventBus(), piece(0)
    with cpu_time() as spent:
        for _ in range(10_000):
            bus.publish(event)
    assert spent.seconds / 10_000 < 1e-6  # about 0.05 us


async def test_a_bus_that_nobody_ever_listened_to_keeps_nothing() -> None:
    quiet, other = EventBus(), EventBus()
    seen: list[Event] = []
    other.subscribe("*", seen.append)
    other.publish(piece(0))
    quiet.publish(piece(0))
    quiet.close()
    other.close()
    assert seen == [piece(0)]
    assert "0 pending" in repr(quiet)
