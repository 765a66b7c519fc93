"""What is copied from files of the same content, and what is fetched after all."""

import itertools
import random
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.support.counting import CountingTable, ShortTurn
from tests.support.torrents import payload_of
from tests.support.v2_torrents import PIECE_BYTES, hybrid_info, laid_out, torrent_around, v2_info
from torrent_engine.base.errors import SessionError, StorageError
from torrent_engine.codec.bitfield import Bitfield, bits_of
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.content import local_copies, shared_content
from torrent_engine.engine.content.local_copies import MAX_COPIED, CopyPorts, LocalCopies
from torrent_engine.engine.content.piece_sharing import OpenSource, SharedRange
from torrent_engine.engine.content.shared_content import SharedContent
from torrent_engine.policy.pieces.picker import Picker
from torrent_engine.policy.pieces.piece_table import PieceState

pytestmark = pytest.mark.anyio

DATA = payload_of(3 * PIECE_BYTES - 5, 1)
OTHER = payload_of(2 * PIECE_BYTES, 2)
FILES = {"a": DATA, "b": OTHER, "c": DATA}  # pieces 0 to 2, 3 and 4, 5 to 7
PATIENCE_S = 50.0


def v2(files: dict[str, bytes], piece_bytes: int = PIECE_BYTES) -> Metainfo:
    return Metainfo.from_bytes(torrent_around(*v2_info(files, piece_bytes=piece_bytes)))


def hybrid(files: dict[str, bytes]) -> Metainfo:
    return Metainfo.from_bytes(torrent_around(*hybrid_info(files)))


@pytest.fixture
def turn(monkeypatch: pytest.MonkeyPatch) -> ShortTurn:
    made = ShortTurn()
    for module in (local_copies, shared_content):
        monkeypatch.setattr(module, "LOOP_TURN", made)
    return made


@dataclass
class Written:
    """A copy on its way to the disk."""

    piece: int
    data: bytes
    on_wrong: Callable[[], None]
    on_failed: Callable[[], None]


