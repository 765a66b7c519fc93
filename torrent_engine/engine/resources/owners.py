"""Generations of owners; what is tied to an older generation is ended at once.

An owner, such as a user interface, may go away while what it started goes on. All of this is called
on the thread of the event loop, and nothing blocks.
"""

import logging
from collections.abc import Callable
from typing import Final

from torrent_engine.base.errors import OwnerChangedError
from torrent_engine.base.ids import OwnerTie

logger = logging.getLogger(__name__)

OWNER_CHANGED: Final = "owner_changed"
"""Why a Session ended whose tie is old."""


class OwnerWatch:
    """A callback for the moment when a tie becomes old; :meth:`cancel` ends it."""

    __slots__ = ("_on_changed", "_owners", "tie")

    def __init__(self, owners: "Owners", tie: OwnerTie, on_changed: Callable[[], None]) -> None:
        self.tie = tie
        self._owners = owners
        self._on_changed = on_changed

    def cancel(self) -> None:
        """Stop watching; twice is harmless."""
        self._owners.forget(self)

    def call(self) -> None:
        """Call the callback."""
        self._on_changed()


class Owners:
    """The generation of each owner, and the watches of each."""

    def __init__(self) -> None:
        self._generations: dict[str, int] = {}
        self._watches: dict[str, dict[OwnerWatch, None]] = {}

    def generation(self, owner_id: str) -> int | None:
        """Return an owner's generation; None if it never announced one."""
        return self._generations.get(owner_id)

    def is_current(self, tie: OwnerTie | None) -> bool:
        """Return whether a tie is current; True for None and for an owner that is not known."""
        return tie is None or tie.generation >= self._generations.get(tie.owner_id, tie.generation)

    def check(self, tie: OwnerTie | None) -> None:
        """Raise OwnerChangedError if a tie is old."""
        if tie is not None and not self.is_current(tie):
            raise OwnerChangedError(
                f"owner {tie.owner_id!r}: generation {tie.generation} is over,"
                f" it is at {self._generations[tie.owner_id]} now"
            )

    def advance(self, owner_id: str, generation: int) -> int:
        """Set an owner's generation; return how many watches of older ones were called.

        All watchers have been called when this returns. The present generation changes nothing.
        Raises OwnerChangedError, and changes nothing, if it is older than the one that is known.
        """
        self.check(OwnerTie(owner_id, generation))
        if self._generations.get(owner_id) == generation:
            return 0
        self._generations[owner_id] = generation
        old = [each for each in self._watches.get(owner_id, ()) if each.tie.generation < generation]
        logger.info("owner %r: generation %d, %d ties are old", owner_id, generation, len(old))
        return sum(self._call(watch) for watch in old)

    def _call(self, watch: OwnerWatch) -> bool:
        """Call a watch, unless the callback of another has cancelled it."""
        if watch not in self._watches.get(watch.tie.owner_id, ()):
            return False
        self.forget(watch)
        try:
            watch.call()
        except Exception:
            logger.exception(
                "owner %r: internal error in the callback of a watch", watch.tie.owner_id
            )
        return True

    def watch(self, tie: OwnerTie, on_changed: Callable[[], None]) -> OwnerWatch:
        """Call ``on_changed`` once when a tie becomes old; it must not raise.

        Raises OwnerChangedError if it is old already.
        """
        self.check(tie)
        watch = OwnerWatch(self, tie, on_changed)
        self._watches.setdefault(tie.owner_id, {})[watch] = None
        return watch

    def forget(self, watch: OwnerWatch) -> None:
        """End a watch; twice is harmless."""
        watches = self._watches.get(watch.tie.owner_id)
        if watches is not None:
            watches.pop(watch, None)
            if not watches:
                del self._watches[watch.tie.owner_id]
