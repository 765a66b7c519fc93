"""The coordinator with a fake client and a clock turned by hand."""

import logging
import random
import socket
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import anyio
import anyio.lowlevel
import pytest

from tests.support.sleeping_clock import SleepingClock, settle
from tests.support.swarm import content, reach, resources, until
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.base.config import TrackerConfig
from torrent_engine.base.errors import TrackerError, TrackerRefusedError, TrackerTimeoutError
from torrent_engine.base.ids import InfoHash, PeerAddress, PeerId
from torrent_engine.engine.discovery.peer_parts import PART_PEERS, deliver_in_parts
from torrent_engine.engine.discovery.tracker_coordinator import TrackerCoordinator
from torrent_engine.engine.events import TrackerFailed, TrackerSucceeded
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.net.http.client import slot_limits
from torrent_engine.net.sockets.fair_slots import FairSlots
from torrent_engine.net.tracker.client import open_tracker_client
from torrent_engine.net.tracker.embedded import EmbeddedTracker
from torrent_engine.protocol.tracker import schedule
from torrent_engine.protocol.tracker.announce import (
    AnnounceEvent,
    AnnounceResponse,
    AnnounceTotals,
    ScrapeCounts,
)
from torrent_engine.protocol.tracker.schedule import MAX_AT_ONCE

pytestmark = pytest.mark.anyio

E = AnnounceEvent
A, B, C = (f"http://{name}.example/announce" for name in "abc")
INFO_HASH = InfoHash(b"h" * 20)
PEERS = (PeerAddress("192.0.2.1", 1), PeerAddress("192.0.2.2", 2))
OK = AnnounceResponse(interval_s=1800.0, peers=PEERS, seeds=1, leeches=2)
CANARY = "canary0123456789passkey"


class FakeClient:
    """Answers from a table: a response, an error, or an event to wait for first."""

    def __init__(self, clock, **answers):
        self.clock = clock
        self.answers = dict(answers)
        self.asked: list[tuple[float, str, AnnounceEvent]] = []
        self.requests: list = []
        self.gate: anyio.Event | None = None

    async def announce(self, url, request, *, patience_s=None):
        self.asked.append((self.clock(), url, request.event))
        self.requests.append(request)
        if self.gate is not None:
            await self.gate.wait()
        answer = self.answers.get(url, OK)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def scrape(self, url, info_hashes):
        answer = self.answers.get(url, {INFO_HASH: ScrapeCounts(1, 2, 3)})
        if isinstance(answer, Exception):
            raise answer
        return answer


class World:
    def __init__(self, *tiers, is_private=False, answers=None, config=None, clock=None):
        self.clock = clock or SleepingClock(1000.0)
        self.client = FakeClient(self.clock, **(answers or {}))
        self.events: list = []
        self.peers: list = []
        self.own: list = []
        self.totals = AnnounceTotals(uploaded_bytes=1, downloaded_bytes=2, left_bytes=3)
        self.coordinator = TrackerCoordinator(
            metainfo_tiers=tiers,
            info_hash=INFO_HASH,
            peer_id=PeerId(b"p" * 20),
            is_private=is_private,
            config=config or TrackerConfig(stop_grace_s=0.1),
            client=self.client,
            totals=lambda: self.totals,
            listen_port=lambda: 6881,
            on_peers=self.peers.extend,
            on_external_ip=lambda *seen: self.own.append((*seen, len(self.peers))),
            publish=self.events.append,
            clock=self.clock,
            rng=random.Random(1),
            sleep=self.clock.sleep,
        )

    @asynccontextmanager
    async def running(self):
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.coordinator.run)
                await settle()
                yield self.coordinator
                tasks.cancel_scope.cancel()

    def asked(self):
        asked, self.client.asked = self.client.asked, []
        return [(now - 1000.0, url, event) for now, url, event in asked]


async def test_bep3_announces_started_and_then_every_interval():
    world = World([A])
    async with world.running():
        assert world.asked() == [(0.0, A, E.STARTED)]
        await world.clock.advance(1799)
        assert world.asked() == []
        await world.clock.advance(1801)
        assert world.asked() == [(1800.0, A, E.NONE), (3600.0, A, E.NONE)]


