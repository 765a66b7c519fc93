"""Output of ``run``: its start, events of torrents, and their overview."""

import time
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from torrent_engine.cli.output import records
from torrent_engine.cli.output.notices import notice_of
from torrent_engine.cli.output.overview import OverviewEntry, entry_of, total_line, totals_of
from torrent_engine.cli.output.render import OUTPUT_WAIT_S, Reporter
from torrent_engine.cli.output.text import safe
from torrent_engine.cli.output.tracker_notices import TrackerNotices
from torrent_engine.engine.events import Event, TorrentAdded, TrackerFailed, TrackerSucceeded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

    from torrent_engine.engine.manager.torrent_manager import TorrentManager
    from torrent_engine.engine.session.session import Session

FIRST_LOG_S: Final = 5.0  # by then what was restored does what it did before
LOG_INTERVAL_S: Final = 60.0  # between two lines of a log that sum all up
DRAW_S: Final = 2e-4  # ours, for each torrent: to draw 10,000 takes 2 % of a core then
MIN_DRAW_S: Final = 0.5
MAX_EVENTS: Final = 10_000  # that wait to be printed; more are counted only


class RunDisplay:
    """Prints the torrents of a manager while :meth:`run` runs."""

    def __init__(self, manager: "TorrentManager", reporter: Reporter) -> None:
        self._manager = manager
        self._reporter = reporter
        self._lost_events = 0
        self._trackers = TrackerNotices()

    async def run(self) -> None:
        """Print events and the overview; raises OutputError if the output fails."""
        send, receive = anyio.create_memory_object_stream[Event](MAX_EVENTS)
        subscription = self._manager.events.subscribe("*", partial(self._queue_event, send))
        with send, receive:
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._print_events, receive)
                    tasks.start_soon(self._draw if self._reporter.draws else self._log)
            finally:
                subscription.cancel()

    def print_start(self, watched: "Sequence[Path]") -> None:
        """Print the number of restored torrents, the state folder and the watched folders."""
        shared, count = self._manager.shared, len(self._manager.sessions)
        restored = f"{count:,} torrent{'s' * (count != 1)} restored" if count else "no torrents yet"
        place = f"state in {safe(str(shared.state_dir))}; port {shared.listen_port}"
        self._reporter.note(f"{restored}; {place}")
        for folder in watched:
            self._reporter.note(f"watching {safe(str(folder))}")
        facts = {"restored": count, "state_dir": str(shared.state_dir)}
        facts |= {"listen_port": shared.listen_port, "watched": [str(each) for each in watched]}
        self._reporter.record({"type": "run.started", **facts})

    def _entries(self) -> list[OverviewEntry]:
        return [entry_of(session, session.name) for session in self._manager.sessions]

    def _queue_event(self, waiting: "MemoryObjectSendStream[Event]", event: Event) -> None:
        """Queue an event for printing; publishers do not wait for the terminal.

        What was added is printed by whoever adds it, with where it came from.
        """
        if isinstance(event, TorrentAdded):
            return
        try:
            waiting.send_nowait(event)
        except anyio.WouldBlock:
            self._lost_events += 1

    async def _print_events(self, waiting: "MemoryObjectReceiveStream[Event]") -> None:
        async for event in waiting:
            while not self._reporter.is_ready:  # noqa: ASYNC110 - a pipe tells nobody
                await anyio.sleep(OUTPUT_WAIT_S)
            if self._reporter.wants_events:
                self._record(event)
                continue
            session = self._manager.get_session(event.info_hash)
            if session is not None and (text := self._text_of(event, session)):
                self._reporter.note(text, about=safe(session.name))

    def _text_of(self, event: Event, session: "Session") -> str | None:
        """Return the line for an event; None if it is not printed."""
        if not isinstance(event, TrackerFailed | TrackerSucceeded):
            return notice_of(event, session)
        return self._trackers.notice(event, session.trackers())

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
        """Print the totals periodically, if they changed."""
        before = total_line(totals_of(()))
        pause_s = FIRST_LOG_S
        while True:
            await anyio.sleep(pause_s)
            pause_s = LOG_INTERVAL_S
            if (line := total_line(totals_of(self._entries()))) != before:
                self._reporter.note(line)
                before = line
