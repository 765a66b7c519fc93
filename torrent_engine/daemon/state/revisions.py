"""Revisions: one counter for all that interfaces show, and what changed since any of its values.

No state is kept for a client: a client names the revision that it has, and gets what changed since.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator
from secrets import token_hex
from typing import Final, Generic, TypeVar

import anyio

KeyT = TypeVar("KeyT", bound=Hashable)
MAX_REMOVED: Final = 10_000  # ours: removals that are remembered; older clients load everything
EPOCH_BYTES: Final = 4
MAX_REVISION_CHARS: Final = 40


class RevisionCounter:
    """The number of the last change, in one epoch: the life of one process.

    As text a revision is "<epoch>.<number>", such as "9f3a01bc.1234".
    """

    def __init__(self, epoch: str | None = None) -> None:
        self.epoch = epoch or token_hex(EPOCH_BYTES)
        self.number = 0
        """The newest revision."""
        self._changed: anyio.Event | None = None

    def next(self) -> int:
        """Return the revision of a change that happens now, and wake who waits for one."""
        self.number += 1
        if self._changed is not None:
            self._changed.set()
            self._changed = None
        return self.number

    def text(self, number: int | None = None) -> str:
        """Return a revision as clients have it; by default the newest."""
        return f"{self.epoch}.{self.number if number is None else number}"

    def parse(self, text: str | None) -> int | None:
        """Return the number of a revision; None if it is of another epoch, or none at all."""
        if not text or len(text) > MAX_REVISION_CHARS:
            return None
        epoch, _, digits = text.partition(".")
        if epoch != self.epoch or not (digits.isascii() and digits.isdigit()):
            return None
        number = int(digits)
        return number if number <= self.number else None

    async def wait(self, since: int, timeout_s: float) -> bool:
        """Wait until there is a newer revision; False if there is none within the time."""
        with anyio.move_on_after(timeout_s):
            while self.number <= since:
                if self._changed is None:
                    self._changed = anyio.Event()
                await self._changed.wait()
        return self.number > since


class ChangeIndex(Generic[KeyT]):
    """Which objects changed, in the order of their changes, and which are gone.

    What changed since a revision is found in the time of what changed, not of what there is.
    """

    def __init__(self, *, max_removed: int = MAX_REMOVED) -> None:
        self._revisions: OrderedDict[KeyT, int] = OrderedDict()
        """The newest last."""
        self._added: dict[KeyT, int] = {}
        self._removed: deque[tuple[int, int, KeyT]] = deque()
        """Revision of the removal and of the addition, the newest last."""
        self._max_removed = max_removed
        self._forgotten = 0
        """The newest removal that is remembered no more."""

    def __len__(self) -> int:
        """Return how many objects there are."""
        return len(self._revisions)

    def __contains__(self, key: object) -> bool:
        """Return whether an object is there."""
        return key in self._revisions

    def changed(self, key: KeyT, revision: int) -> None:
        """Record that an object is new or has changed."""
        self._revisions[key] = revision
        self._revisions.move_to_end(key)
        self._added.setdefault(key, revision)

    def removed(self, key: KeyT, revision: int) -> None:
        """Record that an object is gone."""
        if self._revisions.pop(key, None) is None:
            return
        self._removed.append((revision, self._added.pop(key), key))
        if len(self._removed) > self._max_removed:
            self._forgotten = self._removed.popleft()[0]

    def can_tell(self, since: int) -> bool:
        """Return whether all removals after a revision are remembered."""
        return since >= self._forgotten

    def changed_since(self, since: int) -> list[KeyT]:
        """Return the objects that changed after a revision, the newest first."""
        found: list[KeyT] = []
        for key in reversed(self._revisions):
            if self._revisions[key] <= since:
                break
            found.append(key)
        return found

    def removed_since(self, since: int) -> list[KeyT]:
        """Return the objects that were there at a revision and are not now, each once."""
        return list(dict.fromkeys(self._gone(since)))

    def gone_since(self, since: int) -> list[KeyT]:
        """Return the objects that went after a revision and are not there now, each once.

        Those too that came after it: for a client that may have been told of them before its
        revision moved on.
        """
        gone: dict[KeyT, None] = {}
        for removed, _, key in reversed(self._removed):
            if removed <= since:
                break
            if key not in self._revisions:
                gone[key] = None
        return list(gone)

    def _gone(self, since: int) -> Iterator[KeyT]:
        for removed, added, key in reversed(self._removed):
            if removed <= since:
                return
            if added <= since and key not in self._revisions:
                yield key
