"""Names that nobody answers for, and the torrents that have nothing to do with them."""

import threading
from pathlib import Path

import pytest

from tests.support.swarm import reach, shared_config, until
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import SessionConfig
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.net.tracker.embedded import EmbeddedTracker

pytestmark = pytest.mark.anyio

GREEDY, OTHER = (make_torrent(payload_of(20_000 + number, number))[0] for number in range(2))


async def test_a_torrent_of_silent_names_keeps_no_other_ones_tracker_unasked(
    tmp_path: Path,
) -> None:
    silence, silent = threading.Event(), list[str]()

    def look_up(name: str) -> list[str]:
        if name == "tracker.example":
            return ["127.0.0.1"]
        silent.append(name)
        silence.wait(20)
        raise OSError("no answer")

    peers = tuple((f"peer{number}.example", 1) for number in range(50))
    async with (
        EmbeddedTracker("127.0.0.1") as tracker,
        SharedResources(shared_config(tmp_path), look_up=look_up) as shared,
    ):
        greedy = await Session.create(
            GREEDY, shared, save_path=tmp_path / "greedy", config=SessionConfig(peers=peers)
        )
        other = await Session.create(OTHER, shared, save_path=tmp_path / "other")
        async with greedy, other:
            await reach(greedy, State.DOWNLOADING)
            for number in range(50):
                greedy.add_tracker(f"http://{number}.example/announce")
                greedy.add_tracker(f"udp://u{number}.example:1/announce", 0)
            await until(lambda: len(silent) >= 16)
            other.add_tracker(tracker.announce_url.replace("127.0.0.1", "tracker.example"))
            await until(lambda: tracker.stats().peers == 1, timeout_s=5.0)
        assert len(silent) < 100
        silence.set()