async def test_bep3_request_says_what_the_session_says():
    world = World([A])
    async with world.running():
        await world.clock.advance(0)
        first = world.client.requests[0]
        world.totals = AnnounceTotals(uploaded_bytes=7, downloaded_bytes=8, left_bytes=0)
        await world.clock.advance(1800)
    second = world.client.requests[1]
    assert (first.info_hash, first.peer_id, first.port) == (INFO_HASH, b"p" * 20, 6881)
    assert (first.totals.left_bytes, second.totals.left_bytes) == (3, 0)
    assert first.numwant == 50
    assert first.key == second.key != 0


def moved(client):
    found = [(r.event, r.totals.uploaded_bytes, r.totals.downloaded_bytes) for r in client.requests]
    client.requests.clear()
    return found


async def test_bep3_totals_count_from_when_the_torrent_began_to_announce():
    world = World([A])
    client = world.client
    for uploaded in (100, 300):
        async with world.running():
            world.totals = replace(
                world.totals, uploaded_bytes=uploaded, downloaded_bytes=2 * uploaded
            )
            await world.clock.advance(1800)
        world.totals = replace(world.totals, uploaded_bytes=uploaded + 1)
        await world.coordinator.stop()
        assert (
            moved(client)
            == {
                100: [(E.STARTED, 0, 0), (E.NONE, 99, 198), (E.STOPPED, 100, 198)],
                300: [(E.STARTED, 0, 0), (E.NONE, 199, 400), (E.STOPPED, 200, 400)],
            }[uploaded]
        )


@pytest.mark.parametrize("is_new_list", [True, False])
async def test_bep3_totals_count_from_when_a_tracker_was_added(is_new_list):
    world = World([A])
    client, coordinator = world.client, world.coordinator
    async with world.running():
        world.totals = replace(world.totals, uploaded_bytes=1001)
        client.requests.clear()
        if is_new_list:
            coordinator.set_tiers([[A], [B]])
        else:
            coordinator.add_tracker(B)
        await settle()
        world.totals = replace(world.totals, uploaded_bytes=1501)
        coordinator.remove_tracker(B)
        await settle()
        assert moved(client) == [(E.STARTED, 0, 0), (E.STOPPED, 500, 0)]
    await coordinator.stop()
    assert moved(client) == [(E.STOPPED, 1500, 0)]


async def test_peers_and_a_success_are_reported():
    world = World([A])
    async with world.running():
        assert world.peers == list(PEERS)
    assert world.events == [
        TrackerSucceeded(INFO_HASH, url=A, peers=2, seeds=1, leeches=2, interval_s=1800.0)
    ]


async def test_f11_many_peers_of_a_tracker_come_in_parts_with_other_tasks_between():
    many = tuple(PeerAddress(f"192.0.2.{n % 250}", 1 + n) for n in range(2 * PART_PEERS + 1))
    found, turns = [], []

    def deliver(part):
        found.extend(part)
        turns.append((len(part), other_turns))

    other_turns = 0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(deliver_in_parts, many, deliver)
        while len(found) < len(many):
            await anyio.lowlevel.checkpoint()
            other_turns += 1
    assert tuple(found) == many
    assert [count for count, _ in turns] == [PART_PEERS, PART_PEERS, 1]
    assert turns[-1][1] > turns[0][1]  # the order of tasks within a turn of trio is random


async def test_f11_the_parts_are_all_peers_of_the_answer():
    many = tuple(PeerAddress(f"192.0.2.{n % 250}", 1 + n) for n in range(2 * PART_PEERS + 1))
    world = World([A], answers={A: replace(OK, peers=many)})
    sizes = []
    world.coordinator._on_peers = lambda part: sizes.append(len(part))
    async with world.running():
        await until(lambda: sum(sizes) == len(many))
    assert max(sizes) == PART_PEERS


async def test_bep24_our_address_is_reported_before_the_peers_that_may_have_it():
    world = World([A], answers={A: replace(OK, external_ip="8.8.8.8")})
    async with world.running():
        assert world.own == [("8.8.8.8", A, 0)]
        assert world.peers == list(PEERS)


async def test_a_failure_is_reported_and_backed_off():
    world = World([A], answers={A: TrackerError("HTTP status 500")})
    async with world.running():
        await world.clock.advance(60)
    times = [when for when, _, _ in world.asked()]
    assert len(times) == 3
    assert 10 <= times[1] - times[0] <= 11
    assert 20 <= times[2] - times[1] <= 22
    assert all(isinstance(event, TrackerFailed) for event in world.events)
    assert world.events[0].message == "HTTP status 500"
    assert 10 <= world.events[0].retry_in_s <= 11


