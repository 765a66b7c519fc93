"""The garbage collector while much is made."""

import gc
import subprocess
import sys

import pytest

from torrent_engine.base.collector import paused_collector


def test_the_collector_rests_inside_and_is_as_before_afterwards() -> None:
    assert gc.isenabled()
    with paused_collector():
        assert not gc.isenabled()
        with paused_collector():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_an_error_does_not_leave_it_off() -> None:
    with pytest.raises(ZeroDivisionError), paused_collector():
        raise ZeroDivisionError
    assert gc.isenabled()


def test_what_was_made_is_frozen_if_that_is_asked_for() -> None:
    code = (
        "import gc\n"
        "from torrent_engine.base.collector import paused_collector\n"
        "with paused_collector(): kept = [[] for _ in range(10_000)]\n"
        "print(gc.get_freeze_count() < 10_000)\n"  # Python 3.12 begins with some
        "with paused_collector(freezes=True): kept = [[] for _ in range(10_000)]\n"
        "print(gc.get_freeze_count() > 10_000, gc.isenabled())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.split() == [b"True", b"True", b"True"]


def test_what_is_alive_is_exempted_once_and_garbage_is_freed_before() -> None:
    code = (
        "import gc, weakref\n"
        "from torrent_engine.base.collector import exempt_living_objects\n"
        "class Node: pass\n"
        "gc.disable()\n"
        "node = Node(); node.self = node; gone = weakref.ref(node); del node\n"
        "kept = [[] for _ in range(10_000)]\n"
        "exempt_living_objects()\n"
        "count = gc.get_freeze_count()\n"
        "print(gone() is None, count > 10_000)\n"
        "later = [[] for _ in range(10_000)]\n"
        "exempt_living_objects()\n"
        "print(gc.get_freeze_count() == count)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.split() == [b"True", b"True", b"True"]
