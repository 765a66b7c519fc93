"""Event streams that are cut anywhere, hundreds of times, while everything changes."""

import threading
from pathlib import Path
from random import Random
from typing import Any

import httpx2

from tests.daemon.stories.events import EventStream, Mirror, SentEvent
from tests.support.own_daemon import OwnDaemon
from tests.support.processes import wait_until
from tests.support.slow_http import TIMEOUT_S

CUTS = 240
MOST_READ_BYTES = (6_000, 90_000)
"""A part of what is told at first, or all of it."""


class Changes:
    """Adds, changes and removes torrents without end, in a thread."""

    def __init__(self, daemon: OwnDaemon, seed: int) -> None:
        self._generator = Random(seed)
        self._client = httpx2.Client(
            base_url=daemon.url(""),
            headers={"Authorization": f"Bearer {daemon.token}"},
            timeout=TIMEOUT_S,
        )
        self._there: list[str] = []
        self._next = seed * 1_000
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._over.is_set():
            self.step()

    def step(self) -> None:
        """Make one change."""
        verb = self._generator.choice(("add", "add", "label", "label", "clear", "remove"))
        if verb == "add" or not self._there:
            self._add()
        elif verb == "label":
            body = {"labels": [f"l{self._generator.randrange(9)}"]}
            self._ask("PATCH", f"/api/v1/torrents/{self._any()}", body)
        elif verb == "clear":
            self._ask("DELETE", "/api/v1/jobs")
        else:
            self._ask("DELETE", f"/api/v1/torrents/{self._any(take=True)}")

    def _add(self) -> None:
        if len(self._there) > 30:
            self._ask("DELETE", f"/api/v1/torrents/{self._any(take=True)}")
        self._next += 1
        info_hash = f"{self._next:040x}"
        self._ask("POST", "/api/v1/torrents", {"source": f"magnet:?xt=urn:btih:{info_hash}"})
        self._there.append(info_hash)

    def _any(self, *, take: bool = False) -> str:
        index = self._generator.randrange(len(self._there))
        return self._there.pop(index) if take else self._there[index]

    def _ask(self, method: str, path: str, body: object = None) -> None:
        answer = self._client.request(method, path, json=body)
        assert answer.status_code < 400, answer.text

    def __enter__(self) -> "Changes":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._client.close()


class Client:
    """Follows the stream with connections that are cut, and looks for repetitions."""

    def __init__(self, daemon: OwnDaemon, generator: Random) -> None:
        self._daemon = daemon
        self._generator = generator
        self.mirror = Mirror()

    def connect_and_be_cut(self) -> None:
        """Read some bytes, up to the first whole delta or somewhat more, and go away."""
        limit = self._generator.randrange(self._generator.choice(MOST_READ_BYTES))
        wanted = self._generator.choice((1, 1, 1, 2))
        with EventStream(self._daemon, self.mirror.revision) as stream:
            unconfirmed: list[SentEvent] = []
            while wanted and (event := stream.next(limit)) is not None:
                unconfirmed.append(event)
                if event.id is not None:
                    wanted -= 1
                    self._take(unconfirmed)
                    unconfirmed = []
            for event in unconfirmed:
                self.mirror.take(event)  # a client shows what it has, though it will come again

    def _take(self, events: list[SentEvent]) -> None:
        for event in events:
            self.mirror.take(event)

    def catch_up(self) -> None:
        """Read until all is here that there is."""
        newest = self._daemon.ask("GET", "/api/v1/sync?torrents=none&jobs=0")["rev"]
        with EventStream(self._daemon, self.mirror.revision) as stream:
            while True:
                event = stream.next()
                assert event is not None
                self.mirror.take(event)
                if event.name == "sync" and _at_least(event, newest):
                    return


def _at_least(event: SentEvent, revision: str) -> bool:
    assert event.id is not None
    return int(event.id.partition(".")[2]) >= int(revision.partition(".")[2])


def state_of(daemon: OwnDaemon) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return torrents and jobs as they are told whole."""
    told = daemon.ask("GET", "/api/v1/sync?limit=10000")
    return told["torrents"], {job["id"]: job for job in told["jobs"]}


def has_places(daemon: OwnDaemon) -> bool:
    """Return whether each torrent has its place in the queue, which a later tick brings."""
    torrents, _ = state_of(daemon)
    places = sorted(each["queue_position"] for each in torrents.values())
    return places == list(range(len(places)))


def check_same(daemon: OwnDaemon, client: Client) -> None:
    """Nothing changes any more: the client has what the daemon has, and is told nothing twice."""
    wait_until(lambda: has_places(daemon), timeout_s=60, what="all places are told")
    client.catch_up()
    torrents, jobs = state_of(daemon)
    while daemon.ask("GET", "/api/v1/sync?torrents=none&jobs=0")["rev"] != client.mirror.revision:
        client.catch_up()
        torrents, jobs = state_of(daemon)
    assert client.mirror.torrents == torrents
    assert client.mirror.jobs == jobs
    with EventStream(daemon, client.mirror.revision) as stream:
        event = stream.next()
        while event is not None and event.name == "job":  # one that ended a moment ago
            assert event.data != client.mirror.jobs.get(event.data["id"])
            client.mirror.take(event)
            event = stream.next()
        assert event is not None
        assert event.name == "sync"
        told = {name: event.data[name] for name in ("full", "torrents", "removed")}
        assert told == {"full": False, "torrents": {}, "removed": []}


def test_stream_that_is_cut_anywhere_goes_on_without_loss_or_repetition(tmp_path: Path) -> None:
    with OwnDaemon(tmp_path) as daemon:
        client = Client(daemon, Random(14))
        for number in (1, 2):  # again after the daemon was killed
            with Changes(daemon, number):
                for _ in range(CUTS // 2):
                    client.connect_and_be_cut()
            check_same(daemon, client)
            assert (client.mirror.resets > 0) is (number == 2)
            assert client.mirror.torrents
            if number == 1:
                daemon.kill()
                daemon.start()
