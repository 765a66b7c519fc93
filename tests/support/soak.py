"""Torrents that are added, paused, resumed, moved, rechecked and removed at random, for long.

A :class:`Soak` lives in rounds. In each the torrents of one manager change all the time; at its end
all are removed, and what the process then still holds is measured: memory, tasks, threads and
descriptors, all of which have to be as they were.
"""

import gc
import logging
import os
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import anyio

from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.manager.torrent_manager import TorrentManager
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

PATIENCE_S = 60.0
AT_ONCE = 8
"""Operations under way at the same time."""


@dataclass(frozen=True, slots=True)
class Rest:
    """What the process holds while it has no torrent."""

    time_s: float
    rss_mib: float
    tasks: int
    threads: int
    descriptors: int


@dataclass
class Soaked:
    """What a soak came to."""

    rests: list[Rest] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    """Operations that the state of a torrent did not allow at that moment."""
    logged: list[str] = field(default_factory=list)
    """Errors in the log, and failures that are not a matter of state."""
    most_torrents: int = 0
    completed: int = 0


class Complaints(logging.Handler):
    """Keeps what is logged as an error."""

    def __init__(self, soaked: Soaked) -> None:
        super().__init__(logging.ERROR)
        self._soaked = soaked

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self._soaked.logged.append(f"{record.name}: {record.getMessage()} {error!r}")


@contextmanager
def complaints(soaked: Soaked) -> Iterator[None]:
    handler = Complaints(soaked)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


def rss_mib() -> float:
    """Return the anonymous memory that is resident; mapped payload is not ours."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(text.partition("RssAnon:")[2].split()[0]) / 1024


class Soak:
    """Changes the torrents of one manager at random."""

    def __init__(
        self,
        manager: TorrentManager,
        torrents: list[Metainfo],
        places: list[Path],
        peer: tuple[str, int],
        random: Random,
        *,
        operations_per_s: float = 80.0,
        quiet_s: float = 0.0,
    ) -> None:
        """``peer`` seeds all torrents; ``places`` are the folders they are in, and move between.

        What is left after a round is measured when it was quiet for ``quiet_s``.
        """
        self.soaked = Soaked()
        self._manager, self._torrents, self._places = manager, torrents, places
        self._peer, self._random = peer, random
        self._pause_s = 2 * AT_ONCE / operations_per_s
        self._quiet_s = quiet_s
        self._operations: dict[str, Callable[[Session], Awaitable[None]]] = {
            "pause": Session.pause,
            "resume": Session.resume,
            "recheck": Session.recheck,
            "move": self._move,
            "remove": self._remove,
        }

    async def round(self, seconds: float) -> Rest:
        """Change torrents for a while, remove all, and measure what is left."""
        with anyio.move_on_after(seconds):
            async with anyio.create_task_group() as tasks:
                for _ in range(AT_ONCE):
                    tasks.start_soon(self._change_forever)
        await self._remove_all()
        await self._settle()
        rest = self._measure()
        self.soaked.rests.append(rest)
        return rest

    async def _change_forever(self) -> None:
        while True:
            with anyio.CancelScope(shield=True):  # an operation is finished, or hangs
                await self._change()
            await anyio.sleep(self._random.uniform(0, self._pause_s))

    async def _change(self) -> None:
        metainfo = self._random.choice(self._torrents)
        session = self._manager.get_session(metainfo.info_hash)
        name = "add" if session is None else self._random.choice([*self._operations, "resume"])
        try:
            with anyio.fail_after(PATIENCE_S):
                if session is None:
                    await self._add(metainfo)
                else:
                    await self._operations[name](session)
        except TimeoutError:
            self.soaked.logged.append(f"{name} hangs")
        except KeyError:
            self.soaked.refused[name] += 1  # another task removed it
        except TorrentEngineError as error:
            self.soaked.refused[f"{name}: {type(error).__name__}"] += 1
        else:
            self.soaked.done[name] += 1
        count = len(self._manager.sessions)
        self.soaked.most_torrents = max(self.soaked.most_torrents, count)

    async def _add(self, metainfo: Metainfo) -> None:
        place = self._random.choice(self._places)
        session = await self._manager.add_torrent(metainfo, save_path=place)
        await session.add_peer(*self._peer)

    async def _move(self, session: Session) -> None:
        await session.move_storage(self._random.choice(self._places))

    async def _remove(self, session: Session) -> None:
        self.soaked.completed += session.state is State.SEEDING
        delete = self._random.random() < 0.5
        await self._manager.remove_torrent(session.info_hash, delete_files=delete)

    async def _remove_all(self) -> None:
        for session in self._manager.sessions:
            self.soaked.completed += session.state is State.SEEDING
            try:
                with anyio.fail_after(PATIENCE_S):
                    await self._manager.remove_torrent(session.info_hash, delete_files=True)
            except TimeoutError:
                self.soaked.logged.append("the last removal hangs")
            except TorrentEngineError as error:
                self.soaked.logged.append(f"the last removal: {error!r}")

    async def _settle(self) -> None:
        """Wait until links have ended, and the number of tasks does not fall any more."""
        last, still = 1 << 30, 0
        while still < 10:
            await anyio.sleep(0.1)
            count = len(anyio.get_running_tasks())
            last, still = (count, 0) if count != last else (last, still + 1)
        await anyio.sleep(self._quiet_s)
        gc.collect()

    @staticmethod
    def _measure() -> Rest:
        return Rest(
            anyio.current_time(),
            rss_mib(),
            len(anyio.get_running_tasks()),
            threading.active_count(),
            len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - closed again when it returns
        )


def slope_mib_per_h(rests: list[Rest]) -> float:
    """Return how fast memory grows, by least squares."""
    if len(rests) < 2:
        return 0.0
    times, sizes = [each.time_s for each in rests], [each.rss_mib for each in rests]
    mean_s, mean_mib = sum(times) / len(times), sum(sizes) / len(sizes)
    pairs = zip(times, sizes, strict=True)
    above = sum((time - mean_s) * (size - mean_mib) for time, size in pairs)
    return above / sum((time - mean_s) ** 2 for time in times) * 3600
