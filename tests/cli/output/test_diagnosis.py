"""Why nothing moves, in words; what trackers say, told once."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tests.cli import fakes
from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.base.ids import InfoHash
from torrent_engine.cli.output import diagnosis
from torrent_engine.cli.output.tracker_notices import MAX_IN_PERIOD, PERIOD_S, TrackerNotices
from torrent_engine.engine.events import TrackerFailed, TrackerSucceeded
from torrent_engine.engine.states import State
from torrent_engine.engine.stats import SourceCounts, TrackerStatus

IDLE: Any = fakes.FakeStats()
HASH = InfoHash(b"h" * 20)


def peer(*, interested: bool = True, choking: bool = True) -> Any:
    return SimpleNamespace(am_interested=interested, peer_choking=choking)


def tracker(message: str = "", *, failures: int = 0, tier: int = 0, name: str = "t") -> Any:
    return TrackerStatus(
        url=f"http://{name}/announce",
        tier=tier,
        state="failed" if failures else "working",
        message=message,
        peers=0,
        seeds=None,
        leeches=None,
        next_announce_in_s=None,
        failures=failures,
        external_ip=None,
    )


REASONS: dict[str, tuple[Any, list[Any], str]] = {
    "nobody known": (IDLE, [], "no peers found yet"),
    "dialling": (replace(IDLE, connecting=3), [], "connecting to 3 peers"),
    "known": (
        replace(IDLE, sources={"dht": SourceCounts(1_200)}),
        [],
        "no peers connected, 1,200 known: waiting for the next dial",
    ),
    "choked": (replace(IDLE, peers=2), [peer(), peer()], "choked by all 2 peers"),
    "choked by one": (replace(IDLE, peers=1), [peer()], "choked by the only peer"),
    "nothing there": (
        replace(IDLE, peers=1),
        [peer(interested=False)],
        "1 peer connected, none has what is missing",
    ),
    "asked": (replace(IDLE, peers=1), [peer(choking=False)], "waiting for the peers' data"),
    "metadata": (
        replace(IDLE, state=State.FETCHING_METADATA, peers=2),
        [peer(), peer()],
        "no peer has sent the metadata yet",
    ),
    "moves": (replace(IDLE, download_bytes_per_s=5.0), [], ""),
    "seeds": (IDLE.complete(), [], ""),
    "checks": (replace(IDLE, state=State.CHECKING), [], ""),
}


@pytest.mark.parametrize(("stats", "peers", "text"), REASONS.values(), ids=REASONS.keys())
def test_why_nothing_is_downloaded(stats: Any, peers: list[Any], text: str) -> None:
    assert diagnosis.idle_reason(stats, peers) == text


TRACKERS = {
    "none": ([], ""),
    "works": ([tracker()], ""),
    "fails": ([tracker("no answer", failures=1)], "the tracker failed: no answer"),
    "all fail": (
        [tracker("torrent not registered", failures=2), tracker("no answer", failures=1)],
        "all 2 trackers failed: torrent not registered",
    ),
    "one works": ([tracker("no answer", failures=1), tracker()], ""),
    "warns": ([tracker("old client"), tracker("x", failures=1)], "the tracker says: old client"),
    "unusable": ([tracker("no scheme", tier=-1), tracker()], ""),
}


@pytest.mark.parametrize(("trackers", "text"), TRACKERS.values(), ids=TRACKERS.keys())
def test_what_is_wrong_with_trackers(trackers: list[Any], text: str) -> None:
    assert diagnosis.tracker_problem(trackers) == text


def session(state: State, **more: Any) -> Any:
    facts: dict[str, Any] = {"error": None, "is_held": False, "peers": list, "trackers": list}
    return SimpleNamespace(state=state, **facts | more)


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (
            session(State.ERROR, error=TorrentEngineError("x: disk full\x1b[2J")),
            "x: disk full\\x1b[2J",
        ),
        (session(State.PAUSED, is_held=True), diagnosis.QUEUED),
        (session(State.PAUSED), ""),
        (
            session(State.DOWNLOADING, trackers=lambda: [tracker("a\nb\x1b", failures=1)]),
            "no peers found yet; the tracker failed: a b\\x1b",
        ),
        (
            session(State.SEEDING, trackers=lambda: [tracker("gone", failures=1)]),
            "the tracker failed: gone",
        ),
        (session(State.STOPPED, trackers=lambda: [tracker("gone", failures=1)]), ""),
    ],
)
def test_the_problem_of_a_torrent_is_one_safe_line(made: Any, text: str) -> None:
    assert diagnosis.problem_of(made, replace(IDLE, state=made.state)) == text


def test_the_dht_is_told_of_unless_it_is_off() -> None:
    nodes: Any = SimpleNamespace(node_count=1_234)
    assert diagnosis.dht_state(nodes) == "DHT nodes 1,234"
    nodes.node_count = 0
    assert diagnosis.dht_state(nodes) == "DHT has no nodes yet"
    assert diagnosis.dht_state(None) == ""


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def failed(message: str = "no answer", name: str = "t", retry_in_s: float = 60.0) -> Any:
    return TrackerFailed(HASH, f"http://{name}/announce", message, retry_in_s)


def answered(warning: str = "") -> Any:
    return TrackerSucceeded(HASH, "http://t/announce", 1, None, None, 1800.0, warning)


def test_a_failure_is_told_once_then_what_changes() -> None:
    notices, one = TrackerNotices(Clock()), [tracker("no answer", failures=1)]
    first = "tracker http://t/announce: no answer; tried again in 1:00"
    assert notices.notice(answered(), [tracker()]) is None
    assert notices.notice(failed(), one) == first
    assert notices.notice(failed(), one) is None
    told = notices.notice(failed("torrent not registered", retry_in_s=float("inf")), one)
    assert told == "tracker http://t/announce: torrent not registered; not tried again"
    assert notices.notice(answered(), one) == "tracker http://t/announce answers again"
    assert notices.notice(answered(), one) is None
    assert notices.notice(failed(), one) == first


def test_that_all_failed_is_told_with_the_last_of_them() -> None:
    notices = TrackerNotices(Clock())
    some = [tracker("no answer", failures=1), tracker()]
    assert str(notices.notice(failed(), some)).startswith("tracker http://t/announce: ")
    both = [tracker("no answer", failures=1), tracker("refused", failures=1, name="u")]
    assert notices.notice(failed("refused", "u"), both) == (
        "all 2 trackers failed, the last one http://u/announce: refused; tried again in 1:00"
    )


def test_a_warning_is_told_once_and_controls_no_terminal() -> None:
    notices = TrackerNotices(Clock())
    told = notices.notice(answered("be\x1b[2J nice"), [tracker()])
    assert told == "tracker http://t/announce says: be\\x1b[2J nice"
    assert notices.notice(answered("be\x1b[2J nice"), [tracker()]) is None


def test_thousands_of_failures_are_no_flood() -> None:
    clock = Clock()
    notices = TrackerNotices(clock)
    told = [notices.notice(failed(name=f"t{n}"), []) for n in range(1_000)]
    assert len([each for each in told if each]) == MAX_IN_PERIOD
    clock.now = PERIOD_S
    assert notices.notice(failed(name="t999"), []) is not None
