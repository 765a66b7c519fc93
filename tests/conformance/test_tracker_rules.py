"""Each rule of trackers passes a tracker that obeys it, and sees one that breaks it."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conformance.scripted_node import MemoryDatagrams
from tests.conformance.scripted_tracker import ScriptedTracker
from torrent_engine.conformance.catalogue import choose
from torrent_engine.conformance.dht.network import DhtLab
from torrent_engine.conformance.errors import NotOfferedError
from torrent_engine.conformance.results import RuleResult
from torrent_engine.conformance.rule import REGISTRY
from torrent_engine.conformance.runner import RunPlan
from torrent_engine.conformance.tracker.http_client import TrackerAnswer, parse_answer
from torrent_engine.conformance.tracker.tracker_runner import TrackerRunner
from torrent_engine.conformance.tracker.udp_client import (
    TrackerPeer,
    announce_request,
    connect_request,
)
from torrent_engine.conformance.verdicts import Role, Verdict

F, N, U, X = Verdict.FAIL, Verdict.NON_STRICT, Verdict.UNSUPPORTED, Verdict.CRASH
TRACKER_PROGRAM_MUTANTS = {
    "TRK-HT-01": ("no events", F),
    "TRK-HT-02": ("takes anything", F),
    "TRK-HT-03": ("odd lists", F),
    "TRK-HT-04": ("compact always", N),
    "TRK-HT-05": ("odd lists", F),
    "TRK-HT-06": ("keeps the stopped", F),
    "TRK-HT-07": ("all peers", N),
    "TRK-HT-08": ("believes ip", N),
    "TRK-HT-09": ("one torrent", F),
    "TRK-HT-10": ("few links", F),
    "TRK-HT-11": ("all are seeds", F),
    "TRK-HT-12": ("forgets downloads", F),
    "TRK-HT-13": ("names nobody", F),
    "TRK-HT-14": ("case matters", F),
    "TRK-UD-01": ("own transactions", F),
    "TRK-UD-02": ("any connection", F),
    "TRK-UD-03": ("any sender", F),
    "TRK-UD-04": ("impatient", F),
    "TRK-UD-05": ("exact size", F),
    "TRK-UD-06": ("short places", F),
    "TRK-UD-07": ("short scrapes", N),
    "TRK-UD-08": ("amplifies", F),
    "TRK-UD-09": ("no options", F),
    "TRK-UD-10": ("partial counts", F),
    "TRK-UD-11": ("own transactions", F),
    "TRK-UD-12": ("keeps the stopped", F),
    "TRK-UD-13": ("two swarms", N),
}
OTHER_BREAKS = [
    ("TRK-UD-03", "counts", F),
    ("TRK-UD-04", "for ever", N),
    ("TRK-UD-07", "no scrapes", U),
    ("TRK-HT-13", "names itself", N),
    ("TRK-HT-10", "dies on junk", X),
    ("TRK-UD-08", "dies on junk", X),
]


@asynccontextmanager
async def program(*quirks: str) -> AsyncIterator[tuple[ScriptedTracker, DhtLab]]:
    addresses = (f"10.6.{number // 250}.{number % 250}" for number in itertools.count())
    async with anyio.create_task_group() as tasks:
        network = MemoryDatagrams(tasks)
        yield ScriptedTracker(tasks, network, *quirks), DhtLab(network, addresses)
        tasks.cancel_scope.cancel()


async def run(rule_ids: list[str], *quirks: str) -> list[RuleResult]:
    async with program(*quirks) as (tracker, lab):

        @asynccontextmanager
        async def create() -> AsyncIterator[ScriptedTracker]:
            yield tracker

        rules = [REGISTRY[each] for each in rule_ids]
        return await TrackerRunner(create, RunPlan(jobs=2), lambda _: None, lab).run(rules)


@pytest.mark.anyio
@pytest.mark.parametrize("rule_id", [each.rule_id for each in choose(role=Role.TRACKER)])
async def test_rule_passes_a_tracker_that_obeys_it(rule_id: str) -> None:
    (found,) = await run([rule_id])
    assert found.verdict is Verdict.PASS, (found.outcome, found.detail)


@pytest.mark.anyio
@pytest.mark.parametrize("rule_id", sorted(TRACKER_PROGRAM_MUTANTS))
async def test_rule_sees_a_tracker_that_breaks_it(rule_id: str) -> None:
    quirk, wanted = TRACKER_PROGRAM_MUTANTS[rule_id]
    (found,) = await run([rule_id], quirk)
    assert found.verdict is wanted, (found.outcome, found.detail)


@pytest.mark.anyio
@pytest.mark.parametrize(("rule_id", "quirk", "wanted"), OTHER_BREAKS)
async def test_rule_tells_kinds_of_breaks_apart(rule_id: str, quirk: str, wanted: Verdict) -> None:
    (found,) = await run([rule_id], quirk)
    assert found.verdict is wanted, (found.outcome, found.detail)


def test_every_rule_of_trackers_has_a_mutant() -> None:
    assert {each.rule_id for each in choose(role=Role.TRACKER)} == set(TRACKER_PROGRAM_MUTANTS)


@pytest.mark.anyio
async def test_results_come_in_the_order_of_the_rules() -> None:
    found = await run(["TRK-UD-02", "TRK-HT-06", "TRK-HT-01"])
    assert [each.rule.rule_id for each in found] == ["TRK-UD-02", "TRK-HT-06", "TRK-HT-01"]
    assert "/announce" in found[1].log


@pytest.mark.anyio
async def test_a_program_that_takes_no_announce_is_not_judged() -> None:
    (found,) = await run(["TRK-HT-06"], "no interval")
    assert (found.verdict, found.detail) == (Verdict.INCONCLUSIVE, "takes none")
    (found,) = await run(["TRK-HT-06"], "does not start")
    assert (found.verdict, found.detail) == (Verdict.INCONCLUSIVE, "the program ended")


@pytest.mark.anyio
async def test_a_program_that_is_no_tracker_is_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> None:
        raise NotOfferedError("it is no tracker")

    monkeypatch.setattr(ScriptedTracker, "start", refuse)
    (found,) = await run(["TRK-HT-06"])
    assert (found.verdict, found.detail) == (U, "it is no tracker")


MALFORMED = {
    "nothing": b"",
    "no HTTP": b"nonsense\r\n\r\nd8:intervali1ee",
    "odd status": b"HTTP/1.1 two\r\n\r\n",
    "long status": b"HTTP/1.1 99999999999 OK\r\n\r\n",
    "no body": b"HTTP/1.1 200 OK\r\n",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_answers_are_no_success(data: bytes) -> None:
    answer = parse_answer(data)
    assert answer.status in {0, 200}


@given(
    st.binary(max_size=200) | st.binary(max_size=80).map(lambda x: b"HTTP/1.1 200 OK\r\n\r\n" + x)
)
def test_parsing_an_answer_raises_nothing(data: bytes) -> None:
    assert isinstance(parse_answer(data), TrackerAnswer)


def test_requests_have_the_layout_of_the_bep() -> None:
    assert connect_request(0x01020304).hex() == "0000041727101980" + "00000000" + "01020304"
    peer = TrackerPeer(b"h" * 20, b"p" * 20, 0x1A0B, left=5)
    data = announce_request(9, peer, 6)
    assert len(data) == 98
    assert data[:16].hex() == "0000000000000009" + "00000001" + "00000006"
    assert data[16:56] == b"h" * 20 + b"p" * 20
    assert data[56:].hex() == (
        "0" * 16 + "0000000000000005" + "0" * 16 + "00000002" + "0" * 8 + "00000007ffffffff1a0b"
    )
