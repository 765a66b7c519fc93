"""What happens to the requests, cancels and floods of a peer that downloads from us (row B4)."""

import tracemalloc
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.cpu_time import cpu_time
from tests.support.peer_pair import GEOMETRY, feed, open_connection, sent
from torrent_engine.base.config import KIB, WireLimits
from torrent_engine.base.ids import BLOCK_BYTES, PieceIndex
from torrent_engine.codec.geometry import FileLayout, Geometry
from torrent_engine.protocol.wire.connection import PeerConnection
from torrent_engine.protocol.wire.messages import (
    BlockRequest,
    BlocksRequested,
    MessageId,
    PeerEvent,
    PeerHas,
    PeerInterested,
    ProtocolViolated,
    RequestCancelled,
    encode_block_message,
    encode_piece_header,
    encode_piece_index,
    encode_plain,
)
from torrent_engine.protocol.wire.upload_queue import (
    FAIR_REQUESTS,
    MAX_SHARED_REQUESTS,
    RequestBudget,
    UploadQueue,
)

M = MessageId
BIG = Geometry(total_bytes=10_000 * BLOCK_BYTES, piece_bytes=BLOCK_BYTES)
FIRST = BlockRequest(0, 0, BLOCK_BYTES)
SECOND = BlockRequest(0, BLOCK_BYTES, BLOCK_BYTES)
CHOKE = encode_plain(M.CHOKE)
UNCHOKE = encode_plain(M.UNCHOKE)


def ask(*requests: BlockRequest) -> bytes:
    return b"".join(encode_block_message(M.REQUEST, each) for each in requests)


def cancel(*requests: BlockRequest) -> bytes:
    return b"".join(encode_block_message(M.CANCEL, each) for each in requests)


def rejects(*requests: BlockRequest) -> bytes:
    return b"".join(encode_block_message(M.REJECT_REQUEST, each) for each in requests)


def many(count: int) -> list[BlockRequest]:
    return [BlockRequest(piece, 0, BLOCK_BYTES) for piece in range(count)]


def accepted(events: Sequence[PeerEvent]) -> list[BlockRequest]:
    return [r for event in events if isinstance(event, BlocksRequested) for r in event.requests]


def test_bep3_requests_of_one_read_are_one_event_and_wait_in_order() -> None:
    connection = open_connection()
    connection.sender.unchoke()
    events = feed(connection, ask(FIRST, SECOND))
    assert events == [BlocksRequested((FIRST, SECOND))]
    assert list(connection.upload_requests) == [FIRST, SECOND]


def test_bep3_message_between_requests_keeps_its_place() -> None:
    connection = open_connection()
    connection.sender.unchoke()
    events = feed(connection, ask(FIRST) + encode_piece_index(M.HAVE, 3) + ask(SECOND))
    assert events == [
        BlocksRequested((FIRST,)),
        PeerHas(PieceIndex(3)),
        BlocksRequested((SECOND,)),
    ]


def test_bep3_short_message_at_the_end_of_a_read_comes_after_the_requests() -> None:
    connection = open_connection()
    connection.sender.unchoke()
    events = feed(connection, ask(FIRST, SECOND) + encode_plain(M.INTERESTED))
    assert events == [BlocksRequested((FIRST, SECOND)), PeerInterested()]


def test_bep3_last_block_of_the_torrent_may_be_requested_to_its_last_byte() -> None:
    connection = open_connection()
    connection.sender.unchoke()
    last = BlockRequest(10, 16_384, 3_616)
    assert accepted(feed(connection, ask(last))) == [last]


def test_bep6_equal_requests_get_an_answer_each() -> None:
    connection = open_connection()
    connection.sender.unchoke()
    events = feed(connection, ask(FIRST, SECOND, FIRST, FIRST))
    assert accepted(events) == [FIRST, SECOND, FIRST, FIRST]
    assert sent(connection) == UNCHOKE
    queue = connection.upload_requests
    assert [queue.popleft() for _ in range(len(queue))] == [FIRST, SECOND, FIRST, FIRST]
    assert not queue


def test_bep6_equal_requests_are_rejected_each_when_they_are_cancelled_or_choked() -> None:
    connection = open_connection()
    connection.sender.unchoke()
    feed(connection, ask(FIRST, FIRST, FIRST))
    sent(connection)
    cancel = encode_block_message(M.CANCEL, FIRST)
    refusal = encode_block_message(M.REJECT_REQUEST, FIRST)
    feed(connection, cancel)
    assert sent(connection) == refusal
    assert connection.sender.choke() == (FIRST, FIRST)
    assert sent(connection) == encode_plain(M.CHOKE) + refusal * 2
    feed(connection, cancel)
    assert sent(connection) == b""


