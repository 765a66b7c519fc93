"""A client of the event stream, which can be cut anywhere, and what it knows of the daemon."""

import http.client
import json
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlencode

from tests.support.own_daemon import OwnDaemon

READ_LIMIT_S = 180.0


@dataclass(frozen=True)
class SentEvent:
    """One whole event."""

    name: str
    data: Any
    id: str | None


@dataclass
class Mirror:
    """What a client has after the events that it took whole."""

    torrents: dict[str, dict[str, Any]] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    revision: str | None = None
    resets: int = 0

    def take(self, event: SentEvent) -> None:
        """Apply one event."""
        if event.name == "reset":
            self.torrents, self.jobs = {}, {}
            self.resets += 1
        elif event.name == "job":
            self.jobs[event.data["id"]] = event.data
        elif event.name == "jobs_removed":
            for job_id in event.data:
                self.jobs.pop(job_id, None)
        elif event.name == "sync":
            self._take_sync(event.data)
        if event.id is not None:
            self.revision = event.id

    def _take_sync(self, data: dict[str, Any]) -> None:
        if data["full"]:
            self.torrents = {}
        for torrent, changes in data["torrents"].items():
            self.torrents.setdefault(torrent, {}).update(changes)
        for torrent in data["removed"]:
            self.torrents.pop(torrent, None)


class EventStream:
    """One connection to ``/api/v1/events``; leaving it cuts the connection."""

    def __init__(self, daemon: OwnDaemon, since: str | None = None, **query: Any) -> None:
        self._connection = http.client.HTTPConnection(
            "127.0.0.1", daemon.port, timeout=READ_LIMIT_S
        )
        headers = {"Authorization": f"Bearer {daemon.token}"}
        if since is not None:
            headers["Last-Event-ID"] = since
        query = {"types": "torrents,jobs", "interval": 0.5} | query
        self._connection.request("GET", f"/api/v1/events?{urlencode(query)}", headers=headers)
        self._answer = self._connection.getresponse()
        assert self._answer.status == 200, self._answer.read()
        self._buffer = b""
        self.read_bytes = 0

    def next(self, limit_bytes: int | None = None) -> SentEvent | None:
        """Return the next event; None at the end of the stream, or of ``limit_bytes`` in all."""
        while b"\n\n" not in self._buffer:
            room = 65_536 if limit_bytes is None else limit_bytes - self.read_bytes
            try:
                data = self._answer.read1(room) if room > 0 else b""
            except (OSError, http.client.HTTPException):
                data = b""  # the daemon is gone
            if not data:
                return None
            self._buffer += data
            self.read_bytes += len(data)
        block, _, self._buffer = self._buffer.partition(b"\n\n")
        return _parsed(block) or self.next(limit_bytes)

    def until(self, name: str, **fields: Any) -> SentEvent:
        """Return the next event of a name whose data has some values."""
        while (event := self.next()) is not None:
            if event.name == name and fields.items() <= event.data.items():
                return event
        raise AssertionError(f"the stream ended before {name} {fields}")

    def follow(self, mirror: Mirror, revision: str) -> None:
        """Take events until a client has at least a revision of the same epoch."""
        while _number(mirror.revision) < _number(revision):
            event = self.next()
            assert event is not None, "the stream ended"
            mirror.take(event)

    def close(self) -> None:
        self._connection.close()
        self._answer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _parsed(block: bytes) -> SentEvent | None:
    """Return an event; None for a comment or a field alone."""
    fields = dict(line.partition(b": ")[::2] for line in block.split(b"\n"))
    if b"event" not in fields:
        return None
    sent_id = fields.get(b"id")
    return SentEvent(
        fields[b"event"].decode(),
        json.loads(fields[b"data"]),
        None if sent_id is None else sent_id.decode(),
    )


def _number(revision: str | None) -> int:
    return -1 if revision is None else int(revision.partition(".")[2])
