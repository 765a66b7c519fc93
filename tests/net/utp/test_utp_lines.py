"""uTP through sockets and bad lines: whatever a line does, the bytes arrive as they were sent."""

import random

import anyio
import pytest

from tests.support.shaper import LinkShape, Pipe, shaped
from tests.support.utp_nodes import PATIENCE_S, exchange, read_exactly, send_all, utp_node

pytestmark = pytest.mark.anyio

MBIT_20 = 2_500_000
LINES = {
    "good": LinkShape(delay_s=0.01),
    "1_percent_lost": LinkShape(delay_s=0.025, loss=0.01, rate_bytes_per_s=MBIT_20),
    "5_percent_lost": LinkShape(delay_s=0.05, loss=0.05, rate_bytes_per_s=MBIT_20),
    "20_percent_lost": LinkShape(delay_s=0.02, loss=0.2),
    "twice_and_out_of_order": LinkShape(delay_s=0.01, duplicates=0.1, reorders=0.1),
    "jitter": LinkShape(delay_s=0.01, jitter_s=0.05),
    "short_queue": LinkShape(delay_s=0.02, rate_bytes_per_s=500_000, queue_bytes=8_000),
    "everything": LinkShape(
        delay_s=0.03, jitter_s=0.03, loss=0.08, duplicates=0.05, reorders=0.05, reorder_s=0.04
    ),
}


@pytest.mark.parametrize("shape", LINES.values(), ids=LINES.keys())
async def test_bep29_bytes_arrive_over_a_bad_line(shape: LinkShape) -> None:
    data = [random.Random(1).randbytes(150_000), random.Random(2).randbytes(60_000)]
    async with utp_node() as ours, utp_node(seed=2) as theirs:
        async with shaped(theirs.address, shape) as line:
            with anyio.fail_after(PATIENCE_S):
                first = await ours.service.dial(line.address, PATIENCE_S)
                await send_all(first, b"hello")
                second = await theirs.next_accepted()
                assert await read_exactly(second, 5) == b"hello"
                assert await exchange(first, second, data) == data
                first.close()
                assert await read_exactly(second, 1) == b""
        assert all(pipe.passed for pipe in line.pipes)


def test_the_same_seed_is_the_same_line() -> None:
    def run(seed: int) -> list[bytes]:
        pipe = Pipe(LINES["everything"], seed)
        for number in range(200):
            pipe.push(bytes([number]), number / 1_000)
        return pipe.pop(100.0)

    assert run(1) == run(1) != run(2)


def test_a_rate_lets_so_much_pass_and_its_queue_no_more_wait() -> None:
    pipe = Pipe(LinkShape(delay_s=1.0, rate_bytes_per_s=1_000, queue_bytes=2_000), 1)
    for _ in range(10):
        pipe.push(bytes(500), 0.0)
    assert pipe.lost == 5
    assert pipe.next_s() == 1.5
    assert [len(pipe.pop(now)) for now in (1.4, 1.5, 2.0, 9.0)] == [0, 1, 1, 3]


def test_without_faults_everything_passes_once_and_in_order() -> None:
    pipe = Pipe(LinkShape(delay_s=0.5, jitter_s=0.5), 1)
    for number in range(100):
        pipe.push(bytes([number]), number / 100)
    assert pipe.pop(0.4) == []
    assert pipe.pop(5.0) == [bytes([number]) for number in range(100)]
    assert (pipe.passed, pipe.lost, pipe.next_s()) == (100, 0, None)
