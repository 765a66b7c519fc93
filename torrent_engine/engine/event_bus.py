"""Publishing of events to callbacks and streams, without ever waiting for them.

One bus per Session, used in the thread of its event loop only.
"""

import inspect
import logging
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar, cast, overload

import anyio
import anyio.lowlevel

from torrent_engine.base.errors import ConfigError
from torrent_engine.engine.events import Event, EventsDropped

logger = logging.getLogger(__name__)

EventT = TypeVar("EventT", bound=Event)
OneT = TypeVar("OneT", bound=Event)
TwoT = TypeVar("TwoT", bound=Event)
ThreeT = TypeVar("ThreeT", bound=Event)
FourT = TypeVar("FourT", bound=Event)
EventCovT = TypeVar("EventCovT", bound=Event, covariant=True)
EventType = type[Event] | str
"""A class of events, which stands for its subclasses too, or a name such as "piece.completed"."""

ANY_TYPE: Final = "*"
_NOTHING: Final[deque[Event | Iterator[Event]]] = deque(maxlen=0)
"""What is pending until somebody listens: a deque has 0.7 KiB, and there are many buses."""
MAX_PENDING_EVENTS: Final = 100_000  # ours: only reached when nobody runs the bus
TURN_EVENTS: Final = 500  # ours: handed out before other tasks run
TURN_SHARE: Final = 8  # ours: or this part of what is pending, so that no more come than go


class Subscription:
    """A callback's place on a bus; ``cancel()`` or leaving the ``with`` block ends it."""

    __slots__ = ("_bus", "_subscriber", "_types")

    def __init__(
        self, bus: "EventBus", types: frozenset[str], subscriber: Callable[[Any], object]
    ) -> None:
        self._bus: EventBus | None = bus
        self._types = types  # empty: all
        self._subscriber = subscriber

    @property
    def active(self) -> bool:
        """Whether the callback is still called."""
        return self._bus is not None

    def cancel(self) -> None:
        """End the subscription: no call is made after this one; twice is harmless."""
        if self._bus is not None:
            self._bus._forget(self)  # noqa: SLF001 - the two classes are one unit
            self._bus = None

    def __enter__(self) -> Self:
        """Return the subscription itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Cancel."""
        self.cancel()

    def _offer(self, event: Event) -> None:
        """Call the subscriber if it wants this event; log what it raises."""
        if self._bus is None or (self._types and event.type not in self._types):
            return
        try:
            self._subscriber(event)
        except Exception:
            logger.exception("a subscriber failed on %s", event.type)


