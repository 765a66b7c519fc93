"""Owns the number of connections of all torrents together, and how it is shared among them.

Whatever is free may be taken by anybody, so that a torrent alone has all of them. Once none is
free, a torrent with less than its fair share takes from who has most: the least useful link there
is ended, and its slot changes hands at once. Nobody falls below the fair share by that.
"""

from collections.abc import Callable
from typing import Final, Protocol

from torrent_engine.base.config import PoolConfig
from torrent_engine.net.waiting_room import WaitingRoom

MAX_UNPROVEN: Final = 5  # ours: no good link is given for the sixth dial that may come to nothing
MAX_NEWCOMERS: Final = PoolConfig().max_half_open_incoming
LENT: Final = "another torrent needs the connection"


class Lent(Protocol):
    """A link that may be ended."""

    def end(self, reason: str) -> None:
        """End it soon; its slot is given back after that."""


class ConnectionSlots:
    """Counts connections against a limit that all torrents share; 0 is unlimited."""

    def __init__(self, limit: int, newcomers: WaitingRoom | None = None) -> None:
        self.limit = limit
        self.newcomers = WaitingRoom(MAX_NEWCOMERS) if newcomers is None else newcomers
        """Connections that others began and whose handshake is not here yet; they take no slot."""
        self.used = 0
        self._members: dict[SlotShare, None] = {}
        """Who has a connection, or waits for one."""
        self._waiting: dict[SlotShare, Callable[[], None]] = {}

    @property
    def free(self) -> int:
        """How many more may be made; negative where one takes the place of one that ends."""
        return self.limit - self.used

    def fair_share(self, share: "SlotShare | None" = None) -> int:
        """Return what every torrent may have that wants it, this one among them."""
        count = len(self._members) + (share is not None and share not in self._members)
        return max(self.limit // max(count, 1), 1)

    def share(self, least_useful: Callable[[], Lent | None]) -> "SlotShare":
        """Return the part of one torrent.

        ``least_useful()`` names the link that it can do without best, None if it has none.
        """
        return SlotShare(self, least_useful)

    # -- for the shares -----------------------------------------------------------------------

    def note(self, share: "SlotShare") -> None:
        """Count a share in, or out, of those that the limit is shared among."""
        if share.used or share in self._waiting:
            self._members[share] = None
        else:
            self._members.pop(share, None)

    def wait(self, share: "SlotShare", waiter: Callable[[], None]) -> None:
        """Have a share told when it is its turn."""
        self._waiting.setdefault(share, waiter)
        self.note(share)

    def stop_waiting(self, share: "SlotShare") -> None:
        """Tell a share nothing; twice is harmless."""
        if self._waiting.pop(share, None) is not None:
            self.note(share)

    def has_room_for(self, share: "SlotShare") -> bool:
        """Tell whether one of the free slots is for this share."""
        if self.free > 0 and self._waiting and share.used >= self.fair_share(share):
            return self.free > len(self._needy())
        return self.free > 0

    def _needy(self) -> list["SlotShare"]:
        """Return who waits and has less than the fair share."""
        fair = self.fair_share()
        return [each for each in self._waiting if each.used < fair]

    def lender(self, borrower: "SlotShare") -> "tuple[SlotShare, Lent] | None":
        """Return who has most, above the fair share, and a link of it; None if nobody has one."""
        fair = self.fair_share(borrower)
        rich = sorted(
            (each for each in self._members if each.used > fair),
            key=lambda each: each.used,
            reverse=True,
        )
        for each in rich:
            if (link := each.least_useful()) is not None:
                return each, link
        return None

    def tell_next(self) -> None:
        """Tell the one whose turn it is that something is free: who has less than its share first.

        Who is told takes it or passes it on, with :meth:`SlotShare.looked`.
        """
        if self._waiting and self.free > 0:
            self._tell(next(iter(self._needy() or self._waiting)))

    def tell_needy(self, lender: "SlotShare") -> None:
        """Tell one that has less than its share that there is a link more which may be lent."""
        if self._waiting and lender.used > self.fair_share() and (needy := self._needy()):
            self._tell(needy[0])

    def _tell(self, share: "SlotShare") -> None:
        waiter = self._waiting.pop(share)
        self.note(share)
        waiter()


class SlotShare:
    """The connections of one torrent."""

    __slots__ = ("_closing", "_slots", "least_useful", "used")

    def __init__(self, slots: ConnectionSlots, least_useful: Callable[[], Lent | None]) -> None:
        self.used = 0
        self.least_useful = least_useful
        self._slots = slots
        self._closing = 0
        """Connections that end, whose slot is somebody else's already."""

    def has_room(self, unproven: int = 0) -> bool:
        """Tell whether one more connection may be made.

        ``unproven`` is how many of ours came to nothing so far: for more than a few of them nobody
        else's link is ended.
        """
        slots = self._slots
        if not slots.limit or slots.has_room_for(self):
            return True
        return self._may_borrow(unproven) and slots.lender(self) is not None

    def _may_borrow(self, unproven: int) -> bool:
        slots = self._slots
        return slots.free <= 0 and unproven < MAX_UNPROVEN and self.used < slots.fair_share(self)

    def take(self, unproven: int = 0) -> None:
        """Count one connection; if there is no room but for a link of somebody else, that ends."""
        slots = self._slots
        found = slots.lender(self) if slots.limit and self._may_borrow(unproven) else None
        if found is not None:
            lender, link = found
            lender.lend()
            link.end(LENT)
        slots.used += 1
        self.used += 1
        slots.note(self)

    def proven(self) -> None:
        """Say that one of our connections is a link now, which may be lent."""
        self._slots.tell_needy(self)

    def lend(self) -> None:
        """Count one connection less; it ends soon."""
        self._closing += 1
        self._drop()

    def give_back(self) -> None:
        """Count one connection less, which has ended, and tell who waits for that."""
        if self._closing:
            self._closing -= 1
        else:
            self._drop()
            self._slots.tell_next()

    def _drop(self) -> None:
        self._slots.used -= 1
        self.used -= 1
        self._slots.note(self)

    def hand_over(self, other: "SlotShare") -> None:
        """Let one of the connections count for another share."""
        self.used -= 1
        other.used += 1
        self._slots.note(self)
        self._slots.note(other)

    def looked(self, waiter: Callable[[], None] | None) -> None:
        """Say that we took what we can use, and whom to tell when it is our turn again.

        None: we want nothing more. What is free goes to the next.
        """
        if waiter is None or not self._slots.limit:
            self._slots.stop_waiting(self)
        else:
            self._slots.wait(self, waiter)
        self._slots.tell_next()