def test_b4_equal_requests_are_counted_and_never_more_than_may_wait() -> None:
    connection = open_connection(limits=WireLimits(max_queued_requests=5))
    connection.sender.unchoke()
    sent(connection)
    feed(connection, ask(*[FIRST] * 8))
    assert len(connection.upload_requests) == 5
    assert sent(connection) == encode_block_message(M.REJECT_REQUEST, FIRST) * 3


def test_bep6_request_longer_than_a_block_is_rejected() -> None:
    connection = open_connection()
    connection.sender.unchoke()
    long = BlockRequest(0, 0, BLOCK_BYTES + 1)
    assert feed(connection, ask(long)) == []
    assert sent(connection) == UNCHOKE + rejects(long)


def test_bep6_request_while_choked_is_rejected() -> None:
    connection = open_connection()
    assert feed(connection, ask(FIRST)) == []
    assert sent(connection) == rejects(FIRST)
    assert not connection.upload_requests


def test_bep3_request_while_choked_is_dropped_without_a_word() -> None:
    connection = open_connection(fast=False)
    assert feed(connection, ask(FIRST)) == []
    assert not connection.has_data_to_send


def test_bep6_choke_comes_before_the_rejects_of_all_that_waited() -> None:
    connection = open_connection()
    connection.sender.unchoke()
    feed(connection, ask(FIRST, SECOND))
    connection.data_to_send()
    assert connection.sender.choke() == (FIRST, SECOND)
    assert sent(connection) == CHOKE + rejects(FIRST, SECOND)
    assert not connection.upload_requests


def test_bep3_choke_without_fast_drops_what_waited_without_a_word() -> None:
    connection = open_connection(fast=False)
    connection.sender.unchoke()
    feed(connection, ask(FIRST))
    connection.data_to_send()
    assert connection.sender.choke() == (FIRST,)
    assert sent(connection) == CHOKE


@pytest.mark.parametrize("fast", [False, True], ids=["BEP 3", "BEP 6"])
def test_a_request_that_is_dropped_for_a_choke_is_answered_whatever_follows(*, fast: bool) -> None:
    connection = open_connection(fast=fast)
    connection.sender.unchoke()
    sent(connection)
    connection.sender.choke()  # waits: the socket is full
    assert feed(connection, ask(FIRST)) == []
    connection.sender.unchoke()
    assert sent(connection) == (rejects(FIRST) if fast else CHOKE + UNCHOKE)
    connection.sender.choke()
    connection.sender.unchoke()
    assert not connection.has_data_to_send  # nothing was dropped for this one


def test_bep6_choke_keeps_requests_of_allowed_fast_pieces() -> None:
    connection = open_connection()
    connection.sender.allow_fast([4])
    connection.sender.unchoke()
    free = BlockRequest(4, 0, BLOCK_BYTES)
    feed(connection, ask(FIRST, free, SECOND))
    connection.data_to_send()
    assert connection.sender.choke() == (FIRST, SECOND)
    assert list(connection.upload_requests) == [free]
    assert sent(connection) == CHOKE + rejects(FIRST, SECOND)


def test_bep3_choke_and_unchoke_are_said_once() -> None:
    connection = open_connection()
    assert connection.sender.choke() == ()
    assert not connection.has_data_to_send
    connection.sender.unchoke()
    connection.sender.unchoke()
    assert sent(connection) == UNCHOKE


def test_bep6_allowed_fast_piece_may_be_requested_while_choked() -> None:
    connection = open_connection()
    connection.sender.allow_fast([4, 5])
    allowed = encode_piece_index(M.ALLOWED_FAST, 4) + encode_piece_index(M.ALLOWED_FAST, 5)
    assert sent(connection) == allowed
    free = BlockRequest(5, 0, BLOCK_BYTES)
    assert accepted(feed(connection, ask(free))) == [free]


def test_b4_allowed_fast_piece_is_given_three_times_at_most() -> None:
    connection = open_connection()
    connection.sender.allow_fast([4])
    blocks = [BlockRequest(4, begin, BLOCK_BYTES) for begin in range(0, 64 * KIB, BLOCK_BYTES)]
    for _ in range(3):
        assert accepted(feed(connection, ask(*blocks))) == blocks
        connection.upload_requests.clear()
    connection.data_to_send()
    assert feed(connection, ask(*blocks)) == []
    assert sent(connection) == rejects(*blocks)


