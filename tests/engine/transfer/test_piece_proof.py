"""Which pieces are hashed again before they are served, and when their files are believed again."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import anyio
import pytest

from tests.disk.helpers import CONFIG, kept, put_piece
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.errors import StorageError
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.disk.files.storage_manager import StorageManager
from torrent_engine.disk.pieces.piece_checker import PieceChecker
from torrent_engine.disk.resume.keeper import ResumeKeeper
from torrent_engine.disk.resume.start_plan import StartPlan
from torrent_engine.disk.state.store import StateStore
from torrent_engine.engine.transfer.piece_proof import PieceProof

if TYPE_CHECKING:
    from torrent_engine.engine.swarm.context import Torrent

pytestmark = pytest.mark.anyio

PIECE_BYTES = 16 * 1024
HALF = 4 * PIECE_BYTES + PIECE_BYTES // 2
METAINFO, PAYLOAD = make_torrent({"a": payload_of(HALF, 1), "b": payload_of(HALF, 2)})
SHARED = 4
"""The piece that both files have a half of: a has 0 to 4, b has 4 to 8."""


class Scene:
    """A torrent with some pieces, whose files others change."""

    def __init__(self, storage: StorageManager, keeper: ResumeKeeper, folder: Path) -> None:
        self.storage = storage
        self.keeper = keeper
        self.have = Bitfield(METAINFO.piece_count)
        self.wrong: list[StorageError] = []
        table = SimpleNamespace(have=self.have)
        torrent = SimpleNamespace(metainfo=METAINFO, storage=storage, table=table)
        limiter = anyio.CapacityLimiter(1)
        self.proof = PieceProof(cast("Torrent", torrent), keeper, limiter, self.wrong.append)
        self._folder = folder

    async def put(self, *pieces: int) -> None:
        for piece in pieces:
            put_piece(self.storage, METAINFO, PAYLOAD, piece)
            self.have.set(piece)
            self.keeper.piece_written(piece)
        await self.keeper.commit()
        await self.keeper.sync()

    def change(self, name: str, piece: int, *, is_edit: bool = False) -> None:
        """Write what is there already, or zeros, into a piece; as another program."""
        path = self._folder / name
        start = METAINFO.geometry.piece_offset(piece) - (HALF if name == "b" else 0)
        now = PAYLOAD[METAINFO.geometry.piece_offset(piece) :][:PIECE_BYTES]
        with path.open("r+b") as file:
            file.seek(start)
            file.write(bytes(PIECE_BYTES) if is_edit else now)

    async def read(self, *pieces: int) -> None:
        for piece in pieces:
            start, length = METAINFO.geometry.piece_offset(piece), PIECE_BYTES
            if not self.proof.is_needed(start, length):
                await self.storage.read(start, memoryview(bytearray(length)))
                continue
            into = bytearray(length)
            await self.proof.read(start, memoryview(into))
            assert into == PAYLOAD[start:][:length]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[StateStore]:
    async with await StateStore.open(tmp_path / "state", config=CONFIG) as opened:
        yield opened


@pytest.fixture
def scenes(tmp_path: Path, store: StateStore) -> Callable[[], Any]:
    @asynccontextmanager
    async def begin() -> AsyncIterator[Scene]:
        async with kept(METAINFO, tmp_path / "save", store) as (storage, keeper):
            await keeper.plan()
            yield Scene(storage, keeper, tmp_path / "save/payload")
            await keeper.close()

    return begin


async def plan_again(store: StateStore, tmp_path: Path) -> StartPlan:
    async with kept(METAINFO, tmp_path / "save", store) as (_, keeper):
        return await keeper.plan()


async def test_f3_a_file_is_believed_again_once_each_of_its_pieces_is_proven(
    scenes: Callable[[], Any], store: StateStore, tmp_path: Path
) -> None:
    async with scenes() as scene:
        await scene.put(*range(9))
        await scene.read(0)
        scene.change("a", 0)
        await scene.read(0, 1, 2, 3, SHARED)
    plan = await plan_again(store, tmp_path)
    assert plan.verified.all()
    assert not plan.to_check


async def test_f3_a_piece_that_is_proven_twice_for_two_files_counts_once_for_each(
    scenes: Callable[[], Any], store: StateStore, tmp_path: Path
) -> None:
    async with scenes() as scene:
        await scene.put(*range(9))
        await scene.read(0, 8)
        scene.change("a", 3, is_edit=True)
        await scene.read(SHARED)
        scene.change("b", 8)
        await scene.read(SHARED, 0, 1, 2)  # all but the wrong one
    plan = await plan_again(store, tmp_path)
    assert 3 in plan.to_check


async def test_f3_a_shared_piece_that_is_in_doubt_for_one_file_is_so_for_the_other(
    scenes: Callable[[], Any], store: StateStore, tmp_path: Path
) -> None:
    async with scenes() as scene:
        await scene.put(*range(9))
        await scene.read(0, 8)
        scene.change("a", 0)
        await scene.read(0, 1, 2, 3)
        scene.change("b", 8)
        await scene.read(8, 7, 6, 5)
    assert (await plan_again(store, tmp_path)).to_check == list(range(9))
    async with scenes() as scene:
        for piece in range(9):
            scene.have.set(piece)
            scene.keeper.piece_checked(piece, True)
        await scene.keeper.commit()
        await scene.keeper.sync()
        await scene.read(0, 8)
        scene.change("a", 0)
        await scene.read(0, 1, 2, 3)
        scene.change("b", 8)
        await scene.read(8, 7, 6, 5, SHARED)
    assert not (await plan_again(store, tmp_path)).to_check


async def test_f3_a_change_of_a_file_without_any_piece_leaves_no_doubt(
    scenes: Callable[[], Any], store: StateStore, tmp_path: Path
) -> None:
    async with scenes() as scene:
        put_piece(scene.storage, METAINFO, PAYLOAD, 0)
        scene.keeper.partial_written(0, 1)
        await scene.keeper.commit()
        scene.change("a", 1, is_edit=True)
        assert not scene.proof.is_needed(0, 1)
        await scene.put(*range(9))
        assert not scene.proof.is_needed(0, 1)
    plan = await plan_again(store, tmp_path)
    assert plan.verified.all()
    assert not plan.to_check


async def test_f3_a_change_while_a_piece_is_hashed_keeps_it_in_doubt(
    scenes: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scenes() as scene:
        await scene.put(*range(9))
        await scene.read(0)
        scene.change("a", 0)
        real, changes = PieceChecker.check, 0

        def check(checker: PieceChecker, pieces: Any) -> Any:
            nonlocal changes
            found = real(checker, pieces)
            if not changes:
                changes += 1
                scene.change("a", 0, is_edit=True)
                anyio.from_thread.run_sync(scene.proof.is_needed, 0, 1)  # another peer asks
            return found

        monkeypatch.setattr(PieceChecker, "check", check)
        with pytest.raises(StorageError, match="piece 0 is not right"):
            await scene.read(0)
        assert len(scene.wrong) == 1