@dataclass
class Node:
    """The copies of one torrent, and what they do."""

    metainfo: Metainfo
    content: SharedContent
    payload: bytes = b""
    """What is read: what is on the disk."""
    written: list[Written] = field(default_factory=list)
    asked_again: int = 0
    read_error: Exception | None = None
    shares: bool = False
    """Whether its files can share blocks with others."""
    share_error: Exception | None = None
    wrong: set[int] = field(default_factory=set)
    """Pieces that are wrong once they are shared."""
    ranges: list[tuple[list[int], int, range]] = field(default_factory=list)
    """What was to be shared: the pieces, the file, and the bytes of it."""
    shared: list[int] = field(default_factory=list)
    reads: int = 0
    waits: bool = True
    """Whether reads wait; what is in memory is read at once."""

    def __post_init__(self) -> None:
        geometry = self.metainfo.geometry
        self.table = CountingTable(geometry)
        self.picker = Picker(geometry, self.table, random.Random(1))
        torrent: Any = SimpleNamespace(metainfo=self.metainfo, table=self.table, picker=self.picker)
        finisher: Any = SimpleNamespace(
            wait_for_room=self._wait_for_room,
            write_copy=lambda piece, data, on_wrong, on_failed: self.written.append(
                Written(piece, bytes(data), on_wrong, on_failed)
            ),
            shared=self._count_shared,
        )
        downloads: Any = SimpleNamespace(is_active=True, wanted_changed=self._ask_again)
        self.downloads = downloads
        reads: Any = SimpleNamespace(read=self._read, lend=self._lend)
        ports = CopyPorts(finisher, downloads, SimpleNamespace(share=self._share))
        self.copies = LocalCopies(torrent, ports, reads, self.content)

    def _ask_again(self) -> None:
        self.asked_again += 1

    async def _wait_for_room(self) -> None:
        if self.waits:
            await anyio.lowlevel.checkpoint()

    async def _read(self, offset: int, into: memoryview) -> None:
        self.reads += 1
        if self.read_error is not None:
            raise self.read_error
        if self.waits:
            await anyio.lowlevel.checkpoint()
        into[:] = self.payload[offset : offset + len(into)]

    @asynccontextmanager
    async def _lend(self, file: int) -> AsyncIterator[OpenSource]:
        if isinstance(self.read_error, SessionError):
            raise self.read_error
        yield lambda: nullcontext(file)

    async def _share(
        self, pieces: Iterable[int], ranges: Iterable[SharedRange]
    ) -> Mapping[int, bool]:
        await anyio.lowlevel.checkpoint()
        found = list(pieces)
        (wanted,) = ranges
        self.ranges.append((found, wanted.file, range(wanted.start, wanted.end)))
        if self.share_error is not None:
            raise self.share_error
        return {each: each not in self.wrong for each in found} if self.shares else {}

    def _count_shared(self, piece: int) -> None:
        self.shared.append(piece)
        self.table.hash_passed(piece)
        self.table.written(piece)
        self.copies.on_have(piece)

    def have(self, *pieces: int) -> None:
        for piece in pieces:
            self.table.found(piece)
            self.copies.on_have(piece)

    def missing(self) -> list[int]:
        return [piece for piece in range(self.metainfo.piece_count) if self.table.is_missing(piece)]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            await tasks.start(self.copies.run)
            yield
            tasks.cancel_scope.cancel()

    async def wait_written(self, count: int) -> list[int]:
        with anyio.fail_after(PATIENCE_S):
            while len(self.written) < count:  # noqa: ASYNC110 - there is no event for it
                await anyio.sleep(0.001)
        await anyio.wait_all_tasks_blocked()
        return [each.piece for each in self.written]

    async def finish_all(self, count: int) -> None:
        """Finish copies until there were so many."""
        done = 0
        while done < count:
            await self.wait_written(1)
            copies, self.written = self.written, []
            for each in copies:
                self.finish(each)
            done += len(copies)
        assert done == count

    async def quiet(self) -> None:
        """Wait until nothing is copied or looked for."""
        with anyio.fail_after(PATIENCE_S):
            while self.copies.is_busy:  # noqa: ASYNC110 - there is no event for it
                await anyio.sleep(0.001)

    def finish(self, copy: Written) -> None:
        """What the finisher does with a copy that is right."""
        self.table.hash_passed(copy.piece)
        self.table.written(copy.piece)
        self.copies.on_have(copy.piece)


@pytest.mark.parametrize("make", [v2, hybrid])
async def test_bep52_a_file_that_is_here_is_copied_where_it_is_missing(
    make: Callable[[dict[str, bytes]], Metainfo],
) -> None:
    metainfo = make(FILES)
    payload = laid_out(metainfo, FILES)
    node = Node(metainfo, SharedContent(), payload)
    node.table.found(0, 1, 2)
    async with node.running():
        assert node.missing() == [3, 4]  # nobody is asked for the others
        assert await node.wait_written(3) == [5, 6, 7]
    for each in node.written:
        start, length = metainfo.geometry.piece_offset(each.piece), len(each.data)
        assert length == metainfo.geometry.piece_length(each.piece)
        assert each.data == payload[start : start + length]


async def test_bep52_each_piece_is_copied_when_it_comes() -> None:
    node = Node(v2(FILES), SharedContent(), laid_out(v2(FILES), FILES))
    async with node.running():
        node.have(3, 6)
        assert await node.wait_written(1) == [1]
        node.finish(node.written[0])  # and is not copied back
        node.have(2)
        assert await node.wait_written(2) == [1, 7]


async def test_bep52_another_torrent_with_longer_pieces_is_a_source() -> None:
    files, content = {"x": OTHER, "y": DATA}, SharedContent()
    long = v2(files, 4 * PIECE_BYTES)
    source = Node(long, content, laid_out(long, files))
    target = Node(v2(FILES), content)
    source.table.found(1)
    async with source.running(), target.running():
        assert await target.wait_written(6) == [0, 1, 2, 5, 6, 7]
        source.have(0)
        assert await target.wait_written(8) == [0, 1, 2, 5, 6, 7, 3, 4]
    assert b"".join(each.data for each in target.written) == DATA + DATA + OTHER


