"""The global connection limit and its fair shares among torrents.

A free slot may be taken by any torrent, so that a single torrent can use all of them. Once none is
free, a torrent below its fair share takes one from the torrent with most: the least useful
connection there is closed and its slot is transferred at once. No torrent falls below its fair
share by that. For an incoming connection none is closed that carried payload of late, and once half
of all are in use an operator gets a few over all torrents: strangers choose themselves which
torrents they come to. Source: row B5.
"""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Final, Protocol

from torrent_engine.base.config import PoolConfig
from torrent_engine.base.operators import operator_of
from torrent_engine.net.sockets.handshake_limits import HandshakeLimiter
from torrent_engine.policy.limits.operator_links import OperatorLinks

MAX_UNPROVEN: Final = 5  # ours: no good link is given for the sixth dial that may come to nothing
MAX_HALF_OPEN_INCOMING: Final = PoolConfig().max_half_open_incoming
TOO_MANY: Final = "the limit of connections was lowered"
TAKEN: Final = "another torrent needs the connection"


class Evictable(Protocol):
    """A link that may be ended."""

    def end(self, reason: str) -> None:
        """End it soon; its slot is given back after that."""


LeastUseful = Callable[[], Evictable | None]
"""Names the link that a torrent can do without best, None if it has none."""


