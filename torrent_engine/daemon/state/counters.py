"""What is counted since the start of the process, whatever engine is open; for metrics."""

from collections import Counter, defaultdict

from torrent_engine.daemon.engine_port.durations import Durations
from torrent_engine.daemon.engine_port.facts import Moment, MomentNotice, Notice, RemovedNotice


class ServiceCounters:
    """Counts requests, streams, hooks and watched files; who does the work says so."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()
        """Answers by interface and class, such as "2xx"."""
        self.request_times: defaultdict[str, Durations] = defaultdict(Durations)
        """Until the answer began, by interface."""
        self.hooks: Counter[tuple[str, str]] = Counter()
        """Runs by event and result, "done" or "failed"."""
        self.hook_times: defaultdict[str, Durations] = defaultdict(Durations)
        self.watched_files: Counter[str] = Counter(added=0, failed=0)
        """By result, "added" or "failed"."""
        self.event_streams: Counter[str] = Counter()
        """That are open now, by the address of the client."""
        self.stream_readers = 0
        """Of players, that are open now."""
        self.stream_bytes = 0
        self.engine_starts = 0
        self.torrents_removed = 0
        self.torrents_completed = 0

    def note_request(self, interface: str, status: int, seconds: float) -> None:
        """Count an answer whose first bytes took so long."""
        self.requests[interface, f"{status // 100}xx"] += 1
        self.request_times[interface].note(seconds)

    def note_hook(self, event: str, seconds: float, *, has_failed: bool) -> None:
        """Count the run of a hook."""
        self.hooks[event, "failed" if has_failed else "done"] += 1
        self.hook_times[event].note(seconds)

    def note_watched(self, *, has_failed: bool) -> None:
        """Count a file of a watched folder."""
        self.watched_files["failed" if has_failed else "added"] += 1

    def take(self, notice: Notice) -> None:
        """Count what the engine reports."""
        match notice:
            case RemovedNotice():
                self.torrents_removed += 1
            case MomentNotice(moment=Moment.COMPLETED):
                self.torrents_completed += 1
            case _:
                return