async def test_bep52_a_longer_piece_is_copied_once_all_of_it_is_elsewhere() -> None:
    files, content = {"y": DATA}, SharedContent()
    source = Node(v2(files), content, DATA)
    target = Node(v2(files, 2 * PIECE_BYTES), content)
    async with source.running(), target.running():
        source.have(0)
        assert target.missing() == [0, 1]
        source.have(2)
        assert await target.wait_written(1) == [1]
        source.have(1)
        assert await target.wait_written(2) == [1, 0]


@pytest.mark.parametrize("error", [StorageError("f", "gone"), SessionError("not running")])
async def test_a_source_that_cannot_be_read_is_not_tried_again(error: Exception) -> None:
    content = SharedContent()
    source, target = Node(v2(FILES), content, read_error=error), Node(v2(FILES), content)
    source.table.found(0, 1, 2)
    async with source.running(), target.running():
        with anyio.fail_after(PATIENCE_S):
            while not target.asked_again:  # noqa: ASYNC110 - there is no event for it
                await anyio.sleep(0.001)
        await anyio.wait_all_tasks_blocked()
        assert target.missing() == list(range(8))
        assert not target.written


async def test_a_source_that_is_wrong_is_left_for_another_one() -> None:
    content = SharedContent()
    wrong = Node(v2({"a": DATA, "b": OTHER}), content, bytes(5 * PIECE_BYTES))
    right = Node(v2({"a": DATA}), content, DATA)
    wrong.table.found(0, 1, 2)
    right.table.found(0, 1)
    target = Node(v2(FILES), content)
    async with wrong.running(), target.running():
        await target.wait_written(6)
        async with right.running():
            bad, target.written = target.written, []
            bad[0].on_wrong()
            assert await target.wait_written(1) == [bad[0].piece]
            assert target.asked_again == 1
            for each in bad[1:]:
                each.on_wrong()
            assert sorted(await target.wait_written(4)) == [0, 1, 5, 6]
            found = {each.data for each in target.written}
            assert found == {DATA[:PIECE_BYTES], DATA[PIECE_BYTES : 2 * PIECE_BYTES]}
        assert target.missing() == [2, 3, 4, 7]


async def test_who_comes_later_is_a_source_of_those_that_run() -> None:
    content = SharedContent()
    source, target = Node(v2(FILES), content, laid_out(v2(FILES), FILES)), Node(v2(FILES), content)
    source.table.found(3)
    async with target.running():
        assert target.missing() == list(range(8))
        async with source.running():
            assert await target.wait_written(1) == [3]


async def test_f1_what_a_full_disk_refused_is_copied_once_there_is_room() -> None:
    node = Node(v2(FILES), SharedContent(), laid_out(v2(FILES), FILES))
    node.table.found(0, 1, 2)
    async with node.running():
        await node.wait_written(3)
        failed, node.written, node.downloads.is_active = node.written, [], False
        for each in failed:
            each.on_failed()
        node.copies.tick()
        assert node.missing() == [3, 4, 5, 6, 7]
        assert not node.written
        node.downloads.is_active = True
        node.copies.tick()
        assert await node.wait_written(3) == [5, 6, 7]


async def test_what_is_not_copied_at_the_end_is_missing() -> None:
    node = Node(v2(FILES), SharedContent(), laid_out(v2(FILES), FILES))
    async with node.running():
        node.have(0, 1, 2)
        assert node.missing() == [3, 4]
    assert node.missing() == [3, 4, 5, 6, 7]
    assert node.table.state(5) is PieceState.MISSING