class ConnectionSlots:
    """Counts connections against a limit that all torrents share; 0 is unlimited."""

    def __init__(
        self,
        limit: int,
        half_open_incoming: HandshakeLimiter | None = None,
        *,
        per_torrent: int = PoolConfig().max_connections_per_torrent,
        of_operator: OperatorLinks | None = None,
    ) -> None:
        self.limit = limit
        self.per_torrent = per_torrent
        """How many each torrent may have that has no limit of its own."""
        self.half_open_incoming = (
            HandshakeLimiter(MAX_HALF_OPEN_INCOMING)
            if half_open_incoming is None
            else half_open_incoming
        )
        """Connections that others began and whose handshake is not here yet; they take no slot."""
        self.of_operator = OperatorLinks(PoolConfig()) if of_operator is None else of_operator
        """The links of all torrents with each operator."""
        self.used = 0
        self.excess = 0
        """Dials that go on although the limit was lowered: what comes of them is closed."""
        self._members: dict[SlotShare, None] = {}
        """Shares that have a connection or wait for one."""
        self._waiting: dict[SlotShare, Callable[[], None]] = {}

    @property
    def free(self) -> int:
        """How many more may be made; negative where one takes the place of one that ends."""
        return self.limit - self.used

    @property
    def is_short(self) -> bool:
        """Whether no connection can be made unless another one ends."""
        return bool(self.limit) and self.free <= 0

    @property
    def crowded(self) -> AbstractSet[str]:
        """The operators that may have no more connections while so many are in use."""
        is_half_used = bool(self.limit) and self.used * 2 >= self.limit
        return self.of_operator.crowded if is_half_used else frozenset()

    def set_limit(self, limit: int) -> None:
        """Change the limit; the largest torrents lose the connections that are too many."""
        self.limit = limit
        self.excess = max(self.used - limit, 0) if limit else 0
        self.close_excess()
        self.wake_next()

    def close_excess(self) -> None:
        """Close the connections that are too many; a dial is none until it has succeeded."""
        while self.excess and self.free < 0 and (found := self._to_close()) is not None:
            share, link = found
            share.begin_closing()
            self.excess -= 1
            link.end(TOO_MANY)

    def _to_close(self) -> "tuple[SlotShare, Evictable] | None":
        """Return a connection of the largest torrent that has one to close."""
        for share in sorted(self._members, key=lambda each: each.used, reverse=True):
            if (link := share.least_useful()) is not None:
                return share, link
        return None

    def fair_share(self, share: "SlotShare | None" = None) -> int:
        """Return what every torrent may have that wants it, this one among them."""
        count = len(self._members) + (share is not None and share not in self._members)
        return max(self.limit // max(count, 1), 1)

    def share(
        self, least_useful: LeastUseful, least_active: LeastUseful | None = None
    ) -> "SlotShare":
        """Return the part of one torrent.

        ``least_active()`` names a link that carried no payload of late; not given, any.
        """
        return SlotShare(self, least_useful, least_active)

    # -- for the shares -----------------------------------------------------------------------

    def note(self, share: "SlotShare") -> None:
        """Update whether a share is among those that the limit is divided by."""
        if share.used or share in self._waiting:
            self._members[share] = None
        else:
            self._members.pop(share, None)

    def wait(self, share: "SlotShare", waiter: Callable[[], None]) -> None:
        """Queue ``waiter``, which is called when it is the share's turn."""
        self._waiting.setdefault(share, waiter)
        self.note(share)

    def stop_waiting(self, share: "SlotShare") -> None:
        """Remove a share from the queue; twice is harmless."""
        if self._waiting.pop(share, None) is not None:
            self.note(share)

    def has_room_for(self, share: "SlotShare") -> bool:
        """Return whether this share may have one of the free slots."""
        if self.free > 0 and self._waiting and share.used >= self.fair_share(share):
            return self.free > len(self._below_fair_share())
        return self.free > 0

    def _below_fair_share(self) -> list["SlotShare"]:
        """Return the waiting shares that have less than the fair share."""
        fair = self.fair_share()
        return [each for each in self._waiting if each.used < fair]

    def largest_above_fair(
        self, taker: "SlotShare", *, is_incoming: bool
    ) -> "tuple[SlotShare, Evictable] | None":
        """Return the largest share above the fair one and a connection of it to close, or None."""
        fair = self.fair_share(taker)
        rich = sorted(
            (each for each in self._members if each.used > fair),
            key=lambda each: each.used,
            reverse=True,
        )
        for each in rich:
            link = each.least_active() if is_incoming else each.least_useful()
            if link is not None:
                return each, link
        return None

    def wake_next(self) -> None:
        """Call the next waiter if a slot is free; those below their fair share come first.

        The waiter takes the slot or passes the turn on, with :meth:`SlotShare.end_turn`.
        """
        if self._waiting and self.free > 0:
            self._wake(next(iter(self._below_fair_share() or self._waiting)))

    def wake_needy(self, largest: "SlotShare") -> None:
        """Call one waiter below its fair share: ``largest`` has a connection that may be closed."""
        if (
            self._waiting
            and largest.used > self.fair_share()
            and (needy := self._below_fair_share())
        ):
            self._wake(needy[0])

    def _wake(self, share: "SlotShare") -> None:
        waiter = self._waiting.pop(share)
        self.note(share)
        waiter()


class SlotShare:
    """The connections of one torrent."""

    __slots__ = ("_closing", "_slots", "least_active", "least_useful", "used")

    def __init__(
        self,
        slots: ConnectionSlots,
        least_useful: LeastUseful,
        least_active: LeastUseful | None = None,
    ) -> None:
        self.used = 0
        self.least_useful = least_useful
        self.least_active = least_useful if least_active is None else least_active
        self._slots = slots
        self._closing = 0
        """Closing connections whose slot another torrent has already."""

    def has_room(self, unproven: int = 0) -> bool:
        """Return whether one more dial is allowed.

        ``unproven`` is how many of ours came to nothing so far: for more than a few of them nobody
        else's link is ended.
        """
        return self._has_free or self._to_close(unproven) is not None

    def has_room_for_incoming(self, host: str) -> bool:
        """Return whether an incoming connection from this address is allowed."""
        if operator_of(host) in self._slots.crowded:
            return False
        return self._has_free or self._to_close(is_incoming=True) is not None

    @property
    def _has_free(self) -> bool:
        return not self._slots.limit or self._slots.has_room_for(self)

    def _to_close(
        self, unproven: int = 0, *, is_incoming: bool = False
    ) -> "tuple[SlotShare, Evictable] | None":
        """Return a connection of another torrent to close for one of this, and whose it is."""
        if not self._slots.limit or not self._may_take_from_another(unproven):
            return None
        return self._slots.largest_above_fair(self, is_incoming=is_incoming)

    def _may_take_from_another(self, unproven: int) -> bool:
        slots = self._slots
        return slots.free <= 0 and unproven < MAX_UNPROVEN and self.used < slots.fair_share(self)

    def take(self, unproven: int = 0) -> None:
        """Take one slot; if none is free, a connection of another torrent is closed for it."""
        self._take(self._to_close(unproven))

    def take_for_incoming(self) -> None:
        """Take one slot, as :meth:`take`, for an incoming connection."""
        self._take(self._to_close(is_incoming=True))

    def _take(self, found: "tuple[SlotShare, Evictable] | None") -> None:
        if found is not None:
            largest, link = found
            largest.begin_closing()
            link.end(TAKEN)
        self._slots.used += 1
        self.used += 1
        self._slots.note(self)

    def joined(self, host: str) -> None:
        """Record that a connection is one with a peer at this address."""
        self._slots.of_operator.joined(host)

    def left(self, host: str) -> None:
        """Stop counting a connection with a peer, and wake the next waiter."""
        self._slots.of_operator.left(host)
        self.give_back()

    def dial_succeeded(self) -> None:
        """Record that a dial became a connection, which may be closed for another torrent."""
        self._slots.close_excess()
        self._slots.wake_needy(self)

    def begin_closing(self) -> None:
        """Stop counting a connection that is about to close."""
        self._closing += 1
        self._drop()

    def give_back(self) -> None:
        """Stop counting a connection that has ended, and wake the next waiter."""
        if self._closing:
            self._closing -= 1
        else:
            self._drop()
            self._slots.excess = min(self._slots.excess, max(-self._slots.free, 0))
            self._slots.wake_next()

    def _drop(self) -> None:
        self._slots.used -= 1
        self.used -= 1
        self._slots.note(self)

    def hand_over(self, other: "SlotShare") -> None:
        """Transfer one connection to another share."""
        self.used -= 1
        other.used += 1
        self._slots.note(self)
        self._slots.note(other)

    def end_turn(self, waiter: Callable[[], None] | None) -> None:
        """End a turn; queue ``waiter`` for the next one.

        None: no more slots are needed. A free slot goes to the next waiter.
        """
        if waiter is None or not self._slots.limit:
            self._slots.stop_waiting(self)
        else:
            self._slots.wait(self, waiter)
        self._slots.wake_next()
