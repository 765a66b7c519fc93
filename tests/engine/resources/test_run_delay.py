"""The time for which a thread waited for a processor."""

import sys
import threading
import time
from pathlib import Path

import pytest

from torrent_engine.engine.resources import loop_watch
from torrent_engine.engine.resources.loop_watch import RunDelay


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_the_time_grows_while_others_run_and_is_the_threads_own() -> None:
    """Threads that share one processor wait for each other, or for the interpreter."""
    began_s, delay = time.perf_counter(), RunDelay()
    first_s = delay.seconds()
    busy = [threading.Thread(target=sum, args=(range(5_000_000),)) for _ in range(2)]
    for thread in busy:
        thread.start()
    for thread in busy:
        thread.join()
    assert 0.0 <= delay.seconds() - first_s <= time.perf_counter() - began_s
    delay.close()
    assert delay.seconds() == 0.0


def test_a_system_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_watch, "_opened", lambda _path: None)
    delay = RunDelay()
    assert delay.seconds() == 0.0
    delay.close()


def test_what_is_not_as_expected_counts_as_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path, opened = tmp_path / "schedstat", loop_watch._opened
    monkeypatch.setattr(loop_watch, "_opened", lambda _path: opened(str(path)))
    for text, expected_s in (("", 0.0), ("0\n", 0.0), ("7 2500000000 3\n", 2.5)):
        path.write_text(text)
        delay = RunDelay()
        assert delay.seconds() == expected_s
        delay.close()
