"""A fault, or the death of the process, at every single step of a move.

The oracle: each file is whole at one of two places all the time; a move that raises has changed
nothing, one that was killed is finished by the next attempt, and no piece is hashed again.
"""

import errno
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.disk.faulty_os import FaultyOs, Killed
from tests.disk.helpers import CONFIG, kept
from tests.support.disks import folder_on_other_disk, has_other_disk
from tests.support.swarm import open_descriptors
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.errors import StateDatabaseError, TorrentEngineError
from torrent_engine.disk import file_copy, positional, safe_open
from torrent_engine.disk.file_stamps import stamp_of
from torrent_engine.disk.moves import move, relocation
from torrent_engine.disk.moves.plan import MoveSpec, draw_plan
from torrent_engine.disk.moves.relocation import MoveAttempt, MoveHooks, finish_move
from torrent_engine.disk.moves.table import load_plan
from torrent_engine.disk.resume.keeper import read_boot_id
from torrent_engine.disk.stamp_table import StampTable
from torrent_engine.disk.state.records import Progress, TorrentRecord
from torrent_engine.disk.state.store import StateStore
from torrent_engine.disk.threads import run_in_thread

pytestmark = pytest.mark.anyio

FILES = {"a": payload_of(30_000, 1), "sub/b": payload_of(20_000, 2)}
METAINFO, PAYLOAD = make_torrent(FILES)
PATHS = {0: ("payload", "a"), 1: ("payload", "sub", "b")}
PART_NAME = f".{METAINFO.info_hash.hex()}.parts"
NO_LINKS = {"link": errno.EPERM}
METHODS = {
    "link": (False, {}),
    "rename": (False, NO_LINKS),
    "copy": (True, {}),
    "copy without links": (True, NO_LINKS),
}
"""Whether it goes to another disk, and what the file systems refuse."""


class Scene:
    """A torrent that is complete at its old place, things of others at both, and a move."""

    def __init__(self, tmp_path: Path, other: Path, store: StateStore) -> None:
        self.store = store
        self.source = tmp_path / "old"
        self.target = other / "x/new"
        self.faulty = FaultyOs(1 << 30, Killed, lasts=True)
        self._real_run = store.run

    async def set_up(self) -> None:
        for folder in (self.source, self.target):
            shutil.rmtree(folder, ignore_errors=True)
            (folder / "payload/sub").mkdir(parents=True)
            (folder / "payload/sub/theirs").write_bytes(b"theirs")
        for name, data in FILES.items():
            (self.source / "payload" / name).write_bytes(data)
        (self.source / PART_NAME).write_bytes(b"part")
        record = TorrentRecord(METAINFO.info_hash, "payload", str(self.source))
        await self.store.remove(METAINFO.info_hash)
        await self.store.save_torrent(record)
        count = METAINFO.piece_count
        have = METAINFO_HAVE
        progress = Progress(count, have, have, bytes(len(have)), read_boot_id(), is_clean=True)
        await self.store.save_progress(METAINFO.info_hash, progress, stamps=self._stamps)

    def _stamps(self) -> StampTable:
        seen = {index: self.source.joinpath(*path).stat() for index, path in PATHS.items()}
        return StampTable(stamp_of(*each)._replace(ctime_ns=0) for each in seen.items())

    def plant(self, monkeypatch: pytest.MonkeyPatch, faulty: FaultyOs) -> None:
        self.faulty = faulty
        faulty.put_into(monkeypatch, safe_open, file_copy, positional, move)
        monkeypatch.setattr(self.store, "run", self._run)

    async def _run(self, work: Callable[..., Any], *, is_precious: bool = False) -> Any:
        try:
            self.faulty.check("database")
        except OSError as error:
            raise StateDatabaseError(str(error)) from error
        return await self._real_run(work, is_precious=is_precious)

    async def move(self) -> bool:
        request = MoveSpec(METAINFO, self.source, self.target, PATHS, PATHS)
        plan = draw_plan(request, await self.store.load(METAINFO.info_hash))
        self.faulty.is_on = True
        try:
            return await MoveAttempt(self.store, plan, hooks()).begin()
        finally:
            self.faulty.is_on = False

    def where(self) -> list[str]:
        """Return for each file where it is whole; fail if it is so nowhere."""
        expected = {f"payload/{name}": data for name, data in FILES.items()}
        found = []
        for name, data in {**expected, PART_NAME: b"part"}.items():
            old, new = (_content(folder / name) for folder in (self.source, self.target))
            assert old in {data, None}
            assert new in {data, None}
            found.append("both" if old == new else "new" if old is None else "old")
            assert {old, new} != {None}
        return found

    def others(self) -> set[str]:
        """Return what is at both places besides the torrent's files."""
        ours = {*(f"payload/{name}" for name in FILES), PART_NAME}
        return {
            f"{number} {name}"
            for number, folder in enumerate((self.source, self.target))
            for path in folder.rglob("*")
            if (name := str(path.relative_to(folder))) not in ours and not path.is_dir()
        }

    async def believed_at(self, place: Path) -> tuple[int, int]:
        async with kept(METAINFO, place, self.store, create=False) as (_, keeper):
            plan = await keeper.plan()
        return plan.verified.count, len(plan.to_check)


