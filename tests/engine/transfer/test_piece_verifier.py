"""What the finisher makes of writes that end in any order, or fail."""

import hashlib
import random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import DiskConfig
from torrent_engine.base.errors import DiskFullError, TorrentEngineError
from torrent_engine.base.ids import PeerAddress, PeerId
from torrent_engine.engine.swarm.peer import Identity
from torrent_engine.engine.transfer.piece_assembly import PieceAssembly
from torrent_engine.engine.transfer.piece_verifier import (
    FINISHED_AT_ONCE,
    PROVED_AT_ONCE,
    PieceFinisher,
    VerifierCallbacks,
)
from torrent_engine.policy.pieces.picker import Picker
from torrent_engine.policy.pieces.piece_table import PartialPiece, PieceState, PieceTable

if TYPE_CHECKING:
    from torrent_engine.disk.pieces.writer import WriteJob

BLOCK = 16 * 1024
METAINFO, PAYLOAD = make_torrent(payload_of(4 * BLOCK), piece_bytes=4 * BLOCK)
FULL = DiskFullError("f", "full")
SOMEBODY = Identity(PeerAddress("10.0.0.1", 1), PeerId(bytes(20)))
LIAR = Identity(PeerAddress("10.0.0.2", 1), PeerId(bytes(20)))


class Node:
    """A finisher with one begun piece, and what it said."""

    def __init__(self) -> None:
        self.jobs: list[WriteJob] = []
        self.had: list[int] = []
        self.partial: list[int] = []
        self.errors: list[TorrentEngineError] = []
        self.table = PieceTable(METAINFO.geometry)
        smart_ban = SimpleNamespace(has_failed=lambda _: False, piece_passed=lambda *_: None)
        torrent: Any = SimpleNamespace(
            metainfo=METAINFO,
            table=self.table,
            picker=Picker(METAINFO.geometry, self.table, random.Random(1)),
            smart_ban=smart_ban,
            bus=SimpleNamespace(publish=lambda _: None),
            is_abandoned=False,
            shared_config=SimpleNamespace(disk=DiskConfig()),
        )
        keeper: Any = SimpleNamespace(
            piece_written=lambda _: None, partial_written=lambda _, bits: self.partial.append(bits)
        )
        writer: Any = SimpleNamespace(submit=self.jobs.append, full=False)
        self.finisher = PieceFinisher(
            torrent,
            keeper,
            hash_limiter=anyio.CapacityLimiter(1),
            make_writer=lambda **_: writer,
            callbacks=VerifierCallbacks(
                start_task=lambda *_: None,
                on_have=self.had.append,
                on_verdict=lambda _verdict, _piece: None,
                on_error=self.errors.append,
                on_learned=lambda _: None,
            ),
        )
        self.table.begun(0)
        self.assembly = PieceAssembly(PartialPiece(METAINFO.geometry, 0), METAINFO.geometry, 0.0)
        self.finisher.assemblies[0] = self.assembly

    def add(self, *blocks: int, sender: Identity = SOMEBODY) -> None:
        for block in blocks:
            view = memoryview(PAYLOAD)[block * BLOCK : (block + 1) * BLOCK]
            self.assembly.add(block, (view,), BLOCK, sender)


def node_with_two_runs() -> Node:
    """Block 1 of 4 is on the disk already, so that the rest of the piece is two jobs."""
    node = Node()
    node.add(0, 1, 2, 3)
    node.assembly.forget_views(1, 1)
    node.finisher._passed(node.assembly)
    assert [job.length_bytes for job in node.jobs] == [BLOCK, 2 * BLOCK]
    return node


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_piece_is_had_only_after_all_of_its_jobs_are_written(order: tuple[int, int]) -> None:
    node = node_with_two_runs()
    node.finisher.written([node.jobs[order[0]]])
    assert not node.had
    node.finisher.written([node.jobs[order[1]]])
    assert node.had == [0]


@pytest.mark.parametrize("refused", [0, 1])
def test_f1_a_piece_of_which_one_job_failed_is_missing(refused: int) -> None:
    node = node_with_two_runs()
    node.finisher.written([node.jobs[1 - refused]])
    node.finisher.write_failed(FULL, [node.jobs[refused]])
    assert not node.had
    assert node.table.state(0) is PieceState.MISSING


def test_f1_a_late_success_or_second_failure_of_a_failed_piece_changes_nothing() -> None:
    for second in (True, False):
        node = node_with_two_runs()
        node.finisher.write_failed(FULL, [node.jobs[0]])
        if second:
            node.finisher.written([node.jobs[1]])
        node.finisher.write_failed(FULL, [node.jobs[1]])
        assert not node.had
        assert node.table.state(0) is PieceState.MISSING


