"""Looks at folders whose disks may not answer, such as those of a network."""

import threading
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import anyio
import anyio.from_thread
import anyio.lowlevel

_T = TypeVar("_T")
LIMIT_S: Final = 10.0  # ours: an idle disk of a store that slept is there again within this
MAX_OF_A_PLACE: Final = 4


class FolderTimeoutError(TimeoutError):
    """A disk has not answered in time."""

    def __init__(self) -> None:
        super().__init__("the disk of the folder does not answer")


@dataclass(slots=True, eq=False)
class _Look:
    done: anyio.Event = field(default_factory=anyio.Event)
    value: Any = None
    error: BaseException | None = None

    def result(self) -> Any:  # noqa: ANN401 - what the work returned
        if self.error is not None:
            raise self.error
        return self.value


@dataclass(slots=True)
class _Place:
    slots: anyio.CapacityLimiter
    users: int = 0


class FolderLooks:
    """Runs blocking calls about folders in threads, and waits for each for a limited time.

    A call that hangs keeps its thread until the disk answers. Of one place only a few are begun,
    so that a disk that does not answer takes few threads, and none from other places. The threads
    do not delay the end of the process.
    """

    def __init__(self, limit_s: float = LIMIT_S, max_of_a_place: int = MAX_OF_A_PLACE) -> None:
        self._limit_s = limit_s
        self._max_of_a_place = max_of_a_place
        self._places: dict[Hashable, _Place] = {}

    async def look(self, place: Hashable, work: Callable[..., _T], *arguments: object) -> _T:
        """Return what a call returns, or raise what it raises.

        Raises FolderTimeoutError if that takes too long, and OSError if there is no thread for it.
        """
        found = self._places.setdefault(place, _Place(anyio.CapacityLimiter(self._max_of_a_place)))
        look = _Look()
        found.users += 1
        is_begun = False
        try:
            with anyio.move_on_after(self._limit_s):
                await found.slots.acquire_on_behalf_of(look)
                self._begin(place, look, lambda: work(*arguments))
                is_begun = True
                await look.done.wait()
        finally:
            if not is_begun:
                self._leave(place)
        if not look.done.is_set():
            raise FolderTimeoutError
        return look.result()  # type: ignore[no-any-return]

    def _begin(self, place: Hashable, look: _Look, work: Callable[[], Any]) -> None:
        token = anyio.lowlevel.current_token()

        def run() -> None:
            try:
                look.value = work()
            except Exception as error:
                look.error = error
            with suppress(RuntimeError):  # the event loop has ended
                anyio.from_thread.run_sync(self._end, place, look, token=token)

        try:
            threading.Thread(target=run, name="look at a folder", daemon=True).start()
        except RuntimeError as error:
            self._places[place].slots.release_on_behalf_of(look)
            raise OSError("the system has no more threads") from error

    def _end(self, place: Hashable, look: _Look) -> None:
        self._places[place].slots.release_on_behalf_of(look)
        self._leave(place)
        look.done.set()

    def _leave(self, place: Hashable) -> None:
        found = self._places[place]
        found.users -= 1
        if not found.users:
            del self._places[place]