async def test_pieces_that_are_skipped_or_cannot_be_verified_are_left_alone() -> None:
    info, _ = v2_info(FILES)
    bare = Metainfo.from_bytes(torrent_around(info))
    assert bare.hashes.expected(5) is None
    node = Node(bare, SharedContent(), laid_out(bare, FILES))
    node.table.found(0, 1, 2)
    async with node.running():
        assert node.missing() == [3, 4, 5, 6, 7]
    skipping = Node(v2(FILES), SharedContent(), laid_out(v2(FILES), FILES))
    skipping.table.found(0, 1, 2)
    skipping.picker.set_priorities([4, 4, 4, 4, 4, 0, 0, 0])
    async with skipping.running():
        assert skipping.missing() == [3, 4, 5, 6, 7]
        skipping.picker.set_priorities([4] * 8)
        skipping.copies.look_again()
        assert await skipping.wait_written(3) == [5, 6, 7]


async def test_twins_of_a_piece_wait_within_one_torrent_only() -> None:
    content = SharedContent()
    one, other = Node(v2(FILES), content), Node(v2(FILES), content)
    async with one.running(), other.running():
        pieces = {block[0] for block in one.picker.pick((1 << 8) - 1, 100)}
        assert len(pieces) == 5
        assert len({block[0] for block in other.picker.pick((1 << 8) - 1, 100)}) == 5


async def test_a_thousand_equal_files_are_one_fetch() -> None:
    files = {f"{number:04}": b"same" for number in range(1000)}
    metainfo = v2(files)
    node = Node(metainfo, SharedContent(), laid_out(metainfo, files))
    async with node.running():
        assert len(node.picker.pick((1 << 1000) - 1, 10_000)) == 1
        (fetched,) = node.picker.partials
        node.picker.finished(fetched)
        node.table.hash_passed(fetched)
        node.table.written(fetched)
        node.copies.on_have(fetched)
        await node.finish_all(999)
        assert node.table.have.all()


async def test_who_has_left_is_no_source() -> None:
    content = SharedContent()
    source, target = Node(v2(FILES), content), Node(v2(FILES), content)
    source.table.found(0)
    async with source.running():
        pass
    async with target.running():
        assert target.missing() == list(range(8))
        assert not content.keys(source.copies)


async def shared(node: Node, count: int) -> list[int]:
    """Wait until so many pieces are shared, and all is quiet."""
    with anyio.fail_after(PATIENCE_S):
        while len(node.shared) < count:  # noqa: ASYNC110 - there is no event for it
            await anyio.sleep(0.001)
    await anyio.wait_all_tasks_blocked()
    return node.shared


async def test_bep52_pieces_in_a_row_share_the_blocks_of_their_source_at_once() -> None:
    node = Node(v2(FILES), SharedContent(), shares=True)
    node.table.found(0, 1, 2)
    async with node.running():
        assert await shared(node, 3) == [5, 6, 7]
    assert node.ranges == [([5, 6, 7], 2, range(len(DATA)))]
    assert node.missing() == [3, 4]
    assert not node.written


async def test_bep52_each_file_shares_with_one_source_and_shared_pieces_go_round_once() -> None:
    content = SharedContent()
    source = Node(v2({"x": OTHER, "y": DATA}), content)
    target = Node(v2(FILES), content, shares=True)
    source.table.found(0, 1, 2, 4)
    async with source.running(), target.running():
        assert sorted(await shared(target, 6)) == [0, 2, 3, 4, 5, 7]
        assert sorted(file for _, file, _ in target.ranges) == [0, 0, 1, 2, 2]
        source.have(3)
        assert sorted(await shared(target, 8)) == list(range(8))
    assert source.written == []


async def test_f6_what_is_shared_and_wrong_is_copied_from_another_source_or_fetched() -> None:
    content = SharedContent()
    wrong, right = Node(v2({"a": DATA, "b": OTHER}), content), Node(v2({"a": DATA}), content)
    wrong.table.found(0, 1, 2)
    right.table.found(0, 1, 2)
    target = Node(v2({"c": DATA}), content, shares=True, wrong={1})
    async with wrong.running(), target.running():
        assert await shared(target, 2) == [0, 2]
        assert target.missing() == [1]
        assert target.asked_again == 1
        async with right.running():
            target.wrong.clear()
            assert await shared(target, 3) == [0, 2, 1]