async def test_bep12_the_next_tracker_of_a_tier_stands_in():
    world = World([A], [B], is_private=True, answers={A: TrackerError("down")})
    async with world.running():
        await world.clock.advance(0)
        assert world.asked() == [(0.0, A, E.STARTED), (0.0, B, E.STARTED)]
        await world.clock.advance(1800)
        assert world.asked() == [(1800.0, A, E.STARTED), (1800.0, B, E.NONE)]


async def test_bep27_private_torrents_ask_one_tracker_public_ones_one_of_each_tier():
    for is_private, expected in ((True, {A}), (False, {A, B, C})):
        world = World([A], [B], [C], is_private=is_private)
        async with world.running():
            await world.clock.advance(0)
        assert {url for _, url, _ in world.asked()} == expected


async def test_bep27_private_torrents_have_one_announce_in_flight():
    world = World([A], [B], is_private=True)
    world.client.gate = anyio.Event()
    async with world.running() as coordinator:
        coordinator.want_peers()
        coordinator.completed()
        await world.clock.advance(100)
        assert world.asked() == [(0.0, A, E.STARTED)]
        world.client.gate.set()
        await world.clock.advance(0)
        assert world.asked() == [(100.0, A, E.COMPLETED)]
    assert [event.elapsed_s for event in world.events] == [100.0, 0.0]


async def test_bep3_completed_is_announced_at_once():
    world = World([A])
    async with world.running() as coordinator:
        await world.clock.advance(10)
        coordinator.completed()
        await world.clock.advance(0)
        assert world.asked() == [(0.0, A, E.STARTED), (10.0, A, E.COMPLETED)]


async def test_a_tracker_that_is_removed_hears_stopped_and_no_more():
    world = World([A], [B])
    async with world.running() as coordinator:
        await world.clock.advance(10)
        world.asked()
        assert coordinator.remove_tracker(A)
        assert not coordinator.remove_tracker(A)
        await world.clock.advance(2_000)
        assert world.asked() == [(10.0, A, E.STOPPED), (1800.0, B, E.NONE)]
        assert [status.url for status in coordinator.status().values()] == [B]
        assert coordinator.remove_tracker(B)
    await coordinator.stop()
    assert [(url, event) for _, url, event in world.asked()] == [(B, E.STOPPED)]


async def test_a_tracker_that_is_removed_while_it_is_asked_hears_stopped_after_that():
    world = World([A])
    world.client.gate = anyio.Event()
    async with world.running() as coordinator:
        coordinator.remove_tracker(A)
        await world.clock.advance(10)
        assert world.asked() == [(0.0, A, E.STARTED)]
        world.client.gate.set()
        await world.clock.advance(0)
        assert world.asked() == [(10.0, A, E.STOPPED)]


async def test_wanting_peers_announces_after_the_minimum_interval():
    world = World([A])
    async with world.running() as coordinator:
        await world.clock.advance(10)
        coordinator.want_peers()
        coordinator.want_peers()
        await world.clock.advance(100)
        assert world.asked() == [(0.0, A, E.STARTED), (60.0, A, E.NONE)]


async def test_adding_a_tracker_announces_to_it_at_once():
    world = World()
    async with world.running() as coordinator:
        await world.clock.advance(5)
        assert coordinator.add_tracker(B)
        assert not coordinator.add_tracker(B)
        with pytest.raises(TrackerError):
            coordinator.add_tracker("wss://t.example")
        await world.clock.advance(0)
        assert world.asked() == [(5.0, B, E.STARTED)]


async def test_stopped_is_sent_to_those_that_count_us():
    answers = {A: AnnounceResponse(60.0, (), tracker_id=b"T"), B: TrackerError("down")}
    world = World([A], [B], answers=answers)
    async with world.running():
        pass
    world.asked()
    await world.coordinator.stop()
    assert world.asked() == [(0.0, A, E.STOPPED)]
    last = world.client.requests[-1]
    assert (last.numwant, last.tracker_id) == (0, b"T")
    await world.coordinator.stop()
    assert world.asked() == []


async def test_stopped_goes_to_a_tracker_whose_answer_was_awaited():
    world = World([A])
    world.client.gate = anyio.Event()
    async with world.running():
        pass
    world.client.gate = None
    world.asked()
    await world.coordinator.stop()
    assert world.asked() == [(0.0, A, E.STOPPED)]