def test_f1_blocks_that_could_not_be_written_ahead_are_written_with_their_piece() -> None:
    node = Node()
    node.add(0, 2)
    node.finisher.write_ahead(10.0, 1.0)
    ahead, node.jobs[:] = tuple(node.jobs), []
    assert [job.offset_bytes for job in ahead] == [0, 2 * BLOCK]
    node.finisher.written([ahead[0]])
    node.finisher.write_failed(FULL, [ahead[1]])
    assert node.errors == [FULL]
    assert node.partial == [0b0001]
    assert node.assembly.memory_bytes == BLOCK
    node.add(1, 3)
    on_disk = memoryview(PAYLOAD)
    digest = hashlib.sha1()
    node.assembly.add_to(
        digest, lambda at, into: into.__setitem__(slice(None), on_disk[at : at + len(into)])
    )
    assert digest.digest() == hashlib.sha1(PAYLOAD).digest()
    node.finisher._passed(node.assembly)
    assert [(job.offset_bytes, job.length_bytes) for job in node.jobs] == [(BLOCK, 3 * BLOCK)]


def test_b6_blocks_of_a_banned_peer_are_dropped_wherever_they_are_but_on_the_way() -> None:
    node = Node()
    node.add(0, 1, 2, sender=LIAR)
    node.assembly.forget_views(0, 1)  # on the disk
    node.finisher.write_ahead(10.0, 1.0)
    assert [job.offset_bytes for job in node.jobs] == [BLOCK]  # blocks 1 and 2 are on their way
    node.add(3)
    assert node.assembly.drop_blocks_of([LIAR]) == [0]
    assert node.assembly.drop_blocks_of([LIAR]) == []
    assert node.assembly.memory_bytes == BLOCK
    assert node.assembly.senders == [None, LIAR, LIAR, SOMEBODY]
    assert node.assembly.drop_blocks_of([SOMEBODY]) == [3]
    assert node.assembly.memory_bytes == 0
    assert not node.assembly.is_in_memory


def test_b6_a_piece_that_may_have_blocks_of_a_banned_peer_is_not_written_ahead() -> None:
    node = Node()
    node.add(0)
    node.finisher.write_ahead(10.0, 0.0, but_for={0})
    assert node.jobs == []
    node.finisher.write_ahead(10.0, 0.0, but_for={1})
    assert [job.offset_bytes for job in node.jobs] == [0]


@pytest.mark.anyio
async def test_f1_a_slow_verdict_waits_for_its_own_blocks_only() -> None:
    node = Node()
    node.add(0, 1)
    node.finisher.write_ahead(10.0, 1.0)
    order = list[str]()

    async def wait() -> None:
        await node.assembly.settled()
        order.append("settled")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        order.append("written")
        node.finisher.written(node.jobs[:1])
    assert order == ["written", "settled"]
    node.add(2)
    await node.assembly.settled()  # what is in memory is waited for by nobody


@pytest.mark.anyio
async def test_several_may_wait_for_the_blocks_of_a_piece() -> None:
    node = Node()
    node.add(0, 1)
    node.finisher.write_ahead(10.0, 1.0)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(node.assembly.settled)
            await anyio.wait_all_tasks_blocked()
            node.finisher.written(node.jobs[:1])
    assert node.assembly.disk_bits() == 0b11


def test_b6_blocks_that_are_dropped_are_dropped_from_the_resume_data_too() -> None:
    node = Node()
    node.add(0, sender=LIAR)
    node.add(1)
    node.assembly.forget_views(0, 2)
    node.assembly.drop_blocks_of([LIAR])
    node.finisher.blocks_dropped(node.assembly)
    assert node.partial == [0b0010]


class ManyUnproven:
    """Pieces and files that wait, as many as anybody may take."""

    def __init__(self, assembly: PieceAssembly) -> None:
        self._assembly = assembly

    def hashes_changed(self) -> None:
        """Nothing is to be looked at."""

    def take_known(self, room: int) -> list[PieceAssembly]:
        return [self._assembly] * room

    def take_turns(self, room: int) -> list[Any]:
        return [SimpleNamespace(first=self._assembly)] * room


@pytest.mark.anyio
async def test_f11_of_pieces_and_files_that_wait_for_hashes_a_few_are_verified_at_once() -> None:
    node, tasks, done = Node(), list[Any](), list[PieceAssembly]()
    finisher: Any = node.finisher
    finisher._unproven = ManyUnproven(node.assembly)
    finisher._start_task = lambda work, assembly: tasks.append(lambda: work(assembly))

    async def finish(assembly: PieceAssembly) -> None:
        done.append(assembly)

    finisher._finish_slowly = finish
    for _ in range(2):
        finisher.hashes_changed()
        assert len(tasks) == FINISHED_AT_ONCE
    for _ in range(2):
        finisher.prove_files()
        assert len(tasks) == FINISHED_AT_ONCE + PROVED_AT_ONCE
    await tasks.pop(0)()
    assert len(done) == 1
    assert len(tasks) == FINISHED_AT_ONCE + PROVED_AT_ONCE  # the next one takes its place