async def test_f1_what_cannot_be_shared_is_copied_and_the_source_is_not_tried_again() -> None:
    node = Node(v2(FILES), SharedContent(), laid_out(v2(FILES), FILES))
    node.table.found(0, 1, 2)
    async with node.running():
        assert await node.wait_written(3) == [5, 6, 7]
        node.have(3)
    assert len(node.ranges) == 1


async def test_f1_a_source_that_fails_while_it_is_shared_is_copied() -> None:
    error = StorageError("f", "gone")
    node = Node(v2(FILES), SharedContent(), laid_out(v2(FILES), FILES), share_error=error)
    node.table.found(0, 1, 2)
    async with node.running():
        assert await node.wait_written(3) == [5, 6, 7]
    assert [pieces for pieces, _, _ in node.ranges] == [[5, 6, 7], [6, 7], [7]]


async def test_what_is_being_shared_at_the_end_is_missing() -> None:
    node = Node(v2(FILES), SharedContent(), shares=True)
    node.table.found(0, 1, 2)

    async def share(pieces: Iterable[int], ranges: Iterable[SharedRange]) -> Mapping[int, bool]:
        del pieces, ranges
        await anyio.sleep_forever()
        return {}

    node.copies._sharing = SimpleNamespace(share=share)
    async with node.running():
        await anyio.wait_all_tasks_blocked()
        assert node.missing() == [3, 4]
        assert node.copies.is_busy  # the run must not end for want of work
    assert not node.copies.is_busy
    assert node.missing() == [3, 4, 5, 6, 7]


async def test_torrents_of_v1_have_no_part_in_it() -> None:
    info, _ = hybrid_info(FILES)
    del info["meta version"], info["file tree"]
    node = Node(Metainfo.from_bytes(torrent_around(info)), SharedContent())
    async with node.running():
        node.have(0)
        node.copies.tick()
        assert node.missing() == list(range(1, 8))


def many(count: int, *, same: bool) -> tuple[Metainfo, bytes]:
    """Return a torrent of small files, and the bytes of its pieces."""
    files = {f"{number:05}": b"same" if same else f"{number}".encode() for number in range(count)}
    metainfo = v2(files)
    return metainfo, laid_out(metainfo, files)


def pair(count: int) -> tuple[Node, Node]:
    """Return a torrent of small files that is here, and another one of the same files."""
    metainfo, payload = many(count, same=False)
    content = SharedContent()
    source, target = Node(metainfo, content, payload), Node(metainfo, content)
    source.table.found_all(Bitfield.full(metainfo.piece_count))
    return source, target


def looks_at(node: Node) -> list[int]:
    """Return a list that gets each file which is looked at for pieces that are here."""
    looks: list[int] = []
    has_part = node.copies.has_part

    def counted(file: int) -> bool:
        looks.append(file)
        return has_part(file)

    node.copies.has_part = counted  # type: ignore[method-assign]
    return looks


async def test_f3_all_copies_from_a_torrent_that_ended_are_dropped_in_one_pass() -> None:
    source, target = pair(3000)
    source.read_error = SessionError("not running")
    looks = looks_at(source)
    async with source.running(), target.running():
        await target.quiet()
        assert source.reads == 1
        assert len(looks) == 3000  # and none of its files is looked at again
        assert target.missing() == list(range(3000))
        assert target.asked_again == 1


async def test_f3_another_torrent_is_the_source_once_one_has_ended() -> None:
    source, target = pair(20)
    other = Node(source.metainfo, source.content, source.payload)
    other.table.found(*range(10))
    source.read_error = SessionError("not running")
    async with source.running(), other.running(), target.running():
        assert sorted(await target.wait_written(10)) == list(range(10))
        assert target.missing() == list(range(10, 20))
        target.copies.tick()
        assert target.asked_again == 1


