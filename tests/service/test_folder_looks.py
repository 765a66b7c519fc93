"""Looks at folders whose disks may not answer."""

import threading
from collections.abc import Iterator

import anyio
import pytest

from torrent_engine.service.folder_looks import FolderLooks, FolderTimeoutError

pytestmark = pytest.mark.anyio


@pytest.fixture
def answer() -> Iterator[threading.Event]:
    """Make a disk that does not answer before the event is set."""
    event = threading.Event()
    yield event
    event.set()


async def test_what_a_call_returns_or_raises_is_passed_on() -> None:
    looks = FolderLooks()
    assert await looks.look("a", divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await looks.look("a", divmod, 7, 0)


async def test_a_disk_that_does_not_answer_is_given_up(answer: threading.Event) -> None:
    with pytest.raises(FolderTimeoutError, match="does not answer"):
        await FolderLooks(0.02).look("a", answer.wait)


async def test_few_calls_of_a_place_hang_and_none_of_other_places(answer: threading.Event) -> None:
    begun: list[None] = []

    def work() -> None:
        begun.append(None)
        answer.wait()

    looks = FolderLooks(0.2, max_of_a_place=2)

    async def ask() -> None:
        with pytest.raises(FolderTimeoutError):
            await looks.look("a", work)

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(ask)
    assert len(begun) == 2
    patient = FolderLooks(60)
    looks._limit_s = patient._limit_s  # whatever the machine does else
    assert await looks.look("b", lambda: "answered") == "answered"
    answer.set()  # the disk is there again: those that hang end, and others are begun
    assert await looks.look("a", lambda: "answered") == "answered"


async def test_nothing_is_kept_of_places_that_answered() -> None:
    looks = FolderLooks()
    for place in range(100):
        await looks.look(place, int)
    assert not looks._places


async def test_nothing_is_kept_of_who_went_away_while_waiting(answer: threading.Event) -> None:
    looks = FolderLooks(60, max_of_a_place=1)
    with anyio.move_on_after(0.02):
        await looks.look("a", answer.wait)
    with anyio.move_on_after(0.02):
        await looks.look("a", answer.wait)  # not begun: the first one has the thread
    answer.set()
    assert await looks.look("a", lambda: 1) == 1
    assert not looks._places


async def test_no_thread_is_an_error_and_takes_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = FolderLooks(60, max_of_a_place=1)

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        for _ in range(3):
            with pytest.raises(OSError, match="no more threads"):
                await looks.look("a", int)
    assert await looks.look("a", int) == 0
    assert not looks._places