def test_bep6_cancel_of_a_waiting_request_is_answered_by_a_reject() -> None:
    connection = open_connection()
    connection.sender.unchoke()
    feed(connection, ask(FIRST, SECOND))
    connection.data_to_send()
    assert feed(connection, cancel(FIRST)) == [RequestCancelled(FIRST)]
    assert sent(connection) == rejects(FIRST)
    assert list(connection.upload_requests) == [SECOND]


def test_bep3_cancel_without_fast_is_not_answered() -> None:
    connection = open_connection(fast=False)
    connection.sender.unchoke()
    feed(connection, ask(FIRST))
    connection.data_to_send()
    assert feed(connection, cancel(FIRST)) == [RequestCancelled(FIRST)]
    assert not connection.has_data_to_send


@pytest.mark.parametrize("fast", [True, False])
def test_bep3_cancel_that_crosses_the_block_is_no_offence(fast: bool) -> None:
    connection = open_connection(fast=fast)
    connection.sender.unchoke()
    feed(connection, ask(FIRST))
    connection.upload_requests.popleft()
    connection.sender.send_block(*FIRST[:2], memoryview(bytes(BLOCK_BYTES)))
    connection.data_to_send()
    assert feed(connection, cancel(FIRST)) == []
    assert not connection.has_data_to_send  # BEP 6: the block was the one response


def test_b4_request_beyond_2000_is_rejected_and_the_queue_stays() -> None:
    connection = open_connection(geometry=BIG)
    connection.sender.unchoke()
    connection.data_to_send()
    events = feed(connection, ask(*many(2_005)))
    assert accepted(events) == many(2_000)
    assert len(connection.upload_requests) == 2_000
    assert sent(connection) == rejects(*many(2_005)[2_000:])


def test_b4_request_beyond_2000_without_fast_is_dropped() -> None:
    connection = open_connection(geometry=BIG, fast=False)
    connection.sender.unchoke()
    connection.data_to_send()
    assert len(accepted(feed(connection, ask(*many(2_005))))) == 2_000
    assert not connection.has_data_to_send


def test_b4_requests_without_end_and_rejects_unread_end_the_connection() -> None:
    connection = open_connection(geometry=BIG)
    connection.sender.unchoke()
    events = feed(connection, ask(*many(10_000)))
    assert isinstance(events[-1], ProtocolViolated)
    assert events[-1].error.bep == 6
    assert len(sent(connection)) <= 17 * 4_001 + 5


def test_b4_rejects_that_are_read_may_go_on() -> None:
    connection = open_connection(geometry=BIG)
    connection.sender.unchoke()
    feed(connection, ask(*many(2_000)))
    for _ in range(5):
        events = feed(connection, ask(*many(5_000)[2_000:]))
        assert events == []
        assert len(sent(connection)) >= 17 * 3_000


@pytest.mark.parametrize("fast", [True, False])
def test_b4_301st_request_while_choked_ends_the_connection(fast: bool) -> None:
    connection = open_connection(geometry=BIG, fast=fast)
    assert feed(connection, ask(*many(300))) == []
    events = feed(connection, ask(FIRST))
    assert isinstance(events[0], ProtocolViolated)
    assert events[0].error.bep == 3


def test_b4_count_of_choked_requests_begins_anew_after_an_unchoke() -> None:
    connection = open_connection(geometry=BIG)
    feed(connection, ask(*many(300)))
    connection.sender.unchoke()
    connection.sender.choke()
    assert feed(connection, ask(*many(300))) == []


def test_b4_limits_are_settings() -> None:
    limits = WireLimits(max_queued_requests=3, max_choked_requests=1)
    connection = open_connection(geometry=BIG, limits=limits)
    assert feed(connection, ask(FIRST)) == []
    connection.sender.unchoke()
    assert len(accepted(feed(connection, ask(*many(5))))) == 3


@pytest.mark.no_cover
def test_b4_flood_of_cancels_over_a_full_queue_costs_no_more_than_its_bytes() -> None:
    connection = open_connection(geometry=BIG)
    connection.sender.unchoke()
    feed(connection, ask(*many(2_000)))
    stray = cancel(*[BlockRequest(9_999, 0, BLOCK_BYTES)] * 15_000)
    with cpu_time() as spent:
        assert feed(connection, stray) == []
    assert spent.seconds < 0.5  # a search through the queue for each took seconds