async def test_f3_of_files_that_are_gone_each_is_tried_once_and_its_equals_looked_at() -> None:
    source, target = pair(300)
    source.read_error = StorageError("f", "gone")
    looks = looks_at(source)
    async with source.running(), target.running():
        await target.quiet()
        assert source.reads == 300
        assert len(looks) == 2 * 300
        assert target.missing() == list(range(300))
        assert target.asked_again <= 2


async def test_f3_what_is_queued_from_a_wrong_file_is_looked_for_elsewhere() -> None:
    content = SharedContent()
    wrong, right = Node(v2({"a": DATA}), content), Node(v2({"b": DATA}), content, DATA)
    wrong.table.found(0, 1, 2)
    right.table.found(0, 1)
    wrong.read_error = StorageError("f", "gone")
    target = Node(v2({"c": DATA}), content)
    async with wrong.running(), right.running(), target.running():
        assert await target.wait_written(2) == [0, 1]
        assert target.missing() == [2]
        assert wrong.reads == 2  # once for each of the others


async def test_pieces_are_begun_and_given_up_many_at_a_time() -> None:
    source, target = pair(3000)
    async with source.running(), target.running():
        assert not target.missing()
        await target.wait_written(MAX_COPIED)
        target.table.passes = 0
    assert len(target.missing()) == 3000 - MAX_COPIED
    assert target.table.passes < 30


async def test_what_arrives_for_many_files_is_begun_many_at_a_time() -> None:
    metainfo, payload = many(3000, same=True)
    node = Node(metainfo, SharedContent(), payload)
    async with node.running():
        node.have(7)
        await anyio.wait_all_tasks_blocked()
        assert not node.missing()
        assert node.table.passes < 100
        assert len(await node.wait_written(MAX_COPIED)) == MAX_COPIED


async def test_the_twins_of_what_has_arrived_wait_until_they_are_begun(turn: ShortTurn) -> None:
    metainfo, payload = many(100, same=True)
    node = Node(metainfo, SharedContent(), payload)
    async with node.running():
        assert len(node.picker.pick((1 << 100) - 1, 1000)) == 1
        (fetched,) = node.picker.partials
        node.picker.finished(fetched)
        node.table.hash_passed(fetched)
        node.table.written(fetched)
        node.copies.on_have(fetched)
        node.copies.tick()
        assert not node.picker.startable
        assert not node.asked_again
        await anyio.wait_all_tasks_blocked()
        assert not node.missing()
        node.copies.tick()
        assert not node.picker.twins.bits
    assert turn.passed_on > 100


@pytest.mark.parametrize("size", [10, MAX_COPIED])
async def test_copies_that_need_no_wait_let_other_tasks_run(turn: ShortTurn, size: int) -> None:
    source, target = pair(size)
    source.waits = target.waits = False
    target.copies._apart.add(source.copies)
    found: list[int] = []

    async def watch() -> None:
        while True:
            found.append(len(target.written))
            await anyio.lowlevel.checkpoint()

    async with source.running(), target.running(), anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        assert len(await wait_for_written(target, size)) == size
        tasks.cancel_scope.cancel()
    assert max(after - before for before, after in itertools.pairwise(found)) <= 2
    assert turn.passed_on > size


async def wait_for_written(node: Node, count: int) -> list[Written]:
    """Wait until so many copies are made, while other tasks run."""
    with anyio.fail_after(PATIENCE_S):
        while len(node.written) < count:
            await anyio.lowlevel.checkpoint()
    return node.written


