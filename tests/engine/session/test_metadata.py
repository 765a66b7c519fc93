"""What is done in a thread before a torrent begins."""

import threading
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from torrent_engine.engine.runs.source_edits import NO_EDITS, SourceEdits
from torrent_engine.engine.session import metadata
from torrent_engine.engine.session.metadata import FEW_URLS, Metadata
from torrent_engine.protocol.tracker.schedule import usable_trackers

pytestmark = pytest.mark.anyio

FEW = tuple((f"udp://{number}.example:80",) for number in range(FEW_URLS))
MANY = (*FEW, ("udp://more.example:80",))


class Core:
    """As much of the core as knows of trackers."""

    def __init__(self, tiers: Sequence[Sequence[str]], edits: SourceEdits = NO_EDITS) -> None:
        self.named_tiers = tiers
        self.edits = edits
        self.facts: Any = None
        self.snapshot: Any = None
        self.is_stored = False
        self.shared = SimpleNamespace(url_limiter=anyio.CapacityLimiter(1))


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """What is parsed: the number of tiers, and whether a thread of its own does it."""
    found: list[tuple[int, bool]] = []

    def note(tiers: Sequence[Sequence[str]]) -> None:
        is_thread = threading.current_thread() is not threading.main_thread()
        found.append((len(tiers), is_thread))

    monkeypatch.setattr(metadata, "usable_trackers", note)
    return found


@pytest.mark.parametrize(
    ("named", "edits", "expected"),
    [
        (FEW, NO_EDITS, []),
        (MANY, NO_EDITS, [len(MANY)]),
        (FEW, SourceEdits(tiers=MANY), [len(MANY)]),
        (FEW, SourceEdits(trackers=tuple((url, None) for (url,) in MANY)), [len(MANY)]),
    ],
)
async def test_f11_many_tracker_urls_are_parsed_in_a_thread(
    named: Sequence[Sequence[str]],
    edits: SourceEdits,
    expected: list[int],
    parsed: list[tuple[int, bool]],
) -> None:
    core: Any = Core(named, edits)
    await Metadata(core).learn_trackers()
    assert parsed == [(count, True) for count in expected]


async def test_tracker_urls_that_are_only_in_the_database_are_parsed_when_they_are_read(
    parsed: list[tuple[int, bool]],
) -> None:
    core: Any = Core(MANY)
    core.is_stored = True
    await Metadata(core).learn_trackers()
    assert not parsed


async def test_without_a_thread_tracker_urls_are_parsed_where_they_are_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []

    async def refuse(work: object, *_: object, **__: object) -> None:
        asked.append(work)
        await anyio.lowlevel.checkpoint()
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(anyio.to_thread, "run_sync", refuse)
    core: Any = Core(MANY)
    await Metadata(core).learn_trackers()
    assert asked == [usable_trackers]
