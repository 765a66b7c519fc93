"""Slots for torrents that have their files open, as many as the descriptors allow (row F9)."""

from typing import Protocol

import anyio

from torrent_engine.policy.limits.descriptors import links_within, runs_within


class ConnectionLimit(Protocol):
    """The connections of all torrents."""

    limit: int

    def set_limit(self, limit: int) -> None:
        """Change the limit, and close what is too many."""


class RunSlots:
    """Grants slots in the order in which they were asked for; links get the descriptors left.

    A torrent that has to wait holds no descriptor. Those that can do without their slot give it
    back while others wait, as many as wait: :meth:`may_leave`.
    """

    def __init__(self, descriptors: int, links: ConnectionLimit) -> None:
        self._descriptors = descriptors
        self._limit = runs_within(descriptors)
        self._links = links
        self._wanted_links = links.limit
        self._holders: set[object] = set()
        self._waiting: dict[object, anyio.Event] = {}
        self._leaving: set[object] = set()
        """Holders that were asked to give their slots back."""
        self._wanted = anyio.Event()

    @property
    def used(self) -> int:
        """Return how many slots are taken."""
        return len(self._holders)

    @property
    def is_free(self) -> bool:
        """Return whether a slot is available at once."""
        return not self._waiting and self.used < self._limit

    def may_leave(self, holder: object) -> bool:
        """Return whether another holder waits for the slot of one that can do without it.

        If so, the holder is to give it back.
        """
        if holder not in self._leaving and len(self._leaving) >= len(self._waiting):
            return False
        self._leaving.add(holder)
        return True

    async def until_wanted(self) -> None:
        """Wait until a slot is requested that is not free."""
        while not self._waiting:
            await self._wanted.wait()

    async def take(self, holder: object) -> None:
        """Return when a slot is the holder's; it is to be given back."""
        if self.is_free:
            self._grant(holder)
            return
        granted = self._waiting[holder] = anyio.Event()
        self._wanted.set()
        self._wanted = anyio.Event()
        try:
            await granted.wait()
        except BaseException:
            self._waiting.pop(holder, None)
            self.give_back(holder)
            raise

    def give_back(self, holder: object) -> None:
        """Release the holder's slot, if it has one, to the first in the queue."""
        self._holders.discard(holder)
        self._leaving.discard(holder)
        while self._waiting and self.used < self._limit:
            waiter = next(iter(self._waiting))
            granted = self._waiting.pop(waiter)
            self._grant(waiter)
            granted.set()
        self._share_out()

    def _grant(self, holder: object) -> None:
        self._holders.add(holder)
        self._share_out()

    def set_wanted_links(self, wanted: int) -> None:
        """Change how many links there may be, as far as there are descriptors for them."""
        self._wanted_links = wanted
        self._share_out()

    def _share_out(self) -> None:
        """Close the links whose descriptors a run takes; wake who waits for those it gives back."""
        left = links_within(self._descriptors, self._wanted_links, torrents=max(self.used, 1))
        if left != self._links.limit:
            self._links.set_limit(left)