def test_bep3_send_block_is_a_header_and_the_very_view() -> None:
    connection = open_connection()
    data = memoryview(bytes(range(200)))
    connection.sender.send_block(2, 16_384, data)
    header, body = connection.data_to_send()
    assert header == bytes.fromhex("000000d1 07 00000002 00004000")
    assert body is data
    assert connection.data_to_send() == []


def test_bep3_many_blocks_are_queued_in_order() -> None:
    connection = open_connection()
    data = memoryview(bytes(range(12)))
    connection.sender.send_blocks([BlockRequest(1, 16_384, 5), BlockRequest(2, 0, 7)], data)
    assert connection.data_to_send() == [
        encode_piece_header(1, 16_384, 5),
        bytes(range(5)),
        encode_piece_header(2, 0, 7),
        bytes(range(5, 12)),
    ]


def test_upload_queue_keeps_order_through_every_operation() -> None:
    queue = UploadQueue()
    assert queue.first() is None
    for request in (FIRST, SECOND, FIRST, BlockRequest(1, 0, 1)):
        queue.append(request)
    assert list(queue) == [FIRST, SECOND, BlockRequest(1, 0, 1), FIRST]
    assert queue.discard(SECOND)
    assert not queue.discard(SECOND)
    assert SECOND not in queue
    assert queue.first() == FIRST
    assert queue.popleft() == FIRST
    assert list(queue) == [BlockRequest(1, 0, 1), FIRST]
    assert len(queue) == 2
    queue.clear()
    assert not queue
    with pytest.raises(KeyError):
        queue.popleft()


@pytest.mark.parametrize(
    ("budget", "count"), [(0, 0), (16_383, 0), (16_384, 1), (49_151, 2), (49_152, 3), (65_536, 3)]
)
def test_upload_queue_gives_out_what_fits_a_budget_however_long(budget: int, count: int) -> None:
    requests = [FIRST, BlockRequest(0, 100, 200), SECOND]
    queue = UploadQueue()
    queue.extend(requests)
    assert queue.take(budget) == requests[:count]
    assert list(queue) == requests[count:]


def test_upload_queue_returns_how_many_requests_waited_already() -> None:
    queue = UploadQueue()
    third = BlockRequest(1, 0, 1)
    assert queue.extend([FIRST, FIRST, SECOND]) == 1
    assert queue.extend([]) == 0
    assert queue.extend([SECOND, third, FIRST]) == 2
    assert queue.take(4 * BLOCK_BYTES) == [FIRST, SECOND, third]
    assert len(queue) == 3
    assert queue.take(4 * BLOCK_BYTES) == [FIRST, SECOND]
    assert queue.take(4 * BLOCK_BYTES) == [FIRST]
    assert not queue


@given(st.lists(st.tuples(st.sampled_from("aedptc"), st.integers(0, 5)), max_size=60))
def test_upload_queue_knows_its_length(operations: list[tuple[str, int]]) -> None:
    budget = RequestBudget()
    UploadQueue(budget).extend(many(7))
    queue = UploadQueue(budget)
    for kind, number in operations:
        request = BlockRequest(number, 0, BLOCK_BYTES)
        if kind == "a":
            queue.append(request)
        elif kind == "e":
            queue.extend([request] * number)
        elif kind == "d":
            queue.discard(request)
        elif kind == "p" and queue:
            queue.popleft()
        elif kind == "t":
            queue.take(number * BLOCK_BYTES)
        elif kind == "c" and number == 0:
            queue.clear()
        assert len(queue) == len(list(queue)) == budget.waiting - 7


@given(
    st.lists(
        st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(1, 16_384))
    )
)
def test_upload_queue_gives_back_what_it_was_given(requests: list[tuple[int, int, int]]) -> None:
    queue, new = UploadQueue(), list(dict.fromkeys(BlockRequest(*each) for each in requests))
    whole = [BlockRequest(piece, begin & ~16_383, BLOCK_BYTES) for piece, begin, _ in new]
    new = list(dict.fromkeys([*new, *whole]))
    queue.extend(new)
    assert list(queue) == new
    assert all(each in queue for each in new)
    assert queue.first() == (new[0] if new else None)
    assert queue.take(len(new) * BLOCK_BYTES) == new
    assert all(isinstance(each, BlockRequest) for each in new)


def test_b5_a_request_that_waits_takes_little_memory() -> None:
    asked = b"".join(ask(BlockRequest(piece, 0, BLOCK_BYTES)) for piece in range(5_000, 7_000))
    connection = unchoked(RequestBudget())
    tracemalloc.start()
    try:
        feed(connection, asked)
        taken_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(connection.upload_requests) == 2_000
    assert taken_bytes < 2_000 * 130 + len(asked)


