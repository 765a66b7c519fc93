"""What threads run, looked at while they run."""

import threading
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.engine.resources.loop_watch import (
    StackCall,
    escaped,
    parse_stacks,
    thread_stacks,
)

LOOKS = 300


def test_own_calls_are_found_innermost_first() -> None:
    calls = thread_stacks()[threading.get_ident()]
    names = [each.name for each in calls]
    assert names[:2] == ["thread_stacks", "test_own_calls_are_found_innermost_first"]
    assert calls[1].file == escaped(__file__)
    assert str(calls[1]).startswith(f"{names[1]} ({calls[1].file}:{calls[1].line}")


def test_threads_that_run_on_are_no_hindrance() -> None:
    """Frames come and go all the time, those of generators among them."""
    ended = threading.Event()

    def count(depth: int) -> Iterator[int]:
        yield depth
        if depth:
            yield from count(depth - 1)

    def work() -> None:
        while not ended.is_set():
            sum(count(20))

    workers = [threading.Thread(target=work) for _ in range(4)]
    names, looks = set[str](), 0
    for each in workers:
        each.start()
    try:
        while looks < LOOKS or not {"work", "count"} <= names:  # the timeout of tests ends it
            stacks = thread_stacks()
            names |= {each.name for calls in stacks.values() for each in calls}
            looks += 1
    finally:
        ended.set()
        for each in workers:
            each.join()
    assert {"work", "count", "test_threads_that_run_on_are_no_hindrance"} <= names


DUMP = """Thread 0x00007f0000000002 [worker] (most recent call first):
  File "/a b/c.py", line 7 in wait
  File "<frozen x>", line ??? in run
  ...

Current thread 0x00007f0000000001 (most recent call first):
  File "/d.py", line 12 in <lambda>
"""


def test_dump_is_read() -> None:
    assert parse_stacks(DUMP) == {
        0x7F0000000002: [
            StackCall("/a b/c.py", "7", "wait"),
            StackCall("<frozen x>", "???", "run"),
        ],
        0x7F0000000001: [StackCall("/d.py", "12", "<lambda>")],
    }


@given(st.text() | st.lists(st.sampled_from(DUMP.splitlines())).map("\n".join))
def test_any_text_is_read_without_an_error(text: str) -> None:
    for calls in parse_stacks(text).values():
        assert all(isinstance(each, StackCall) for each in calls)
