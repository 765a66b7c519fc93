"""The depth of a request pipeline, on simulated peers and virtual time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.config import TransferConfig
from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.policy.rate import RateMeter
from torrent_engine.policy.transfer.request_pipeline import PEER_DEFAULT_REQQ, RequestPipeline

CONFIG = TransferConfig()
STEP_S = 0.05


class Link:
    """A peer that holds a queue, answers all of it at intervals, and may have a bandwidth."""

    def __init__(
        self,
        pipeline: RequestPipeline,
        *,
        answers_every_s: float,
        blocks_per_s: float = float("inf"),
    ) -> None:
        self.pipeline = pipeline
        self.meter = RateMeter()
        self.answers_every_s, self.blocks_per_s = answers_every_s, blocks_per_s
        self.now = 100.0
        self.step = 0
        self.is_choking = False
        self.waiting: list[int] = []  # the step in which each request was sent
        self.credit = 0.0
        self.received = 0

    def run(self, seconds: float) -> int:
        """Let time pass; return how many blocks came."""
        before = self.received
        for _ in range(round(seconds / STEP_S)):
            self._one_step()
        return self.received - before

    def _one_step(self) -> None:
        self.step += 1
        self.now += STEP_S
        self.credit = min(self.credit + self.blocks_per_s * STEP_S, self.blocks_per_s)
        if self.step % round(self.answers_every_s / STEP_S) == 0 and not self.is_choking:
            count = int(min(len(self.waiting), self.credit))
            self.credit -= count
            del self.waiting[:count]
            self.received += count
            self.meter.add(count * BLOCK_BYTES, self.now)
            self.pipeline.blocks_received(count)
        if self.step % round(1 / STEP_S) == 0:
            self.pipeline.tick(self.meter.rate(self.now))
        if not self.is_choking:
            self.waiting += [self.step] * (self.pipeline.depth - len(self.waiting))

    def choke(self) -> None:
        self.is_choking = True
        self.waiting.clear()

    def unchoke(self) -> None:
        self.is_choking = False


def test_pipeline_starts_small() -> None:
    assert RequestPipeline(CONFIG).depth == CONFIG.min_outstanding_requests


def test_slow_start_grows_by_what_arrives() -> None:
    pipeline = RequestPipeline(CONFIG)
    pipeline.blocks_received(4)
    assert pipeline.depth == 8
    pipeline.blocks_received(8)
    assert pipeline.depth == 16


@pytest.mark.parametrize("reqq", [100, 250, 400])
def test_seed_that_answers_twice_a_second_reaches_its_reqq_within_five_seconds(reqq: int) -> None:
    pipeline = RequestPipeline(CONFIG)
    pipeline.peer_reqq(reqq)
    link = Link(pipeline, answers_every_s=0.5)
    link.run(5)
    assert pipeline.depth == reqq
    assert link.run(20) == 40 * reqq  # and stays there: depth decides the rate


def test_seed_that_answers_twice_a_second_reaches_our_own_limit() -> None:
    pipeline = RequestPipeline(CONFIG)
    pipeline.peer_reqq(100_000)
    link = Link(pipeline, answers_every_s=0.5)
    link.run(6)
    assert pipeline.depth == CONFIG.max_outstanding_requests


@pytest.mark.parametrize("blocks_per_s", [20, 60, 100])
def test_slow_link_holds_the_configured_seconds_of_its_rate(blocks_per_s: int) -> None:
    pipeline = RequestPipeline(CONFIG)
    link = Link(pipeline, answers_every_s=0.05, blocks_per_s=blocks_per_s)
    link.run(30)
    wanted = min(blocks_per_s * CONFIG.request_queue_s, PEER_DEFAULT_REQQ)
    assert pipeline.depth == pytest.approx(wanted, rel=0.1)
    assert link.run(10) == pytest.approx(10 * blocks_per_s, rel=0.1)


def test_link_that_slows_down_holds_fewer_requests() -> None:
    pipeline = RequestPipeline(CONFIG)
    link = Link(pipeline, answers_every_s=0.05, blocks_per_s=80)
    link.run(20)
    link.blocks_per_s = 10
    link.run(60)
    assert pipeline.depth <= 10 * CONFIG.request_queue_s * 1.2


def test_pipeline_starts_anew_after_a_long_choke() -> None:
    pipeline = RequestPipeline(CONFIG)
    link = Link(pipeline, answers_every_s=0.5)
    link.run(6)
    link.choke()
    link.run(30)
    assert pipeline.depth == CONFIG.min_outstanding_requests
    link.unchoke()
    link.run(5)
    assert pipeline.depth == PEER_DEFAULT_REQQ


def test_idle_seconds_before_the_first_block_change_nothing() -> None:
    pipeline = RequestPipeline(CONFIG)
    for _ in range(20):
        pipeline.tick(0.0)
    assert pipeline.depth == CONFIG.min_outstanding_requests
    pipeline.blocks_received(4)
    assert pipeline.depth == 8


def test_bep10_reqq_cuts_the_depth_at_once() -> None:
    pipeline = RequestPipeline(CONFIG)
    pipeline.blocks_received(300)
    assert pipeline.depth == PEER_DEFAULT_REQQ
    pipeline.peer_reqq(50)
    assert pipeline.depth == 50


@pytest.mark.parametrize(("reqq", "depth"), [(-7, 1), (0, 1), (1, 1), (3, 3), (2**63, 4)])
def test_bep10_odd_reqq_leaves_at_least_one_request(reqq: int, depth: int) -> None:
    pipeline = RequestPipeline(CONFIG)
    pipeline.peer_reqq(reqq)
    assert pipeline.depth == depth
    pipeline.tick(0.0)
    assert pipeline.depth == depth


def test_snubbing_peer_is_tried_with_one_request_until_a_block_comes() -> None:
    pipeline = RequestPipeline(CONFIG)
    pipeline.blocks_received(100)
    pipeline.snubbed()
    assert (pipeline.depth, pipeline.is_snubbed) == (1, True)
    pipeline.tick(1e6)
    pipeline.blocks_received(0)  # a read without a block
    pipeline.peer_reqq(400)
    assert (pipeline.depth, pipeline.is_snubbed) == (1, True)
    pipeline.blocks_received(1)
    assert (pipeline.depth, pipeline.is_snubbed) == (CONFIG.min_outstanding_requests, False)


def test_snubbed_peer_that_recovers_comes_back_to_full_depth() -> None:
    pipeline = RequestPipeline(CONFIG)
    link = Link(pipeline, answers_every_s=0.5)
    link.run(6)
    link.choke()
    link.run(60)
    pipeline.snubbed()
    link.unchoke()
    link.run(6)
    assert pipeline.depth == PEER_DEFAULT_REQQ


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("blocks_received"), st.integers(0, 5_000)),
            st.tuples(st.just("tick"), st.floats(0, 1e10)),
            st.tuples(st.just("peer_reqq"), st.integers(-(2**63), 2**63)),
            st.tuples(st.just("snubbed"), st.none()),
        ),
        max_size=40,
    )
)
def test_depth_stays_within_its_bounds(calls: list[tuple[str, float | None]]) -> None:
    pipeline, reqq = RequestPipeline(CONFIG), PEER_DEFAULT_REQQ
    for name, argument in calls:
        getattr(pipeline, name)(*(() if argument is None else (argument,)))
        if name == "peer_reqq":
            assert isinstance(argument, int)
            reqq = max(1, argument)
        assert 1 <= pipeline.depth <= min(reqq, CONFIG.max_outstanding_requests)
        if pipeline.is_snubbed:
            assert pipeline.depth == 1
        else:
            assert pipeline.depth >= min(CONFIG.min_outstanding_requests, reqq)


def test_under_a_rate_limit_little_is_asked_for_and_then_as_before() -> None:
    pipeline = RequestPipeline(CONFIG)
    pipeline.blocks_received(100)
    pipeline.hold_back(100 * BLOCK_BYTES)
    pipeline.blocks_received(100)  # no slow start any more
    assert pipeline.depth == 30
    pipeline.tick(100 * BLOCK_BYTES)
    assert pipeline.depth == 30
    pipeline.hold_back(0.0)
    assert pipeline.depth == 1
    pipeline.tick(50 * BLOCK_BYTES)
    pipeline.tick(50 * BLOCK_BYTES)
    assert pipeline.depth == CONFIG.request_queue_s * 50


def test_what_is_held_back_before_the_extension_handshake_is_so_after_it() -> None:
    pipeline = RequestPipeline(CONFIG)
    pipeline.hold_back(0.0)
    pipeline.peer_reqq(250)
    assert pipeline.depth == 1


def test_a_rate_limit_asks_no_more_of_who_is_snubbed_or_has_a_short_queue() -> None:
    pipeline = RequestPipeline(CONFIG)
    pipeline.peer_reqq(10)
    pipeline.hold_back(100 * BLOCK_BYTES)
    assert pipeline.depth == 10
    pipeline.snubbed()
    pipeline.hold_back(100 * BLOCK_BYTES)
    assert pipeline.depth == 1