class EventStream(Generic[EventCovT]):
    """A bounded queue of events, read with ``async for``; it ends when the bus closes.

    When it is not read fast enough the oldest events go: :attr:`dropped_events` counts them. A
    stream of all events, and one that asks for it, gets an EventsDropped with their number before
    the next event. A stream that is no longer referenced leaves the bus by itself.
    """

    __slots__ = (
        "__weakref__",
        "_closed",
        "_dropped",
        "_queue",
        "_types",
        "_wake",
        "dropped_events",
    )

    def __init__(self, types: frozenset[str], max_queue: int) -> None:
        self._types = types  # empty: all
        self._queue: deque[Event] = deque(maxlen=max_queue)
        self._dropped = 0  # since the last EventsDropped
        self.dropped_events = 0
        """Events that were lost because the stream was not read fast enough."""
        self._wake: anyio.Event | None = None
        self._closed = False

    def close(self) -> None:
        """Stop queueing events; queued ones can still be read."""
        self._closed = True
        self._wake_readers()

    def __aiter__(self) -> Self:
        """Return the stream itself."""
        return self

    async def __anext__(self) -> EventCovT:
        """Return the next event, waiting for it."""
        while not self._queue:
            if self._closed:
                raise StopAsyncIteration
            if self._wake is None:
                self._wake = anyio.Event()
            await self._wake.wait()
        if self._dropped and (not self._types or EventsDropped.type in self._types):
            dropped, self._dropped = self._dropped, 0
            return cast("EventCovT", EventsDropped(self._queue[0].info_hash, dropped))
        return cast("EventCovT", self._queue.popleft())

    async def __aenter__(self) -> Self:
        """Return the stream itself."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def _offer(self, event: Event) -> None:
        """Queue an event if it is wanted."""
        if self._closed or (self._types and event.type not in self._types):
            return
        if len(self._queue) == self._queue.maxlen:
            self._dropped += 1
            self.dropped_events += 1
        self._queue.append(event)
        self._wake_readers()

    def _wake_readers(self) -> None:
        if self._wake is not None:
            self._wake.set()
            self._wake = None


class EventBus:
    """Hands each published event to all subscribers and streams, in order, on a later tick.

    :meth:`run` has to run in a task, at the latest from the call of ``on_listening`` on, which is
    when somebody begins to listen. ``parent`` gets every event too. An event that is published
    while nobody listens is gone at once, which costs next to nothing.
    """

    __slots__ = (
        "__weakref__",
        "_closed",
        "_dispatching",
        "_listening",
        "_lost",
        "_on_listening",
        "_parent",
        "_pending",
        "_streams",
        "_subscriptions",
        "_wake",
    )

    def __init__(
        self,
        *,
        on_listening: Callable[[], None] | None = None,
        parent: "EventBus | None" = None,
    ) -> None:
        self._subscriptions: list[Subscription] = []
        self._streams: list[weakref.ref[EventStream[Any]]] = []
        self._listening = False
        self._pending = _NOTHING
        self._lost = 0
        self._wake: anyio.Event | None = None
        self._dispatching = False
        self._closed = False
        self._on_listening = on_listening
        self._parent = parent

    def __repr__(self) -> str:
        """Return the number of listeners and of pending events."""
        listeners = f"{len(self._subscriptions)} subscribers, {len(self._streams)} streams"
        state = ", closed" if self._closed else ""
        return f"<EventBus {listeners}, {len(self._pending)} pending{state}>"

    @property
    def is_listening(self) -> bool:
        """Whether there is a listener."""
        return self._listening

    @property
    def has_listeners(self) -> bool:
        """Whether a published event reaches somebody, on this bus or on its parent."""
        return self._listening or (self._parent is not None and self._parent.has_listeners)

    @overload
    def subscribe(
        self, event_type: type[EventT], subscriber: Callable[[EventT], object]
    ) -> Subscription: ...
    @overload
    def subscribe(self, event_type: str, subscriber: Callable[[Any], object]) -> Subscription: ...
    def subscribe(self, event_type: EventType, subscriber: Callable[[Any], object]) -> Subscription:
        """Call ``subscriber(event)`` for each event of a class, such as PieceCompleted.

        ``event_type`` may be a name as well, such as "piece.completed", or "*" for all. The
        subscriber is a plain function and should be quick; what it raises is logged. Raises
        ConfigError for a name that no event has and for a coroutine function (use a stream).
        """
        if inspect.iscoroutinefunction(subscriber):
            raise ConfigError("subscriber: a plain function is needed; read stream() in a task")
        subscription = Subscription(self, _wanted((event_type,)), subscriber)
        self._subscriptions.append(subscription)
        self._update_listening()
        return subscription

    @overload
    def stream(self, *, max_queue: int = 1_000) -> EventStream[Event]: ...
    @overload
    def stream(self, one: type[OneT], /, *, max_queue: int = 1_000) -> EventStream[OneT]: ...
    @overload
    def stream(
        self, one: type[OneT], two: type[TwoT], /, *, max_queue: int = 1_000
    ) -> EventStream[OneT | TwoT]: ...
    @overload
    def stream(
        self, one: type[OneT], two: type[TwoT], three: type[ThreeT], /, *, max_queue: int = 1_000
    ) -> EventStream[OneT | TwoT | ThreeT]: ...
    @overload
    def stream(
        self,
        one: type[OneT],
        two: type[TwoT],
        three: type[ThreeT],
        four: type[FourT],
        /,
        *,
        max_queue: int = 1_000,
    ) -> EventStream[OneT | TwoT | ThreeT | FourT]: ...
    @overload
    def stream(self, *types: EventType, max_queue: int = 1_000) -> EventStream[Event]: ...
    def stream(self, *types: EventType, max_queue: int = 1_000) -> EventStream[Any]:
        """Return a stream of the events of these classes, of all events if none is named.

        Names such as "piece.completed" may stand for classes. ``max_queue`` is the number of
        unread events that it keeps. Raises ConfigError for a name that no event has and for a
        queue of less than one event.
        """
        if max_queue < 1:
            raise ConfigError(f"max_queue: {max_queue} events; at least 1 is needed")
        stream: EventStream[Any] = EventStream(_wanted(types), max_queue)
        if self._closed:
            stream.close()
        else:
            self._streams.append(weakref.ref(stream, self._forget_stream))
            self._update_listening()
        return stream

    def publish(self, event: Event) -> None:
        """Queue an event for all listeners; never waits and never calls a subscriber."""
        if self._parent is not None:
            self._parent.publish(event)
        if self._listening:
            self._add(event)

    def publish_each(self, kind: type[EventT], events: Callable[[], Iterator[EventT]]) -> None:
        """Queue events of one class, which may be very many: each is made when it is handed out.

        So no turn of the event loop is long, and the order is kept. ``events`` is not called if
        nobody listens to that class.
        """
        if self._parent is not None:
            self._parent.publish_each(kind, events)
        if self._listening and self._is_wanted(kind.type):
            self._add(events())

    def _is_wanted(self, event_type: str) -> bool:
        streams = (stream for each in self._streams if (stream := each()) is not None)
        listeners: list[Subscription | EventStream[Any]] = [*self._subscriptions, *streams]
        wanted = (each._types for each in listeners)  # noqa: SLF001 - the three are one unit
        return any(not types or event_type in types for types in wanted)

    def _add(self, event: Event | Iterator[Event]) -> None:
        pending = self._pending
        if not pending and self._wake is not None:
            self._wake.set()
        if len(pending) < MAX_PENDING_EVENTS:
            pending.append(event)
        else:
            self._lost += 1

    async def run(self) -> None:
        """Dispatch what is published until the bus is closed."""
        while not self._closed:
            if not self._pending:
                self._wake = anyio.Event()
                await self._wake.wait()
            self._dispatch()
            await anyio.lowlevel.checkpoint()

    def close(self) -> None:
        """Dispatch pending events, then end all streams; later events are ignored."""
        if self._closed:
            return
        self._closed = True
        self._listening = False
        if not self._dispatching:
            self._finish()

    def _dispatch(self) -> None:
        """Dispatch what is pending now, as much as one turn has time for.

        All of it if a subscriber closes the bus.
        """
        left = len(self._pending)
        self._dispatching = True
        try:
            for _ in range(max(TURN_EVENTS, left // TURN_SHARE)):
                if not left:
                    break
                left -= self._hand_out_oldest()
        finally:
            self._dispatching = False
        if self._lost:
            logger.warning("%d events lost: the event bus was not run", self._lost)
            self._lost = 0
        if self._closed:
            self._finish()

    def _hand_out_oldest(self) -> bool:
        """Hand out the oldest event; return whether nothing is left of what it was queued with."""
        oldest = self._pending[0]
        event = oldest if isinstance(oldest, Event) else next(oldest, None)
        is_done = event is None or event is oldest
        if is_done:
            self._pending.popleft()
        if event is not None:
            self._hand_out(event)
        return is_done

    def _hand_out(self, event: Event) -> None:
        for subscription in tuple(self._subscriptions):
            subscription._offer(event)  # noqa: SLF001 - the three classes are one unit
        for reference in tuple(self._streams):
            if (stream := reference()) is not None:
                stream._offer(event)  # noqa: SLF001

    def _finish(self) -> None:
        while self._pending:
            self._hand_out_oldest()
        for reference in tuple(self._streams):
            if (stream := reference()) is not None:
                stream.close()
        self._streams.clear()
        if self._wake is not None:
            self._wake.set()

    def _forget(self, subscription: Subscription) -> None:
        self._subscriptions.remove(subscription)
        self._update_listening()

    def _forget_stream(self, reference: "weakref.ref[EventStream[Any]]") -> None:
        if reference in self._streams:
            self._streams.remove(reference)
        self._update_listening()

    def _update_listening(self) -> None:
        was_listening = self._listening
        self._listening = not self._closed and bool(self._subscriptions or self._streams)
        if self._listening and self._pending is _NOTHING:
            self._pending = deque()
        if self._listening and not was_listening and self._on_listening is not None:
            self._on_listening()


def known_types() -> set[str]:
    """Return the type strings of all events that a bus carries."""
    return _known_types(Event) - {Event.type}


def _wanted(types: Sequence[EventType]) -> frozenset[str]:
    """Return the names of what was asked for; none stands for all events.

    Raises ConfigError for a name that no event has: a misspelt one would never be seen.
    """
    names: set[str] = set()
    for each in types:
        if each in (ANY_TYPE, Event):
            return frozenset()
        names |= {each} if isinstance(each, str) else _known_types(each)
    if unknown := sorted(names - _known_types(Event)):
        raise ConfigError(f"event type: {unknown[0]!r} is not one of {sorted(_known_types(Event))}")
    return frozenset(names)


def _known_types(base: type[Event]) -> set[str]:
    """Return the type strings of a class of events and of all that derive from it."""
    return {base.type}.union(*map(_known_types, base.__subclasses__()))
