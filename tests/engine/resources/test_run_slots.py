"""Row F9: torrents wait for descriptors, none of them fails for want of them."""

import errno
import os
import subprocess
import sys
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import anyio
import pytest

from tests.support.crash import ROOT
from tests.support.swarm import (
    PATIENCE_S,
    address_of,
    content,
    download,
    reach,
    resources,
    shared_config,
    until,
)
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.disk.safe_open import Folder
from torrent_engine.engine.resources.connection_slots import ConnectionSlots
from torrent_engine.engine.resources.run_slots import RunSlots
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.runs.idle import UNREAD_S, IdleTimer
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.engine.swarm.context import Totals
from torrent_engine.policy.limits.descriptors import runs_within

if TYPE_CHECKING:
    from torrent_engine.engine.runs.parts import RunParts, RunSettings

pytestmark = pytest.mark.anyio
TIGHT = 64
LIMITED = """
import resource, runpy, sys
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
runpy.run_module("torrent_engine", run_name="__main__", alter_sys=True)
"""


def handshake(info_hash: bytes) -> bytes:
    """Return a handshake without extensions."""
    return b"\x13BitTorrent protocol" + bytes(8) + info_hash + b"-XX0000-" + bytes(12)


async def test_slots_are_granted_in_order_and_links_get_what_is_left() -> None:
    links = ConnectionSlots(100)
    slots, most = RunSlots(TIGHT, links), runs_within(TIGHT)
    for number in range(most):
        await slots.take(number)
    assert slots.used == most
    limits = [links.limit]
    order: list[str] = []

    async def wait(name: str) -> None:
        await slots.take(name)
        order.append(name)

    async with anyio.create_task_group() as tasks:
        for name in ("first", "second"):
            tasks.start_soon(wait, name)
            await anyio.wait_all_tasks_blocked()
        assert not order
        for number in range(2):
            slots.give_back(number)
            await anyio.wait_all_tasks_blocked()
    assert order == ["first", "second"]
    for holder in (*range(most), "first", "second"):
        slots.give_back(holder)
        limits.append(links.limit)
    assert limits == sorted(limits)
    assert limits[0] < limits[-1] == 24
    assert slots.used == 0


class Link:
    """Notes that it is ended."""

    reason = ""

    def end(self, reason: str) -> None:
        """End soon."""
        self.reason = reason


async def test_runs_close_the_links_they_need_the_room_of_and_give_it_back() -> None:
    links = ConnectionSlots(100)
    slots = RunSlots(TIGHT, links)
    await slots.take("first")
    here = [Link() for _ in range(links.limit)]
    share = links.share(lambda: next((each for each in here if not each.reason), None))
    for _ in here:
        share.take()
    woken: list[str] = []
    share.end_turn(lambda: woken.append("woken"))
    await slots.take("second")
    ended = sum(bool(each.reason) for each in here)
    assert ended == len(here) - links.limit > 0
    assert links.used == links.limit
    for _ in range(ended):
        share.give_back()  # ended, which frees nothing
    assert not woken
    slots.give_back("second")
    assert woken == ["woken"]


async def test_who_stops_waiting_takes_no_slot() -> None:
    slots, most = RunSlots(TIGHT, ConnectionSlots(100)), runs_within(TIGHT)
    for number in range(most):
        await slots.take(number)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(slots.take, "gone")
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    slots.give_back(0)
    with anyio.fail_after(PATIENCE_S):
        await slots.take("next")
    assert slots.used == most


async def test_as_many_holders_leave_as_others_wait() -> None:
    slots, most = RunSlots(TIGHT, ConnectionSlots(100)), runs_within(TIGHT)
    for number in range(most):
        await slots.take(number)
    assert not slots.may_leave(0)
    seen: list[str] = []

    async def see() -> None:
        await slots.until_wanted()
        seen.append("wanted")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(see)
        await anyio.wait_all_tasks_blocked()
        assert not seen
        tasks.start_soon(slots.take, "next")
        await anyio.wait_all_tasks_blocked()
        assert seen == ["wanted"]
        assert slots.may_leave(0)
        assert slots.may_leave(0)
        assert not slots.may_leave(1)
        slots.give_back(0)
    assert not slots.may_leave(1)
    assert slots.used == most