async def test_d3_stop_ends_in_its_grace_even_if_no_tracker_answers():
    world = World([A], [B], config=TrackerConfig(stop_grace_s=0.05))
    async with world.running():
        pass
    world.client.gate = anyio.Event()
    with anyio.fail_after(60):
        await world.coordinator.stop()
    assert {event for _, _, event in world.asked()} == {E.STARTED, E.STOPPED}


async def test_stop_works_in_a_cancelled_scope():
    world = World([A])
    async with world.running():
        pass
    world.asked()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await world.coordinator.stop()
    assert world.asked() == [(0.0, A, E.STOPPED)]


async def test_a_failing_stopped_is_reported_and_no_error():
    world = World([A])
    async with world.running():
        pass
    world.client.answers[A] = TrackerError("down")
    await world.coordinator.stop()
    assert isinstance(world.events[-1], TrackerFailed)


async def test_it_may_run_again_after_stop():
    world = World([A])
    for _ in range(2):
        async with world.running():
            pass
        await world.coordinator.stop()
    assert [event for _, _, event in world.asked()] == [E.STARTED, E.STOPPED] * 2


async def test_status_tells_of_every_tracker():
    answers = {
        B: TrackerRefusedError("banned", retry_in_s=float("inf")),
        C: TrackerError("down"),
    }
    world = World([A], [B], [C], ["wss://d.example"], answers=answers)
    waiting = world.coordinator.status().values()
    assert [status.state for status in waiting] == ["waiting"] * 3 + ["disabled"]
    async with world.running():
        a, b, c, d = world.coordinator.status().values()
    assert (a.state, a.peers, a.seeds, a.leeches) == ("working", 2, 1, 2)
    assert a.next_announce_in_s == 1800.0
    assert (b.state, b.message, b.next_announce_in_s) == ("disabled", "refused: banned", None)
    assert (c.state, c.failures, c.tier) == ("failed", 1, 2)
    assert (d.state, d.tier) == ("disabled", -1)
    assert "not supported" in d.message


async def test_status_says_who_is_asked_now():
    world = World([A, B])
    world.client.gate = anyio.Event()
    async with world.running() as coordinator:
        assert sorted(status.state for status in coordinator.status().values()) == [
            "announcing",
            "waiting",
        ]


async def test_bep48_scrape_asks_all_trackers_of_a_public_torrent():
    world = World([A], [B], [C], answers={A: TrackerError("down"), B: {}})
    results = await world.coordinator.scrape()
    assert [(result.url, result.error) for result in results] == [
        (A, "down"),
        (B, "the tracker does not know this torrent"),
        (C, ""),
    ]
    assert results[2].counts == ScrapeCounts(1, 2, 3)


async def test_bep27_scrape_of_a_private_torrent_ends_with_the_first_answer():
    world = World([A], [B], is_private=True)
    assert [result.url for result in await world.coordinator.scrape()] == [A]


async def test_d4_no_event_status_or_log_has_a_passkey(caplog):
    caplog.set_level(logging.DEBUG)
    good = f"http://a.example/{CANARY}/announce"
    bad = f"https://me:{CANARY}@b.example/announce?k={CANARY}"
    refusal = TrackerRefusedError(f"unknown key {CANARY}")
    warned = AnnounceResponse(1800.0, (), warning=f"{CANARY} expires soon")
    world = World(
        [good], [bad], [f"wss://c.example/{CANARY}"], answers={bad: refusal, good: warned}
    )
    async with world.running() as coordinator:
        status = coordinator.status().values()
        world.client.answers = {good: TrackerError(f"no {CANARY}"), bad: TrackerError(CANARY)}
        scrape = await coordinator.scrape()
    await world.coordinator.stop()
    shown = f"{world.events} {status} {scrape} {caplog.text}"
    assert len(world.events) == 3
    assert "a.example" in shown
    assert CANARY not in shown


class SilentClient(FakeClient):
    """Nobody answers but one."""

    def __init__(self, clock, living):
        super().__init__(clock)
        self.living = living
        self.under_way = self.most = 0

    async def announce(self, url, request, *, patience_s=None):
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            if url != self.living:
                await self.clock.sleep(30.0 if patience_s is None else patience_s)
                raise TrackerTimeoutError("no response")
            return await super().announce(url, request)
        finally:
            self.under_way -= 1


