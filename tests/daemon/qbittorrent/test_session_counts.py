"""Sums of this process: those of all torrents follow each of them, whatever happens."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.daemon.fake_port import FakeEngine
from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.qbittorrent.session_counts import SessionCounts
from torrent_engine.daemon.state.daemon_state import DaemonState
from torrent_engine.daemon.state.store import DaemonStore

NAMES = 3
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["waste", "remove", "ask", "open"]),
        st.integers(0, NAMES - 1),
        st.integers(0, 1000),
    ),
    max_size=30,
)


@settings(deadline=None)
@given(STEPS)
def test_waste_of_all_is_the_sum_of_what_each_torrent_wasted(
    steps: list[tuple[str, int, int]],
) -> None:
    engine = FakeEngine()
    state = DaemonState(engine.port, DaemonStore())
    counts, known = SessionCounts(state.torrents), dict[int, InfoHash]()
    for action, number, value in steps:
        if action == "waste":
            if number not in known:
                known[number] = engine.put(name=str(number))
            one = known[number]
            torrent = engine.torrents[one]
            progress = replace(torrent.facts.progress, wasted_bytes=value)
            torrent.facts = replace(torrent.facts, progress=progress)
            state.look(one)
        elif action == "remove" and number in known:
            one = known.pop(number)
            del engine.torrents[one]
            engine.order.remove(one)
            state.look(one)
        elif action == "open":
            counts.opened()
        elif action == "ask":
            assert counts.wasted_bytes() == expected(counts, state)
    assert counts.wasted_bytes() == expected(counts, state)


def expected(counts: SessionCounts, state: DaemonState) -> int:
    return sum(counts.of(row).wasted_bytes for row in state.torrents)
