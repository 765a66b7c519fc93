"""What is copied from files of the same content, and what is fetched after all."""

import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.support.torrents import payload_of
from tests.support.v2_torrents import PIECE_BYTES, hybrid_info, laid_out, torrent_around, v2_info
from torrent_engine.base.errors import SessionError, StorageError
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.content.local_copies import CopyPorts, LocalCopies
from torrent_engine.engine.content.piece_sharing import OpenSource, SharedRange
from torrent_engine.engine.content.shared_content import SharedContent
from torrent_engine.policy.pieces.picker import Picker
from torrent_engine.policy.pieces.piece_table import PieceState, PieceTable

pytestmark = pytest.mark.anyio

DATA = payload_of(3 * PIECE_BYTES - 5, 1)
OTHER = payload_of(2 * PIECE_BYTES, 2)
FILES = {"a": DATA, "b": OTHER, "c": DATA}  # pieces 0 to 2, 3 and 4, 5 to 7
PATIENCE_S = 50.0


def v2(files: dict[str, bytes], piece_bytes: int = PIECE_BYTES) -> Metainfo:
    return Metainfo.from_bytes(torrent_around(*v2_info(files, piece_bytes=piece_bytes)))


def hybrid(files: dict[str, bytes]) -> Metainfo:
    return Metainfo.from_bytes(torrent_around(*hybrid_info(files)))


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

    def __post_init__(self) -> None:
        geometry = self.metainfo.geometry
        self.table = PieceTable(geometry)
        self.picker = Picker(geometry, self.table, random.Random(1))
        torrent: Any = SimpleNamespace(metainfo=self.metainfo, table=self.table, picker=self.picker)
        finisher: Any = SimpleNamespace(
            wait_for_room=anyio.lowlevel.checkpoint,
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

    async def _read(self, offset: int, into: memoryview) -> None:
        await anyio.lowlevel.checkpoint()
        if self.read_error is not None:
            raise self.read_error
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
            assert target.asked_again == 1
            assert await target.wait_written(1) == [bad[0].piece]
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
        assert len(await node.wait_written(999)) == 999


async def test_who_has_left_is_no_source() -> None:
    content = SharedContent()
    source, target = Node(v2(FILES), content), Node(v2(FILES), content)
    source.table.found(0)
    async with source.running():
        pass
    async with target.running():
        assert target.missing() == list(range(8))
        assert not list(content.groups(source.copies))


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
