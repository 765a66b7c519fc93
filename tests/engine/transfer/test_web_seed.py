"""One web seed with everything around it played: what it waits for, gives back and stops."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.support.rude_server import response
from tests.support.swarm import until
from tests.support.torrents import info_dict, make_torrent, payload_of
from tests.support.web_server import Asked, web_server
from torrent_engine.base.config import SharedConfig, TrackerConfig, WebSeedConfig
from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.codec.bencode import encode
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.stats import WebSeedState
from torrent_engine.engine.swarm.context import Totals
from torrent_engine.engine.transfer.web_seed import WebSeed, WebSeedParts
from torrent_engine.engine.transfer.web_seed_fetch import (
    BEP_OF_FILES,
    READ_BYTES,
    FileMissingError,
    PaidReads,
    WebSeedFetch,
)
from torrent_engine.net.http.client import HttpClient
from torrent_engine.policy.pieces.deadlines import Deadlines
from torrent_engine.policy.pieces.piece_table import Block
from torrent_engine.policy.pieces.web_seed_plan import Views

pytestmark = pytest.mark.anyio

BLOCKS = 16
PAYLOAD = payload_of(BLOCKS * BLOCK_BYTES)
METAINFO, _ = make_torrent(PAYLOAD, piece_bytes=4 * BLOCK_BYTES)
ALL: list[Block] = [(p, b * BLOCK_BYTES, BLOCK_BYTES) for p in range(4) for b in range(4)]


class Downloads:
    """A download manager that has a list of contiguous_runs to give away."""

    def __init__(self, *contiguous_runs: list[Block]) -> None:
        self.is_active = True
        self.has_duplicates = False
        self.left = list(contiguous_runs)
        self.got: list[Block] = []
        self.given_up: list[list[Block]] = []

    def pick_range(self, *_: object) -> list[Block]:
        return self.left.pop(0) if self.left else []

    def on_block(self, _sender: object, event: Any) -> None:
        self.got.append((event.piece_index, event.begin_bytes, event.length_bytes))

    def give_up(self, _sender: object, blocks: Sequence[Block]) -> None:
        self.given_up.append(list(blocks))

    def count_held(self, _received_bytes: int) -> None:
        pass

    def needs_any(self, blocks: Sequence[Block]) -> bool:
        return bool(set(blocks) - set(self.got))


class Gate:
    """A disk queue that a test opens."""

    def __init__(self) -> None:
        self.full = False
        self.room = anyio.Event()
        self.waiting = 0

    async def wait_for_room(self) -> None:
        self.waiting += 1
        await self.room.wait()


def make_seed(
    url: str,
    downloads: Downloads,
    gate: Gate | None = None,
    *,
    clock: Callable[[], float] = anyio.current_time,
    has_others: Callable[[], bool] = lambda: False,
    **limits: Any,
) -> WebSeed:
    config = WebSeedConfig(allow_local=True, **limits)
    published: list[object] = []
    torrent: Any = SimpleNamespace(
        metainfo=METAINFO,
        shared_config=SharedConfig(web_seed=config),
        clock=clock,
        bus=SimpleNamespace(publish=published.append),
        table=SimpleNamespace(missing=0b1111),
        picker=SimpleNamespace(wanted=0b1111, partials={}, deadlines=Deadlines()),
        totals=Totals(),
    )
    fake_downloads: Any = downloads
    no_limit: Any = SimpleNamespace(add_web_seed=lambda _seed: None)
    parts = WebSeedParts(
        torrent=torrent,
        downloads=fake_downloads,
        http=HttpClient(TrackerConfig()),
        gate=gate or Gate(),
        bandwidth=no_limit,
        has_others=has_others,
    )
    return WebSeed(url, BEP_OF_FILES, parts)


def awake(seed: WebSeed, condition: Callable[[], bool]) -> Callable[[], bool]:
    """Return a condition that wakes a web seed whenever it is looked at."""

    def look() -> bool:
        seed.wake()
        return condition()

    return look


async def test_blocks_arrive_and_nothing_is_given_up_but_at_the_end() -> None:
    downloads = Downloads(ALL[:8], ALL[8:])
    async with web_server({"/x": PAYLOAD}) as server, anyio.create_task_group() as tasks:
        seed = make_seed(f"{server.base}/x", downloads)
        tasks.start_soon(seed.run)
        await until(lambda: len(downloads.got) == BLOCKS)
        assert downloads.given_up == []
        tasks.cancel_scope.cancel()
    assert downloads.got == ALL
    assert downloads.given_up == [[]]  # what was reserved for it


async def test_nothing_is_read_while_the_disk_lags_behind() -> None:
    downloads, gate = Downloads(ALL), Gate()
    gate.full = True
    async with web_server({"/x": PAYLOAD}) as server, anyio.create_task_group() as tasks:
        tasks.start_soon(make_seed(f"{server.base}/x", downloads, gate).run)
        await until(lambda: gate.waiting)
        assert downloads.got == []
        gate.full = False
        gate.room.set()
        await until(lambda: len(downloads.got) == BLOCKS)
        tasks.cancel_scope.cancel()
    assert len(server.asked) == 1


@pytest.mark.parametrize("is_banned", [False, True], ids=["stopped", "banned"])
async def test_what_it_owes_when_it_ends_is_given_up(*, is_banned: bool) -> None:
    downloads, gate = Downloads(ALL[:8], ALL[8:]), Gate()
    async with web_server({"/x": PAYLOAD}) as server, anyio.create_task_group() as tasks:
        seed = make_seed(f"{server.base}/x", downloads, gate)
        tasks.start_soon(seed.run)
        await until(lambda: len(downloads.got) == BLOCKS)
        downloads.left = [ALL[:8]]
        gate.full = True
        seed.wake()
        await until(lambda: gate.waiting)
        if is_banned:
            seed.ban()
            assert downloads.given_up == [ALL[:8]]  # at once
            await until(lambda: not seed.is_open)
        tasks.cancel_scope.cancel()
    assert downloads.given_up[0] == ALL[:8]
    assert seed.is_over == is_banned
    assert (seed.stats(0.0).state is WebSeedState.BANNED) == is_banned


async def test_a_request_ends_when_others_sent_the_rest() -> None:
    downloads = Downloads(ALL)
    downloads.has_duplicates = True
    downloads.got = ALL[1:]
    async with web_server({"/x": PAYLOAD}) as server, anyio.create_task_group() as tasks:
        seed = make_seed(f"{server.base}/x", downloads)
        tasks.start_soon(seed.run)
        await until(lambda: downloads.given_up)
        tasks.cancel_scope.cancel()
    assert downloads.got.count(ALL[0]) == 1
    assert len(downloads.got) < 2 * BLOCKS - 1  # not all of them twice
    assert downloads.given_up[0][-1] == ALL[-1]
    assert seed.stats(0.0).error == ""


async def test_only_one_request_runs_until_it_is_known_to_work() -> None:
    downloads = Downloads(*([block] for block in ALL))

    def failing(_asked: Asked) -> bytes:
        return response(status=500)

    async with web_server({}, answer=failing) as server:
        seed = make_seed(f"{server.base}/x", downloads, backoff_first_s=100.0)
        with anyio.fail_after(30):
            await seed.run()  # it returns when it has to rest
    assert len(server.asked) == 1
    assert downloads.given_up == [[ALL[0]], []]
    assert seed.stats(anyio.current_time()).state is WebSeedState.WAITING


async def test_requests_that_fail_together_count_once() -> None:
    downloads = Downloads([ALL[0]], *([block] for block in ALL[1:5]))
    async with web_server({"/x": PAYLOAD}) as server:

        def failing_later(asked: Asked) -> bytes:
            if len(server.asked) == 1:
                return server.file_answer(asked)
            return response(status=500)

        server.answer = failing_later
        seed = make_seed(f"{server.base}/x", downloads, backoff_first_s=100.0)
        now = anyio.current_time()
        with anyio.fail_after(30):
            await seed.run()
    assert 90 < seed.quiet_until_s - now < 110


async def test_a_request_that_outlasts_the_rest_after_a_failure_does_not_go_on_alone() -> None:
    now, others = 0.0, False
    downloads, gate = Downloads([ALL[0]], [ALL[1]], [ALL[2]]), Gate()
    async with web_server({"/x": PAYLOAD}) as server, anyio.create_task_group() as tasks:

        def failing_once(asked: Asked) -> bytes:
            if asked.first == BLOCK_BYTES and not seed.quiet_until_s:
                return response(status=500)
            gate.full = asked.first != 0
            return server.file_answer(asked)

        server.answer = failing_once
        seed = make_seed(
            f"{server.base}/x",
            downloads,
            gate,
            clock=lambda: now,
            has_others=lambda: others,
            backoff_first_s=1.0,
        )
        ended = anyio.Event()

        async def run() -> None:
            await seed.run()
            ended.set()

        tasks.start_soon(run)
        await until(lambda: gate.waiting == 1 and seed.quiet_until_s == 1.0)
        downloads.left = [[block] for block in ALL[3:6]]
        seed.wake()
        await anyio.wait_all_tasks_blocked()
        assert len(downloads.left) == 3  # it rests
        now = 1.0
        await until(awake(seed, lambda: gate.waiting == 4))  # four at once as before
        others, gate.full = True, False
        gate.room.set()
        await until(awake(seed, ended.is_set))  # another one has its turn
    assert sorted(downloads.got) == [ALL[0], *ALL[2:6]]
    assert not seed.is_open


async def test_an_answer_that_breaks_off_after_some_blocks_is_no_failure_in_a_row() -> None:
    now, downloads = 0.0, Downloads()

    def half(asked: Asked) -> bytes:
        assert asked.first is not None
        head = f"Content-Range: bytes {asked.first}-{asked.last}/{len(PAYLOAD)}\r\n"
        head = f"HTTP/1.1 206 x\r\n{head}Transfer-Encoding: chunked\r\n\r\n"
        body = PAYLOAD[asked.first : asked.first + BLOCK_BYTES]
        return head.encode() + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)

    async with web_server({}, answer=half) as server:
        seed = make_seed(f"{server.base}/x", downloads, clock=lambda: now, backoff_first_s=1.0)
        for number in range(12):
            downloads.left, now = [ALL[number : number + 2]], float(number)
            with anyio.fail_after(30):
                await seed.run()
            assert seed.quiet_until_s == number + 1.0
    assert downloads.got == ALL[:12]


class Receiver:
    """What becomes of bytes in the tests of the fetching alone."""

    def __init__(self) -> None:
        self.blocks: list[tuple[Block, bytes]] = []
        self.received_bytes = self.looks = self.payments = 0

    async def has_room(self) -> None:
        self.looks += 1
        await anyio.lowlevel.checkpoint()

    async def ready(self) -> None:
        self.payments += 1
        await anyio.lowlevel.checkpoint()

    def was_read(self, count_bytes: int) -> None:
        raise NotImplementedError

    def received(self, count_bytes: int) -> None:
        self.received_bytes += count_bytes

    def deliver(self, block: Block, views: Views) -> None:
        self.blocks.append((block, b"".join(views)))

    def needs_any(self, _blocks: Sequence[Block]) -> bool:
        return True


async def test_bep47_what_a_pad_file_holds_is_zeros_and_no_payload() -> None:
    files: list[Any] = [
        {"length": 10, "path": ["a"]},
        {"length": BLOCK_BYTES * 3 - 10, "path": ["pad"], "attr": "p"},
        {"length": 5, "path": ["b"]},
    ]
    content = b"a" * 10 + bytes(BLOCK_BYTES * 3 - 10) + b"b" * 5
    info, _ = info_dict(content, piece_bytes=4 * BLOCK_BYTES)
    del info["length"]
    metainfo = Metainfo.from_info_bytes(encode({**info, "files": files}))

    class Server:
        async def fetch_range(self, url: str, span: Any, sink: Any) -> None:
            sink.take(memoryview(url[-1].encode() * span.length_bytes))

    receiver, server = Receiver(), Server()
    blocks: list[Block] = [(0, n * BLOCK_BYTES, BLOCK_BYTES) for n in range(3)]
    fetch = WebSeedFetch(metainfo, "http://w/", BEP_OF_FILES, server)  # type: ignore[arg-type]
    await fetch.fetch([*blocks, (0, 3 * BLOCK_BYTES, 5)], receiver)
    assert b"".join(data for _, data in receiver.blocks) == content
    assert receiver.received_bytes == 15
    assert (receiver.looks, receiver.payments) == (1, 0), "nobody pays for what is not read"


async def test_a_file_with_too_long_a_url_is_lacking_and_no_failure_of_the_server() -> None:
    names = ["長い名前" * 20] * 6
    info, _ = info_dict(b"x" * 10, piece_bytes=BLOCK_BYTES)
    del info["length"]
    metainfo = Metainfo.from_info_bytes(
        encode({**info, "files": [{"length": 10, "path": [*names, "a"]}]})
    )
    fetch = WebSeedFetch(metainfo, "http://w/", BEP_OF_FILES, None)  # type: ignore[arg-type]
    with pytest.raises(FileMissingError, match="too long") as caught:
        await fetch.fetch([(0, 0, 10)], Receiver())
    assert caught.value.file_index == 0


class Payments:
    """A rate limit that gives what is asked for, and counts it."""

    def __init__(self) -> None:
        self.paid_bytes = 0

    async def acquire(self, count_bytes: int) -> int:
        self.paid_bytes += count_bytes
        await anyio.lowlevel.checkpoint()
        return count_bytes


async def test_a_read_costs_what_it_brought_also_if_it_failed() -> None:
    reads, payments = PaidReads(), Payments()
    reads.throttle = payments  # type: ignore[assignment]
    for count_bytes in (1_000, 0, READ_BYTES, 16):
        await reads.pay()
        reads.end(count_bytes)
    await reads.pay()
    assert payments.paid_bytes == READ_BYTES + 1_016
    reads.throttle = None
    await reads.pay()
    reads.end(5)
    assert payments.paid_bytes == READ_BYTES + 1_016


async def test_f10_a_bug_in_a_request_is_a_failure_of_that_web_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(*_arguments: object) -> None:
        await anyio.lowlevel.checkpoint()
        raise ValueError("a bug")

    monkeypatch.setattr(WebSeedFetch, "fetch", fail)
    downloads = Downloads(ALL[:2])
    seed = make_seed("http://w/x", downloads, clock=lambda: 0.0, backoff_first_s=1.0)
    with anyio.fail_after(30):
        await seed.run()
    assert (seed.quiet_until_s, seed.stats(0.0).error) == (
        1.0,
        "internal error: ValueError('a bug')",
    )
    assert downloads.given_up[0] == ALL[:2]