async def test_so_many_copies_and_no_more_wait_to_be_written() -> None:
    source, target = pair(MAX_COPIED + 20)
    source.waits = False
    async with source.running(), target.running():
        assert len(await target.wait_written(MAX_COPIED)) == MAX_COPIED
        copies, target.written = target.written, []
        for each in copies[: MAX_COPIED // 2 - 1]:
            target.finish(each)
        await anyio.wait_all_tasks_blocked()
        assert not target.written
        copies[-1].on_failed()
        target.copies.tick()
        copies[-2].on_wrong()
        assert len(await target.wait_written(20)) >= 20


async def test_a_file_that_is_searched_for_long_lets_other_tasks_run(turn: ShortTurn) -> None:
    source, target = pair(100)
    async with source.running(), target.running():
        assert not target.missing()
    assert turn.passed_on > 400  # to join, to look at both files of each pair, and to leave
    assert target.missing() == list(range(100))


async def test_priorities_that_change_are_looked_at_before_anything_is_requested() -> None:
    source, target = pair(50)
    target.picker.set_priorities([0] * 50)
    async with source.running(), target.running():
        await target.quiet()
        assert len(target.missing()) == 50
        target.picker.set_priorities([4] * 50)
        target.copies.look_again()
        assert not target.missing()
        target.table.passes = 0
    assert target.table.passes < 5


async def test_twins_are_the_pieces_at_the_same_place_of_equal_files() -> None:
    metainfo = v2({**FILES, "d": DATA, "e": OTHER})  # d: pieces 8 to 10, e: 11 and 12
    node = Node(metainfo, SharedContent())
    async with node.running():
        groups = [{0, 5, 8}, {1, 6, 9}, {2, 7, 10}, {3, 11}, {4, 12}]
        for piece in range(13):
            (group,) = (group for group in groups if piece in group)
            assert node.copies.twins(piece) == sum(1 << each for each in group - {piece})
    assert node.copies.twins(0) == 0


async def test_twins_of_a_large_group_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    metainfo, _ = many(1000, same=True)
    calls: list[int] = []

    def counted(pieces: Collection[int]) -> int:
        calls.append(len(pieces))
        return bits_of(pieces)

    monkeypatch.setattr(local_copies, "bits_of", counted)
    node = Node(metainfo, SharedContent())
    async with node.running():
        for piece in (5, 6, 5):
            assert node.copies.twins(piece) == (1 << 1000) - 1 ^ 1 << piece
    assert calls == [1000]


async def test_bep52_what_arrives_in_turn_is_shared_within_each_file() -> None:
    node = Node(v2({**FILES, "d": DATA}), SharedContent(), shares=True)
    async with node.running():
        node.have(0, 1)  # pieces 5 and 8, then 6 and 9
        assert sorted(await shared(node, 4)) == [5, 6, 8, 9]
    files = {5: 2, 6: 2, 8: 3, 9: 3}
    assert all({files[each] for each in pieces} == {file} for pieces, file, _ in node.ranges)


async def test_bep52_neighbours_are_shared_file_by_file() -> None:
    node = Node(v2({**FILES, "d": DATA}), SharedContent(), shares=True)
    node.table.found(0, 1, 2)
    async with node.running():
        assert await shared(node, 6) == [5, 6, 7, 8, 9, 10]
    whole = range(len(DATA))
    assert node.ranges == [([5, 6, 7], 2, whole), ([8, 9, 10], 3, whole)]


async def test_other_tasks_run_while_a_torrent_of_many_files_joins_or_leaves(
    turn: ShortTurn,
) -> None:
    source, target = pair(100)
    await source.content.join(source.copies)
    await source.content.join(target.copies)
    assert turn.passed_on == 100
    await source.content.leave(source.copies)
    assert turn.passed_on == 200
    assert len(source.content.keys(target.copies)) == 100


async def test_who_leaves_while_another_joins_is_in_no_group() -> None:
    content = SharedContent()
    staying, leaving = Node(v2(FILES), content), Node(v2(FILES), content)

    def leave(_: Iterable[bytes]) -> None:
        if staying.copies in content._holders:
            anyio.from_thread.run(content.leave, leaving.copies)

    content._note = leave
    async with leaving.running(), staying.running():
        assert not content.keys(leaving.copies)
        for key in content.keys(staying.copies):
            assert list(content.group(key)) == [staying.copies]