class FakeRun:
    """A run, as far as its idleness looks at it."""

    def __init__(self, **parts: object) -> None:
        vars(self).update(parts)


def idle_seed(
    slots: RunSlots, *, is_copying: bool = False, **changes: Any
) -> tuple[IdleTimer, SimpleNamespace]:
    """Return a seed with one peer that takes nothing, and its settings."""
    settings = SimpleNamespace(
        rests=None,
        machine=SimpleNamespace(state=State.SEEDING),
        totals=Totals(),
        disk_full=SimpleNamespace(error=None),
        is_needed=lambda: False,
    )
    run = FakeRun(
        torrent=SimpleNamespace(peers={"somebody"}),
        check=SimpleNamespace(is_needed=False),
        progress=SimpleNamespace(is_complete=True),
        transfer=SimpleNamespace(
            writer=SimpleNamespace(queued_bytes=0), is_copying=is_copying, pool=None
        ),
    )
    vars(settings).update(changes)
    return IdleTimer(cast("RunParts", run), cast("RunSettings", settings), slots, run), settings


@pytest.mark.parametrize("waits", [True, False])
async def test_a_seed_that_nobody_reads_from_leaves_only_if_others_wait(waits: bool) -> None:
    slots = RunSlots(32, ConnectionSlots(100))
    await slots.take("seed")
    idleness, settings = idle_seed(slots)
    over = []
    async with anyio.create_task_group() as tasks:
        if waits:
            tasks.start_soon(slots.take, "next")
            await anyio.wait_all_tasks_blocked()
        for second in range(3 * int(UNREAD_S)):
            settings.totals.uploaded_bytes += second < UNREAD_S
            over.append(idleness.is_over(float(second)))
        tasks.cancel_scope.cancel()
    first_s = 2 * int(UNREAD_S) - 1
    assert over == [waits and second >= first_s for second in range(3 * int(UNREAD_S))]


@pytest.mark.parametrize(
    "change",
    [
        {"machine": SimpleNamespace(state=State.DOWNLOADING)},
        {"is_needed": lambda: True},
        {"disk_full": SimpleNamespace(error=OSError())},
        {"is_copying": True},
    ],
    ids=["downloading", "read", "disk full", "copying"],
)
async def test_who_needs_its_slot_keeps_it(change: dict[str, Any]) -> None:
    slots = RunSlots(32, ConnectionSlots(100))
    await slots.take("seed")
    idleness, _ = idle_seed(slots, **change)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(slots.take, "next")
        await anyio.wait_all_tasks_blocked()
        over = [idleness.is_over(now) for now in (0.0, UNREAD_S, 2 * UNREAD_S)]
        tasks.cancel_scope.cancel()
    assert over == [False] * 3


