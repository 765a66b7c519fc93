"""What of an HTTP answer is refused before it costs time (row A14), and that all else passes."""

from contextlib import suppress

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torrent_engine.base.errors import HttpError
from torrent_engine.protocol import http_framing
from torrent_engine.protocol.http_framing import (
    FREE_CHUNKS,
    MAX_CHUNK_LINE_BYTES,
    MAX_HEAD_BYTES,
    MAX_HEADER_LINES,
    MAX_INTERIM_RESPONSES,
    MIN_MEAN_CHUNK_BYTES,
    ResponseWatch,
)

OK = b"HTTP/1.1 200 OK\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
CHUNKED = OK + b"transfer-Encoding:  Chunked\r\n\r\n"


def header(count: int) -> bytes:
    return b"X: y\r\n" * count


def chunk(data: bytes, extension: bytes = b"") -> bytes:
    return b"%x" % len(data) + extension + b"\r\n" + data + b"\r\n"


def small_chunks(count: int) -> bytes:
    return chunk(b"x") * count


REFUSED = {
    "continue": (CONTINUE * (MAX_INTERIM_RESPONSES + 1), "interim responses"),
    "hints": (HINTS * (MAX_INTERIM_RESPONSES + 1), "interim responses"),
    "lines": (OK + header(MAX_HEADER_LINES + 2), "header of more than 100 lines"),
    "lines_of_interim": (CONTINUE[:-2] + header(MAX_HEADER_LINES + 2), "100 lines"),
    "bare_newlines": (OK + b"X: y\n" * (MAX_HEADER_LINES + 2), "100 lines"),
    "long_head": (OK + (b"X: " + bytes(1_000) + b"\r\n") * 70, "header of more than"),
    "long_line": (OK + b"X: " + b"y" * MAX_HEAD_BYTES, "header of more than"),
    "small_chunks": (CHUNKED + small_chunks(FREE_CHUNKS + 3), "small chunks"),
    "chunks_below_the_mean": (
        CHUNKED + small_chunks(FREE_CHUNKS) + chunk(bytes(MIN_MEAN_CHUNK_BYTES - 1)) * 600,
        "small chunks",
    ),
    "extension": (CHUNKED + chunk(b"x", b";" + b"a" * MAX_CHUNK_LINE_BYTES), "chunk header"),
    "extension_without_end": (CHUNKED + b"1;" + b"a" * 300, "chunk header"),
    "size_of_17_digits": (CHUNKED + b"0" * 16 + b"1\r\nx\r\n", "an invalid size"),
    "no_size": (CHUNKED + b"\r\n" * 3, "an invalid size"),
    "negative_size": (CHUNKED + b"-1\r\n", "an invalid size"),
    "longer_chunk": (CHUNKED + b"1\r\nxy\r\n", "longer than its size"),
    "trailers": (CHUNKED + chunk(b"x") + b"0\r\n" + header(MAX_HEADER_LINES + 3), "100 lines"),
}


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
@pytest.mark.parametrize(("raw", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_a14_an_answer_that_only_costs_time_is_refused(raw: bytes, reason: str, step: int) -> None:
    with pytest.raises(HttpError, match=reason):
        feed(ResponseWatch(), raw, step)


def feed(watch: ResponseWatch, raw: bytes, step: int) -> None:
    for at in range(0, len(raw), step):
        watch.feed(raw[at : at + step])


def test_a14_one_large_chunk_does_not_pay_for_thousands_of_small_ones() -> None:
    watch = ResponseWatch()
    feed(watch, CHUNKED + chunk(bytes(1 << 20)) * 3, 1 << 16)
    with pytest.raises(HttpError, match="small chunks"):
        watch.feed(small_chunks(2 * FREE_CHUNKS))


def test_a14_a_flood_is_refused_before_most_of_it_is_looked_at() -> None:
    watch = ResponseWatch()
    feed(watch, CHUNKED + small_chunks(FREE_CHUNKS), 1 << 20)
    watch.feed(chunk(bytes(300)))
    watch.feed(chunk(bytes(300)) + chunk(b"x"))
    with pytest.raises(HttpError, match="small chunks"):
        watch.feed(chunk(b"x") * 2)


ACCEPTED = {
    "interim": CONTINUE * MAX_INTERIM_RESPONSES + OK + b"Content-Length: 1\r\n\r\nx",
    "lines": OK + header(MAX_HEADER_LINES) + b"\r\n",
    "body_that_looks_like_heads": OK + b"\r\n" + CONTINUE * 1_000 + header(5_000),
    "chunks_that_look_like_heads": CHUNKED + chunk(CONTINUE * 1_000) * 50,
    "many_chunks": CHUNKED + chunk(bytes(MIN_MEAN_CHUNK_BYTES)) * 5_000 + b"0\r\n\r\n",
    "extension": CHUNKED + chunk(b"x", b";name=value") + b"0\r\nX: y\r\n\r\n",
    "switching": b"HTTP/1.1 101 X\r\nUpgrade: x\r\n\r\n" + CONTINUE * 100,
}


LARGE_BYTES = 100_000


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
@pytest.mark.parametrize("raw", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_a14_other_answers_pass_one_after_the_other(raw: bytes, step: int) -> None:
    if step < 100 and len(raw) > LARGE_BYTES:  # a step for each byte of megabytes shows no more
        step *= 251
    watch = ResponseWatch()
    for _ in range(3):
        watch.request_sent()
        used = [watch.feed(raw[at : at + step]) for at in range(0, len(raw), step)]
        assert sum(used) == len(raw)


HEADS = [
    OK,
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 103 X\n\n",
    b"HTTP/1.1 204 X\r\n",
    b"HTTP/1.0 200 X\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding:\r\n chunked\r\n",
    b"transfer-encoding:CHUNKED\n",
    b"Content-Length: 3\r\n",
    b"Content-Length: 3, 3\r\n",
    b"Content-Length:\r\n\t2\r\n",
    b"A: b\r\n",
    b"A: b\r\r\n",
    b"\r\n",
    b"\n",
    b"\r\r\n",
]
BODIES = [
    b"1\r\nx\r\n",
    b"1;a=b\r\nx\r\n",
    b"01 \r\nx\r\n",
    b"1\nx\n",
    b"5\r\nhello\r\n",
    b"0\r\n",
    b"abc",
    b"\r\n",
    b"\n",
    b"B: c\r\n",
]
SMALL = {"MAX_INTERIM_RESPONSES": 2, "MAX_HEADER_LINES": 4, "FREE_CHUNKS": 3}


HIDDEN = {
    "folded_coding": OK + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + small_chunks(10),
    "folded_twice": OK + b"Transfer-Encoding:\n\n chunked\n\n" + small_chunks(10),
    "folded_lines": OK + b"A: b\r\n" + b" c\r\n" * 10 + b"\r\n",
    "coding_and_length": CHUNKED[:-2] + b"Content-Length: 1\r\n\r\n" + small_chunks(10),
    "length_and_coding": OK + b"Content-Length: 1\r\n" + CHUNKED[len(OK) :] + small_chunks(10),
    "old_version": CHUNKED.replace(b"1.1", b"1.0") + small_chunks(10),
    "bare_newlines": OK.replace(b"\r", b"") + b"Transfer-Encoding:chunked\n\n" + small_chunks(10),
    "no_reason": b"HTTP/1.1 100\r\n\r\n" * 5,
    "return_alone": OK + b"\r\r\n" + header(20),
    "bare_newlines_in_chunks": CHUNKED + b"1\nx\n" * 10,
}


@pytest.mark.parametrize("raw", HIDDEN.values(), ids=HIDDEN.keys())
def test_a14_nothing_hides_from_the_count(raw: bytes) -> None:
    assert costs_no_more_than_counted(raw)


@settings(max_examples=300)
@given(
    st.lists(st.sampled_from(HEADS), max_size=5),
    st.sampled_from([b"", b"Transfer-Encoding: chunked\r\n\r\n"]),
    st.lists(st.sampled_from(HEADS + BODIES), max_size=14),
)
def test_a14_what_passes_costs_h11_no_more_than_was_counted(
    heads: list[bytes], begin: bytes, bodies: list[bytes]
) -> None:
    assert costs_no_more_than_counted(OK + b"".join(heads) + begin + b"".join(bodies))


def costs_no_more_than_counted(raw: bytes) -> bool:
    """Return whether bytes are refused, or cost h11 no more than the limits say."""
    with pytest.MonkeyPatch.context() as patch:
        for name, most in SMALL.items():
            patch.setattr(http_framing, name, most)
        watch = ResponseWatch()
        try:
            used = watch.feed(raw)
        except HttpError:
            return True
    interim, lines, chunks = read_by_h11(raw[:used])
    return (
        interim <= SMALL["MAX_INTERIM_RESPONSES"]
        and lines <= SMALL["MAX_HEADER_LINES"] + 1
        and chunks <= SMALL["FREE_CHUNKS"] + 1
    )


def read_by_h11(raw: bytes) -> tuple[int, int, int]:
    """Return how many interim answers, lines of one head or trailer, and chunks h11 sees."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(raw)
    interim = lines = chunks = 0
    with suppress(h11.RemoteProtocolError):
        while True:
            event = client.next_event()
            if isinstance(event, h11.InformationalResponse):
                interim += 1
            if isinstance(event, h11.Response | h11.InformationalResponse | h11.EndOfMessage):
                lines = max(lines, len(event.headers))
            if isinstance(event, h11.Data):
                chunks += event.chunk_start
            elif event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.EndOfMessage):
                break
    return interim, lines, chunks


def test_a14_bytes_behind_an_answer_are_told_from_it() -> None:
    for answer in (
        OK + b"Content-Length: 3\r\n\r\nabc",
        OK + b"Content-Length: 0\r\n\r\n",
        CHUNKED + chunk(b"x") + b"0\r\n\r\n",
        b"HTTP/1.1 204 X\r\n\r\n",
    ):
        watch = ResponseWatch()
        assert watch.feed(answer + small_chunks(1_000)) == len(answer)
        assert watch.feed(b"more") == 0
        watch.request_sent()
        assert watch.feed(answer) == len(answer)


@given(
    st.lists(st.binary(min_size=1, max_size=300), max_size=40),
    st.lists(st.binary(max_size=40), max_size=40),
    st.integers(1, 400),
)
def test_a14_what_is_refused_does_not_depend_on_how_it_comes(
    chunks: list[bytes], noise: list[bytes], step: int
) -> None:
    raw = CHUNKED + b"".join(map(chunk, chunks)) + b"\r\n".join(noise)
    assert outcome(raw, step) == outcome(raw, len(raw))


def outcome(raw: bytes, step: int) -> bool:
    try:
        feed(ResponseWatch(), raw, step)
    except HttpError:
        return False
    return True