def unchoked(budget: RequestBudget) -> PeerConnection:
    connection = open_connection(geometry=BIG, requests=budget)
    connection.sender.unchoke()
    connection.data_to_send()
    return connection


def test_b5_once_very_many_requests_wait_each_peer_has_a_fair_part() -> None:
    budget = RequestBudget()
    full = [unchoked(budget) for _ in range(MAX_SHARED_REQUESTS // 2_000)]
    for connection in full:
        feed(connection, ask(*many(2_100)))
        assert len(connection.upload_requests) == 2_000
    late = unchoked(budget)
    assert len(accepted(feed(late, ask(*many(600))))) == FAIR_REQUESTS
    rejected = [encode_block_message(M.REJECT_REQUEST, each) for each in many(600)[FAIR_REQUESTS:]]
    assert b"".join(late.data_to_send()) == b"".join(rejected)
    assert budget.waiting == MAX_SHARED_REQUESTS + FAIR_REQUESTS
    late.upload_requests.take(100 * BLOCK_BYTES)
    assert len(accepted(feed(late, ask(*many(600))))) == 200  # as many as it took, and those
    late.upload_requests.clear()
    feed(late, ask(*many(FAIR_REQUESTS)))
    full[0].close()
    full[1].sender.choke()
    assert budget.waiting == MAX_SHARED_REQUESTS + FAIR_REQUESTS - 2 * 2_000
    assert len(accepted(feed(late, ask(*many(600))))) == 600  # the others take less now


def test_bep6_all_that_waited_is_rejected_by_one_buffer() -> None:
    connection = unchoked(RequestBudget())
    feed(connection, ask(*many(300)))
    connection.sender.choke()
    buffers = connection.data_to_send()
    assert b"".join(buffers[1:]) == b"".join(
        encode_block_message(M.REJECT_REQUEST, each) for each in many(300)
    )
    assert len(buffers) == 2


@pytest.mark.no_cover
def test_f11_the_length_of_an_upload_queue_costs_the_same_with_many_repetitions() -> None:
    queue = UploadQueue()
    for _ in range(2):
        queue.extend(many(1_000))
    with cpu_time() as spent:
        assert sum(len(queue) for _ in range(20_000)) == 2_000 * 20_000
    assert spent.seconds < 0.03  # it was 0.08 s


@pytest.mark.parametrize("chunk_bytes", [1, 17, 100, 4_096])
def test_bep3_requests_in_a_row_keep_their_order_around_other_messages(chunk_bytes: int) -> None:
    connection = open_connection(geometry=BIG)
    connection.sender.unchoke()
    plain = many(20)
    short = BlockRequest(3, 5, 77)
    row = (
        ask(*plain[:8], short, *plain[8:12])
        + encode_plain(M.INTERESTED)
        + ask(*plain[12:], plain[0])
    )
    events = feed(connection, row, chunk_bytes=chunk_bytes)
    assert accepted(events) == [*plain[:8], short, *plain[8:], plain[0]]
    assert list(connection.upload_requests) == [*plain[:8], short, *plain[8:], plain[0]]


def test_bep3_request_out_of_range_in_a_row_leaves_those_before_it() -> None:
    connection = open_connection(geometry=BIG)
    connection.sender.unchoke()
    events = feed(connection, ask(*many(6), BlockRequest(10**9, 0, BLOCK_BYTES), *many(9)))
    assert accepted(events[:-1]) == many(6)
    assert isinstance(events[-1], ProtocolViolated)


def test_geometry_of_these_tests_has_a_short_last_piece() -> None:
    assert GEOMETRY.piece_length(GEOMETRY.piece_count - 1) == 20_000


def test_bep52_the_gap_behind_a_file_may_be_requested_but_nothing_behind_its_piece() -> None:
    layout = FileLayout([40_000, 70_000], alignment=65_536)
    connection = open_connection(geometry=Geometry(layout.end_bytes, 65_536, layout))
    connection.sender.unchoke()
    wanted = [BlockRequest(0, 2 * BLOCK_BYTES, BLOCK_BYTES), BlockRequest(2, 0, BLOCK_BYTES)]
    wanted += [BlockRequest(2, 3 * BLOCK_BYTES, BLOCK_BYTES), BlockRequest(2, 0, 4_464)]
    assert accepted(feed(connection, ask(*wanted))) == wanted
    events = feed(connection, ask(BlockRequest(2, 3 * BLOCK_BYTES + 1, BLOCK_BYTES)))
    assert isinstance(events[-1], ProtocolViolated)