async def test_f9_more_seeds_than_slots_all_seed_and_all_are_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if somebody is connected who takes nothing."""
    monkeypatch.setattr("torrent_engine.engine.resources.run_slots.runs_within", lambda _limit: 2)
    monkeypatch.setattr("torrent_engine.engine.runs.idle.UNREAD_S", 0.5)
    torrents = [make_torrent(bytes([n]) * 50_000, name=f"file {n}") for n in range(5)]
    async with resources(tmp_path) as shared, AsyncExitStack() as stack:
        sessions = []
        for metainfo, payload in torrents:
            write_files(metainfo, payload, tmp_path / "files")
            session = await Session.create(metainfo, shared, save_path=tmp_path / "files")
            sessions.append(await stack.enter_async_context(session))
        await reach(sessions[0], State.SEEDING)
        stream = await anyio.connect_tcp(*address_of(shared))
        await stream.send(handshake(torrents[0][0].info_hash))
        for session in sessions:
            await reach(session, State.SEEDING)
        async with resources(tmp_path / "leech") as other:
            for metainfo, payload in torrents:
                folder = tmp_path / "leech" / "files"
                await download(other, metainfo, folder, address_of(shared))
                assert content(metainfo, folder) == payload
        assert shared.run_slots.used <= 2
        await stream.aclose()
    assert shared.run_slots.used == 0


async def test_a_paused_torrent_gives_up_its_slot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torrent_engine.engine.resources.run_slots.runs_within", lambda _limit: 1)
    torrents = [make_torrent(bytes([n]) * 50_000, name=f"file {n}")[0] for n in range(2)]
    async with resources(tmp_path) as shared:
        create = partial(Session.create, shared=shared, save_path=tmp_path / "files")
        first, second = [await create(metainfo) for metainfo in torrents]
        async with first:
            await reach(first, State.DOWNLOADING)
            async with second:
                assert second.state is State.CHECKING
                await first.pause()
                await reach(second, State.DOWNLOADING)
                await second.pause()
                await first.resume()
                await reach(first, State.DOWNLOADING)
                assert second.paused_state is State.DOWNLOADING


async def test_a_torrent_that_waits_can_be_paused_stopped_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torrent_engine.engine.resources.run_slots.runs_within", lambda _limit: 1)
    torrents = [make_torrent(bytes([n]) * 50_000, name=f"file {n}") for n in range(4)]
    async with resources(tmp_path) as shared:
        create = partial(Session.create, shared=shared, save_path=tmp_path / "files")
        first, paused, stopped, removed = [await create(metainfo) for metainfo, _ in torrents]
        await first.start()
        await reach(first, State.DOWNLOADING)
        for session in (paused, stopped, removed):
            await session.start()
        assert {paused.state, stopped.state, removed.state} == {State.CHECKING}
        await paused.pause()
        with anyio.fail_after(PATIENCE_S):
            await stopped.stop()
            await removed.cancel(delete_files=True)
        stats = stopped.stats()
        assert (stats.completed_bytes, stats.wanted_bytes) == (0, 50_000)
        await first.stop()
        await paused.resume()
        await reach(paused, State.DOWNLOADING)
        for session in (first, paused, stopped, removed):
            await session.close()
    assert shared.run_slots.used == 0


async def test_a_torrent_whose_folder_cannot_be_opened_for_want_of_descriptors_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metainfo, payload = make_torrent(b"x" * 50_000)
    write_files(metainfo, payload, tmp_path / "files")
    failures = iter([errno.EMFILE, errno.ENFILE])
    real = Folder.__init__

    def scarce(self: Folder, path: Path, **options: bool) -> None:
        if (code := next(failures, 0)) != 0:
            raise OSError(code, os.strerror(code))
        real(self, path, **options)

    monkeypatch.setattr(Folder, "__init__", scarce)
    monkeypatch.setattr("torrent_engine.engine.session.run_loop.OPEN_AGAIN_S", 0)
    async with resources(tmp_path) as shared:
        session = await Session.create(metainfo, shared, save_path=tmp_path / "files")
        seen: list[State] = []
        session.events.subscribe("*", lambda _event: seen.append(session.state))
        async with session:
            await reach(session, State.SEEDING, State.ERROR)
            assert session.state is State.SEEDING
    assert State.ERROR not in seen
    assert next(failures, None) is None


@pytest.mark.skipif(sys.platform != "linux", reason="what is counted is that of Linux")
@pytest.mark.parametrize(("limit", "count"), [(48, 20), (64, 20), (256, 100)])
async def test_f9_many_torrents_at_once_complete_with_few_descriptors(
    tmp_path: Path, limit: int, count: int
) -> None:
    names = [f"{number}.torrent" for number in range(count)]
    async with resources(tmp_path) as shared, anyio.create_task_group() as tasks:
        for number, name in enumerate(names):
            files = {f"{n}": bytes([number, n]) * 20_000 for n in range(5)}
            metainfo, payload = make_torrent(files, name=f"torrent {number}")
            (tmp_path / name).write_bytes(metainfo.to_bytes())
            write_files(metainfo, payload, tmp_path / "seed")
            session = await Session.create(metainfo, shared, save_path=tmp_path / "seed")
            await session.start()
            await reach(session, State.SEEDING)
        words = [sys.executable, "-c", LIMITED, str(limit), "download"]
        words += [str(tmp_path / name) for name in names]
        words += ["-d", str(tmp_path / "got"), "--state-dir", str(tmp_path / "state-2")]
        words += ["--listen", "127.0.0.1", "--port", "0", "--seed-time", "0"]
        words += ["--peer", f"127.0.0.1:{shared.listen_port}"]
        with anyio.fail_after(100):
            done = await anyio.run_process(words, cwd=ROOT, check=False, stderr=subprocess.STDOUT)
        tasks.cancel_scope.cancel()
    output = done.stdout.decode()
    assert done.returncode == 0, output
    assert "Too many open files" not in output
    for number in range(count):
        for n in range(5):
            path = tmp_path / "got" / f"torrent {number}" / str(n)
            assert path.read_bytes() == bytes([number, n]) * 20_000


@pytest.mark.skipif(sys.platform != "linux", reason="what is counted is that of Linux")
async def test_f9_downloads_that_stay_as_seeds_let_the_others_begin(tmp_path: Path) -> None:
    names = [f"{number}.torrent" for number in range(8)]
    payload = payload_of(100_000)
    async with resources(tmp_path) as shared, AsyncExitStack() as stack:
        for number, name in enumerate(names):
            metainfo, _ = make_torrent(payload, name=f"torrent {number}")
            (tmp_path / name).write_bytes(metainfo.to_bytes())
            write_files(metainfo, payload, tmp_path / "seed")
            session = await Session.create(metainfo, shared, save_path=tmp_path / "seed")
            await reach(await stack.enter_async_context(session), State.SEEDING)
        words = [sys.executable, "-c", LIMITED, str(TIGHT), "download"]
        words += [str(tmp_path / name) for name in names]
        words += ["-d", str(tmp_path / "got"), "--state-dir", str(tmp_path / "state-2")]
        words += ["--listen", "127.0.0.1", "--port", "0", "--seed-time", "3600"]
        words += ["--peer", f"127.0.0.1:{shared.listen_port}"]
        output = stack.enter_context((tmp_path / "output").open("wb"))
        process = await anyio.open_process(words, cwd=ROOT, stdout=output, stderr=output)
        try:
            paths = [tmp_path / "got" / f"torrent {number}" for number in range(8)]
            await until(lambda: all(map(Path.is_file, paths)), timeout_s=100)
            are_whole = lambda: all(path.read_bytes() == payload for path in paths)  # noqa: E731
            await until(are_whole, timeout_s=100)
            assert process.returncode is None
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
            await process.aclose()
    assert "Too many open files" not in (tmp_path / "output").read_text()


def test_runs_are_limited_by_the_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "torrent_engine.engine.resources.pools.raise_descriptor_limit",
        lambda _needed: TIGHT,
    )
    shared = SharedResources(shared_config(tmp_path))
    assert shared.run_slots._limit == runs_within(TIGHT) == 5
    assert runs_within(32) == 1
    assert runs_within(65_536) > 400


async def test_a_limit_of_links_outlives_the_runs_that_begin_and_end(tmp_path: Path) -> None:
    async with resources(tmp_path) as shared:
        holder, limits = object(), list[int]()
        for limit in (5, 9):
            shared.set_connection_limits(max_connections=limit)
            await shared.run_slots.take(holder)
            limits.append(shared.connection_slots.limit)
            shared.run_slots.give_back(holder)
            limits.append(shared.connection_slots.limit)
    assert limits == [5, 5, 9, 9]
