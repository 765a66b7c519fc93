"""Owns what a run in the foreground tells: how it began, what happens, how all torrents are."""

import time
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from torrent_engine.cli import records
from torrent_engine.cli.overview import Entry, entry_of, total_line, totals_of
from torrent_engine.cli.render import OUTPUT_WAIT_S, Reporter, safe
from torrent_engine.cli.tellings import telling
from torrent_engine.engine.events import Event

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

    from torrent_engine.engine.torrent_manager import TorrentManager

FIRST_LOG_S: Final = 5.0  # by then what was restored does what it did before
LOG_INTERVAL_S: Final = 60.0  # between two lines of a log that sum all up
DRAW_S: Final = 2e-4  # ours, for each torrent: to draw 10,000 takes 2 % of a core then
MIN_DRAW_S: Final = 0.5
MAX_EVENTS: Final = 10_000  # that wait to be printed; more are counted only


class RunDisplay:
    """Tells of a manager's torrents for as long as :meth:`run` runs."""

    def __init__(self, manager: "TorrentManager", reporter: Reporter) -> None:
        self._manager = manager
        self._reporter = reporter
        self._lost_events = 0

    async def run(self) -> None:
        """Tell what happens; raises OutputError when nobody can be told any more."""
        send, receive = anyio.create_memory_object_stream[Event](MAX_EVENTS)
        subscription = self._manager.subscribe_all("*", partial(self._heard, send))
        with send, receive:
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._tell_events, receive)
                    tasks.start_soon(self._draw if self._reporter.draws else self._log)
            finally:
                subscription.cancel()

    def tell_start(self, watched: "Sequence[Path]") -> None:
        """Say how many torrents were restored, from where, and what is watched."""
        shared, count = self._manager.shared, len(self._manager.sessions)
        restored = f"{count:,} torrent{'s' * (count != 1)} restored" if count else "no torrents yet"
        place = f"state in {safe(str(shared.state_dir))}; port {shared.listen_port}"
        self._reporter.note(f"{restored}; {place}")
        for folder in watched:
            self._reporter.note(f"watching {safe(str(folder))}")
        facts = {"restored": count, "state_dir": str(shared.state_dir)}
        facts |= {"listen_port": shared.listen_port, "watched": [str(each) for each in watched]}
        self._reporter.record({"type": "run.started", **facts})

    def _entries(self) -> list[Entry]:
        return [entry_of(session, session.name) for session in self._manager.sessions]

    def _heard(self, waiting: "MemoryObjectSendStream[Event]", event: Event) -> None:
        """Keep an event until it is printed: who publishes it does not wait for a terminal."""
        try:
            waiting.send_nowait(event)
        except anyio.WouldBlock:
            self._lost_events += 1

    async def _tell_events(self, waiting: "MemoryObjectReceiveStream[Event]") -> None:
        async for event in waiting:
            while not self._reporter.is_ready:  # noqa: ASYNC110 - a pipe tells nobody
                await anyio.sleep(OUTPUT_WAIT_S)
            if self._reporter.wants_events:
                self._record(event)
                continue
            session = self._manager.get_session(event.info_hash)
            if session is not None and (text := telling(event, session)):
                self._reporter.note(text)

    def _record(self, event: Event) -> None:
        self._reporter.record(records.event_record(event, time_s=time.time()))
        if self._lost_events:
            lost, self._lost_events = self._lost_events, 0
            self._reporter.record({"type": "events.dropped", "dropped": lost})

    async def _draw(self) -> None:
        while True:
            if self._reporter.is_ready:
                self._reporter.show_overview(self._entries())
            await anyio.sleep(max(MIN_DRAW_S, len(self._manager.sessions) * DRAW_S))

    async def _log(self) -> None:
        """Sum all up now and then, if it changed."""
        before = total_line(totals_of(()))
        pause_s = FIRST_LOG_S
        while True:
            await anyio.sleep(pause_s)
            pause_s = LOG_INTERVAL_S
            if (line := total_line(totals_of(self._entries()))) != before:
                self._reporter.note(line)
                before = line
