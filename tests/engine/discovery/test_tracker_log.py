"""What is remembered of announces and scrapes."""

import pytest

from torrent_engine.base.errors import TrackerError, TrackerRefusedError, TrackerTimeoutError
from torrent_engine.base.ids import InfoHash, PeerAddress
from torrent_engine.engine.discovery.scraping import scrape_all
from torrent_engine.engine.discovery.tracker_log import TrackerLog
from torrent_engine.engine.stats import ProblemKind, TorrentProblem, TrackerRequest
from torrent_engine.protocol.tracker.announce import AnnounceResponse, ScrapeCounts

A = "http://a.example/secret0123456789/announce"
B = "http://b.example/announce"
PEER = PeerAddress("192.0.2.1", 1)
INFO_HASH = InfoHash(b"h" * 20)


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


class Client:
    """Answers scrapes from a table."""

    def __init__(self, **answers):
        self.answers = answers
        self.asked: list[str] = []

    async def scrape(self, url, info_hashes):
        self.asked.append(url)
        answer = self.answers[url]
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_trackers_are_numbered_in_the_order_of_the_first_look():
    log = TrackerLog()
    assert [log.entry(url).tracker_id for url in (A, B, A)] == [0, 1, 0]


def test_an_announce_has_a_beginning_and_an_end():
    log = TrackerLog(Clock())
    log.announce_began(A)
    assert log.entry(A).announce is None
    log.announce_succeeded(A, AnnounceResponse(60.0, (PEER,), seeds=3, leeches=None))
    last = log.entry(A).announce
    assert last == TrackerRequest(1_001.0, 1_002.0, peers=1)
    assert last.is_success
    assert (log.entry(A).seeds, log.entry(A).leeches) == (3, None)


@pytest.mark.parametrize(
    ("error", "is_timeout"), [(TrackerError("down"), False), (TrackerTimeoutError("late"), True)]
)
def test_a_failed_announce_keeps_the_counts_and_hides_secrets(error, is_timeout):
    log = TrackerLog(Clock())
    log.announce_succeeded(A, AnnounceResponse(60.0, (), seeds=3))
    log.announce_began(A)
    log.announce_failed(A, type(error)(f"{error} {A}"))
    last = log.entry(A).announce
    assert last is not None
    assert (last.is_success, last.is_timeout) == (False, is_timeout)
    assert "secret" not in last.error
    assert log.entry(A).seeds == 3


@pytest.mark.anyio
async def test_scrapes_are_recorded_and_a_private_torrent_asks_no_further_than_an_answer():
    answers = {A: TrackerError("down"), B: {INFO_HASH: ScrapeCounts(1, 2, 3)}}
    log, client = TrackerLog(Clock()), Client(**answers)
    found = await scrape_all([A, B, A], INFO_HASH, client, log, is_private=True)
    assert client.asked == [A, B]
    assert [each.error for each in found] == ["down", ""]
    scrape = log.entry(A).scrape
    assert scrape is not None
    assert scrape.error == "down"
    assert log.entry(B).scrape == TrackerRequest(1_003.0, 1_004.0)
    assert log.entry(B).downloads == 3


OK = AnnounceResponse(60.0, ())
WARNS = AnnounceResponse(60.0, (), warning="move on")


def said(*answers):
    """Return the log of trackers that answered so, and their URLs."""
    log, urls = TrackerLog(Clock()), []
    for number, answer in enumerate(answers):
        urls.append(f"http://{number}.example/announce")
        log.announce_began(urls[-1])
        if isinstance(answer, AnnounceResponse):
            log.announce_succeeded(urls[-1], answer)
        elif answer is not None:
            log.announce_failed(urls[-1], answer)
    return log, urls


@pytest.mark.parametrize(
    ("answers", "kind", "message"),
    [
        ((TrackerRefusedError("banned"),), ProblemKind.TRACKER_ERROR, "refused: banned"),
        ((TrackerRefusedError("banned"), OK), ProblemKind.TRACKER_WARNING, "refused: banned"),
        ((OK, WARNS), ProblemKind.TRACKER_WARNING, "move on"),
    ],
)
def test_refusals_and_warnings_are_problems(answers, kind, message):
    log, urls = said(*answers)
    assert log.problem(urls) == TorrentProblem(kind, message)


@pytest.mark.parametrize("answers", [(), (OK,), (TrackerError("down"),), (None,)])
def test_trackers_that_say_nothing_are_no_problem(answers):
    log, urls = said(*answers)
    assert log.problem(urls) is None


def test_a_problem_of_a_tracker_that_was_removed_is_over():
    log, urls = said(TrackerRefusedError("banned"), OK)
    assert log.problem(urls[1:]) is None
