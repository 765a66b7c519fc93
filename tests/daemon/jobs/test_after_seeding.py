"""What follows when a rule has ended seeding, and moves that are tried again."""

import anyio
import pytest

from torrent_engine.base.errors import SessionError
from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.jobs.after_seeding import AfterSeeding, SeedEnd
from torrent_engine.daemon.jobs.incomplete import IncompleteMoves
from torrent_engine.service.pauses import Alarm

pytestmark = pytest.mark.anyio

ONE, TWO = (InfoHash(bytes([number]) * 20) for number in range(2))


class Torrents:
    def __init__(self) -> None:
        self.finished = {ONE, TWO}
        self.done: list[tuple[str, InfoHash]] = []
        self.failing: set[InfoHash] = set()
        self.elsewhere = {ONE: "/a", TWO: "/b"}

    def has_finished(self, info_hash: InfoHash) -> bool:
        return info_hash in self.finished

    async def remove(self, info_hash: InfoHash, *, delete_files: bool) -> None:
        self._do("files" if delete_files else "remove", info_hash)

    async def super_seed(self, info_hash: InfoHash) -> None:
        self._do("super", info_hash)

    def unmoved(self) -> dict[InfoHash, str]:
        return dict(self.elsewhere)

    async def move(self, info_hash: InfoHash, path: str) -> None:
        self._do(path, info_hash)
        del self.elsewhere[info_hash]

    def _do(self, what: str, info_hash: InfoHash) -> None:
        if info_hash in self.failing:
            raise SessionError("no")
        self.done.append((what, info_hash))


async def test_what_is_left_by_a_run_that_failed_is_done_by_the_next() -> None:
    class Faulty(Torrents):
        def has_finished(self, info_hash: InfoHash) -> bool:
            if info_hash == ONE:
                raise ValueError("a fault")
            return super().has_finished(info_hash)

    torrents = Faulty()
    part = AfterSeeding(torrents, SeedEnd.REMOVE)
    part.finished(ONE)
    part.finished(TWO)
    with pytest.raises(ValueError, match="a fault"):
        await part.run()
    await after(part)
    assert torrents.done == [("remove", TWO)]


async def after(part: AfterSeeding, *finished: InfoHash) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(part.run)
        for each in finished:
            part.finished(each)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()


ACTIONS = {
    SeedEnd.STOP: [],
    SeedEnd.REMOVE: [("remove", ONE), ("remove", TWO)],
    SeedEnd.REMOVE_WITH_FILES: [("files", ONE), ("files", TWO)],
    SeedEnd.SUPER_SEED: [("super", ONE), ("super", TWO)],
}


@pytest.mark.parametrize(("then", "done"), ACTIONS.items())
async def test_each_finished_torrent_is_treated_as_configured(
    then: SeedEnd, done: list[tuple[str, InfoHash]]
) -> None:
    torrents = Torrents()
    await after(AfterSeeding(torrents, then), ONE, TWO)
    assert torrents.done == done


async def test_a_torrent_that_was_started_meanwhile_is_left_alone() -> None:
    torrents = Torrents()
    torrents.finished.discard(ONE)
    await after(AfterSeeding(torrents, SeedEnd.REMOVE_WITH_FILES), ONE, TWO)
    assert torrents.done == [("files", TWO)]


async def test_a_fault_of_one_reaches_no_other() -> None:
    torrents = Torrents()
    torrents.failing.add(ONE)
    await after(AfterSeeding(torrents, SeedEnd.REMOVE), ONE, TWO)
    assert torrents.done == [("remove", TWO)]


async def test_moves_that_failed_are_tried_again() -> None:
    torrents = Torrents()
    torrents.failing.add(ONE)
    moves = IncompleteMoves(torrents)
    await moves.look()
    assert (torrents.done, moves.errors) == ([("/b", TWO)], {ONE: "no"})
    torrents.failing.clear()
    await moves.look()
    assert (torrents.done[1:], moves.errors) == ([("/a", ONE)], {})


async def test_moves_are_tried_now_and_then_and_when_there_may_be_room() -> None:
    torrents, pauses = Torrents(), []

    async def sleep(delay_s: float) -> None:
        pauses.append(delay_s)
        await anyio.sleep_forever()

    moves = IncompleteMoves(torrents, alarm=Alarm(sleep))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(moves.run)
        await anyio.wait_all_tasks_blocked()
        assert torrents.done == []
        moves.look_soon()
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert (len(torrents.done), pauses) == (2, [600.0, 600.0])