async def test_bep12_a_hundred_silent_trackers_are_given_up_in_favour_of_the_one_that_lives():
    urls = [f"udp://{number}.example:1" for number in range(100)]
    world = World(urls)
    world.coordinator._client = world.client = SilentClient(world.clock, urls[17])
    async with world.running():
        await world.clock.advance(30)
        assert world.peers == list(PEERS)
        assert [url for _, url, _ in world.asked()] == [urls[17]]
        await world.clock.advance(60)
        assert world.client.under_way == 0
    assert 1 < world.client.most <= MAX_AT_ONCE


class SlotClient(SilentClient):
    """Has a limited number of slots for all torrents, as the real one."""

    def __init__(self, clock, living, slots):
        super().__init__(clock, living)
        self.slots = slots

    async def announce(self, url, request, *, patience_s=None):
        async with self.slots.turn(self):
            return await super().announce(url, request, patience_s=patience_s)


async def test_bep12_many_torrents_with_dead_trackers_all_find_the_one_that_lives():
    clock, slots, worlds = SleepingClock(1000.0), FairSlots(slot_limits(TrackerConfig())), []
    async with anyio.create_task_group() as tasks:
        for torrent in range(12):
            urls = [f"http://{torrent}x{number}.example/announce" for number in range(100)]
            world = World(urls, clock=clock)
            world.coordinator._client = SlotClient(clock, urls[torrent], slots)
            worlds.append(world)
            tasks.start_soon(world.coordinator.run)
        await settle()
        for _ in range(120):
            await clock.advance(1)
        tasks.cancel_scope.cancel()
    assert [bool(world.peers) for world in worlds] == [True] * 12


async def test_bep12_a_real_tracker_is_found_behind_silent_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(schedule, "FIRST_PATIENCE_S", 0.2)
    metainfo, payload = make_torrent(payload_of(50_000))
    silent = socket.create_server(("127.0.0.1", 0), backlog=1_000)
    dead = [f"http://127.0.0.1:{silent.getsockname()[1]}/announce/{n}" for n in range(99)]
    async with (
        EmbeddedTracker("127.0.0.1") as tracker,
        resources(tmp_path / "seed") as one,
        resources(tmp_path / "leech") as other,
    ):
        living = tracker.announce_url
        write_files(metainfo, payload, tmp_path / "seed" / "files")
        first = await Session.create(metainfo, one, save_path=tmp_path / "seed" / "files")
        leech = await Session.create(metainfo, other, save_path=tmp_path / "leech" / "files")
        async with first, leech:
            await reach(first, State.SEEDING)
            first.add_tracker(living)
            await until(lambda: tracker.stats().peers == 1)
            for url in (*dead, living):
                leech.add_tracker(url, 0)
            await reach(leech, State.SEEDING)
        assert tracker.stats().http_announces
    assert content(metainfo, tmp_path / "leech" / "files") == payload
    silent.close()


@pytest.mark.parametrize("scheme", ["http", "udp"])
async def test_bep15_two_coordinators_find_each_other_through_a_real_tracker(scheme):
    found: dict[int, list[PeerAddress]] = {1: [], 2: []}
    config = TrackerConfig()
    async with (
        EmbeddedTracker("127.0.0.1") as tracker,
        open_tracker_client(config) as client,
        anyio.create_task_group() as tasks,
    ):
        url = tracker.announce_url if scheme == "http" else tracker.udp_url
        both = [
            TrackerCoordinator(
                metainfo_tiers=[[url]],
                info_hash=INFO_HASH,
                peer_id=PeerId(bytes([number]) * 20),
                is_private=False,
                config=config,
                client=client,
                totals=lambda: AnnounceTotals(0, 0, 1),
                listen_port=partial(int, 7000 + number),
                on_peers=found[number].extend,
                publish=lambda _event: answered.set(),
                clock=anyio.current_time,
                rng=random.Random(number),
            )
            for number in (1, 2)
        ]
        with anyio.fail_after(30):
            for coordinator in both:
                answered = anyio.Event()
                tasks.start_soon(coordinator.run)
                await answered.wait()
            assert tracker.stats().peers == 2
            tasks.cancel_scope.cancel()
            for coordinator in both:
                await coordinator.stop()
            assert tracker.stats().peers == 0
    assert found[2] == [PeerAddress("127.0.0.1", 7001)]
