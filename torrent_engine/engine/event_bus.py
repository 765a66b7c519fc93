"""Owns one promise: publishing never waits, and a subscriber only ever runs in the bus's own task.

One bus per Session, used in the thread of its event loop only.
"""

import inspect
import logging
import weakref
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

import anyio
import anyio.lowlevel

from torrent_engine.base.errors import ConfigError
from torrent_engine.engine.events import Event, EventsDropped

logger = logging.getLogger(__name__)

ANY_TYPE: Final = "*"
MAX_PENDING_EVENTS: Final = 100_000  # ours: only reached when nobody runs the bus


class Subscription:
    """A callback's place on a bus; ``cancel()`` or leaving the ``with`` block ends it."""

    __slots__ = ("_bus", "_subscriber", "_type")

    def __init__(self, bus: "EventBus", type_: str, subscriber: Callable[[Any], object]) -> None:
        self._bus: EventBus | None = bus
        self._type = type_
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
        if self._bus is None or self._type not in (ANY_TYPE, event.type):
            return
        try:
            self._subscriber(event)
        except Exception:
            logger.exception("a subscriber failed on %s", event.type)


class EventStream:
    """A bounded queue of events, read with ``async for``; it ends when the bus closes.

    When it is not read fast enough the oldest events go, and an EventsDropped with their number
    comes before the next one. A stream that is no longer referenced leaves the bus by itself.
    """

    __slots__ = ("__weakref__", "_closed", "_dropped", "_queue", "_types", "_wake")

    def __init__(self, types: frozenset[str], max_queue: int) -> None:
        self._types = types  # empty: all
        self._queue: deque[Event] = deque(maxlen=max_queue)
        self._dropped = 0
        self._wake: anyio.Event | None = None
        self._closed = False

    def close(self) -> None:
        """Take no more events; what is queued can still be read."""
        self._closed = True
        self._wake_readers()

    def __aiter__(self) -> Self:
        """Return the stream itself."""
        return self

    async def __anext__(self) -> Event:
        """Return the next event, waiting for it."""
        while not self._queue:
            if self._closed:
                raise StopAsyncIteration
            if self._wake is None:
                self._wake = anyio.Event()
            await self._wake.wait()
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            return EventsDropped(self._queue[0].info_hash, dropped)
        return self._queue.popleft()

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
        self._queue.append(event)
        self._wake_readers()

    def _wake_readers(self) -> None:
        if self._wake is not None:
            self._wake.set()
            self._wake = None


class EventBus:
    """Hands each published event to all subscribers and streams, in order, on a later tick.

    Somebody has to run :meth:`run` in a task. An event that is published while nobody listens is
    gone at once, which costs next to nothing.
    """

    def __init__(self) -> None:
        self._subscriptions: list[Subscription] = []
        self._streams: list[weakref.ref[EventStream]] = []
        self._listening = False
        self._pending: deque[Event] = deque()
        self._lost = 0
        self._wake: anyio.Event | None = None
        self._dispatching = False
        self._closed = False
        self.on_listening: Callable[[], None] | None = None
        """Called when somebody begins to listen: the bus has to be run from now on."""
        self.parent: EventBus | None = None
        """Hears of every event too."""

    @property
    def is_listening(self) -> bool:
        """Whether anybody listens."""
        return self._listening

    def subscribe(self, event_type: str, subscriber: Callable[[Any], object]) -> Subscription:
        """Call ``subscriber(event)`` for each event of a type such as "piece.completed", or "*".

        The subscriber is a plain function and should be quick; what it raises is logged. Raises
        ConfigError for a type that no event has and for a coroutine function (use a stream).
        """
        if inspect.iscoroutinefunction(subscriber):
            raise ConfigError("subscriber: a plain function is needed; read stream() in a task")
        _check_types({event_type} - {ANY_TYPE})
        subscription = Subscription(self, event_type, subscriber)
        self._subscriptions.append(subscription)
        self._update_listening()
        return subscription

    def stream(self, *types: str, max_queue: int = 1_000) -> EventStream:
        """Return a stream of the events of these types, of all types if none is named.

        ``max_queue`` is the number of unread events that it keeps. Raises ConfigError for a type
        that no event has and for a queue of less than one event.
        """
        if max_queue < 1:
            raise ConfigError(f"max_queue: {max_queue} events; at least 1 is needed")
        wanted = frozenset(types) if ANY_TYPE not in types else frozenset[str]()
        _check_types(wanted)
        stream = EventStream(wanted, max_queue)
        if self._closed:
            stream.close()
        else:
            self._streams.append(weakref.ref(stream, self._forget_stream))
            self._update_listening()
        return stream

    def publish(self, event: Event) -> None:
        """Note an event for all who listen; never waits and never runs a subscriber."""
        if self.parent is not None:
            self.parent.publish(event)
        if not self._listening:
            return
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
            self._dispatch(len(self._pending))
            await anyio.lowlevel.checkpoint()

    def close(self) -> None:
        """Hand out what is still pending, then end all streams; later events are ignored."""
        if self._closed:
            return
        self._closed = True
        self._listening = False
        if not self._dispatching:
            self._finish()

    def _dispatch(self, count: int) -> None:
        """Hand out the oldest ``count`` events, all of them if a subscriber closes the bus."""
        self._dispatching = True
        try:
            for _ in range(count):
                self._hand_out(self._pending.popleft())
        finally:
            self._dispatching = False
        if self._lost:
            logger.warning("%d events lost: the event bus was not run", self._lost)
            self._lost = 0
        if self._closed:
            self._finish()

    def _hand_out(self, event: Event) -> None:
        for subscription in tuple(self._subscriptions):
            subscription._offer(event)  # noqa: SLF001 - the three classes are one unit
        for reference in tuple(self._streams):
            if (stream := reference()) is not None:
                stream._offer(event)  # noqa: SLF001

    def _finish(self) -> None:
        while self._pending:
            self._hand_out(self._pending.popleft())
        for reference in tuple(self._streams):
            if (stream := reference()) is not None:
                stream.close()
        self._streams.clear()
        if self._wake is not None:
            self._wake.set()

    def _forget(self, subscription: Subscription) -> None:
        self._subscriptions.remove(subscription)
        self._update_listening()

    def _forget_stream(self, reference: "weakref.ref[EventStream]") -> None:
        if reference in self._streams:
            self._streams.remove(reference)
        self._update_listening()

    def _update_listening(self) -> None:
        was_listening = self._listening
        self._listening = not self._closed and bool(self._subscriptions or self._streams)
        if self._listening and not was_listening and self.on_listening is not None:
            self.on_listening()


def _check_types(types: set[str] | frozenset[str]) -> None:
    """Raise ConfigError for a name that no event has: it is a slip of the pen."""
    if unknown := sorted(types - _known_types(Event)):
        raise ConfigError(f"event type: {unknown[0]!r} is not one of {sorted(_known_types(Event))}")


def _known_types(base: type[Event]) -> set[str]:
    """Return the type strings of a class of events and of all that derive from it."""
    return {base.type}.union(*map(_known_types, base.__subclasses__()))