METAINFO_HAVE = bytes([0b1111_0000])
ALL_PIECES = (4, 0)
OTHERS = {"0 payload/sub/theirs", "1 payload/sub/theirs"}


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def hooks() -> MoveHooks:
    return MoveHooks(anyio.CapacityLimiter(4))


@asynccontextmanager
async def scenes(tmp_path: Path, *, is_far: bool) -> AsyncIterator[Scene]:
    with ExitStack() as stack:
        fast = tmp_path
        if is_far or has_other_disk(tmp_path):
            fast = stack.enter_context(folder_on_other_disk(tmp_path))
        async with await StateStore.open(fast / "state", config=CONFIG) as store:
            yield Scene(tmp_path if is_far else fast, fast, store)


@pytest.fixture
def stride(anyio_backend_name: str) -> int:
    """Return the distance of the steps: what is called is the same on trio, as are its results."""
    return 3 if anyio_backend_name == "trio" else 1


def input_output_error() -> OSError:
    return OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize("method", METHODS)
async def test_f1_a_fault_at_any_step_leaves_all_at_one_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, stride: int
) -> None:
    is_far, refused = METHODS[method]
    outcomes: list[str] = []
    async with scenes(tmp_path, is_far=is_far) as scene:
        number = 0
        while not outcomes or scene.faulty.has_struck:
            await scene.set_up()
            faulty = FaultyOs(number, input_output_error, lasts=False, refused=refused)
            with monkeypatch.context() as patches:
                scene.plant(patches, faulty)
                try:
                    await scene.move()
                    outcomes.append("moved")
                except TorrentEngineError:
                    outcomes.append("stayed")
            places = set(scene.where())
            if outcomes[-1] == "stayed":
                assert places == {"old"}, faulty.calls
                assert await load_plan(scene.store, METAINFO.info_hash) is None
                assert await scene.believed_at(scene.source) == ALL_PIECES
            else:
                assert places <= {"new", "both"}, faulty.calls
                assert await scene.believed_at(scene.target) == ALL_PIECES
            assert scene.others() == OTHERS, faulty.calls
            number += stride
    assert outcomes.count("stayed") > 20 / stride
    assert outcomes[-1] == "moved"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("death", ["process", "disk"])
async def test_f4_after_death_at_any_step_the_next_attempt_finishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, death: str, stride: int
) -> None:
    is_far, refused = METHODS[method]
    fault: Callable[[], BaseException] = Killed if death == "process" else input_output_error
    ends: list[str] = []
    async with scenes(tmp_path, is_far=is_far) as scene:
        number = 0
        while not ends or scene.faulty.has_struck:
            await scene.set_up()
            faulty = FaultyOs(number, fault, lasts=True, refused=refused)
            with monkeypatch.context() as patches:
                scene.plant(patches, faulty)
                with suppress(Killed, TorrentEngineError):
                    await scene.move()
            scene.where()
            plan = await load_plan(scene.store, METAINFO.info_hash)
            if plan is not None:
                outcome = await finish_move(scene.store, plan, hooks())
                assert outcome.error is None, faulty.calls
            places = set(scene.where())
            assert len(places) == 1, faulty.calls
            ends.append(places.pop())
            place = scene.source if ends[-1] == "old" else scene.target
            assert await load_plan(scene.store, METAINFO.info_hash) is None
            assert await scene.believed_at(place) == ALL_PIECES
            assert scene.others() == OTHERS, faulty.calls
            number += stride
    assert set(ends) == {"old", "new"}
    assert ends.index("new") < 3  # but for those before the plan was written
    assert "old" not in ends[ends.index("new") :]


async def test_f10_folders_are_closed_without_a_worker_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system has no thread left when the move is over: it is done, and holds no descriptor."""

    async def run_but_for_closes(call: Callable[[], Any], **options: Any) -> Any:
        if getattr(call, "__name__", "") == "close":
            raise options["failure"]("the system has no more threads")
        return await run_in_thread(call, **options)

    monkeypatch.setattr(relocation, "run_in_thread", run_but_for_closes)
    async with scenes(tmp_path, is_far=False) as scene:
        await scene.set_up()
        before = open_descriptors()
        assert await scene.move()
        assert open_descriptors() == before
        assert set(scene.where()) == {"new"}
