"""Each rule of DHT nodes passes a node that obeys it, and sees one that breaks it."""

import itertools
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
import anyio.abc
import pytest

from tests.conformance.scripted_extensions import Quirks
from tests.conformance.scripted_node import MemoryDatagrams, ScriptedNode, scripted_node
from torrent_engine.conformance.catalogue import choose
from torrent_engine.conformance.dht.dht_case import DhtCase
from torrent_engine.conformance.dht.dht_runner import DhtRunner
from torrent_engine.conformance.dht.network import DhtLab
from torrent_engine.conformance.errors import NotOfferedError
from torrent_engine.conformance.judging import judged
from torrent_engine.conformance.results import RuleResult
from torrent_engine.conformance.rule import REGISTRY, Outcome
from torrent_engine.conformance.runner import RunPlan
from torrent_engine.conformance.verdicts import Role, Verdict

pytestmark = pytest.mark.anyio
F, N, U = Verdict.FAIL, Verdict.NON_STRICT, Verdict.UNSUPPORTED
DHT_MUTANTS = {
    "BEP5-DT-01": ("short id", F),
    "BEP5-DT-02": ("short transactions", F),
    "BEP5-DT-03": ("odd nodes", F),
    "BEP5-DT-04": ("no token", F),
    "BEP5-DT-05": ("joined values", F),
    "BEP5-DT-06": ("any token", F),
    "BEP5-DT-07": ("shared tokens", F),
    "BEP5-DT-08": ("short tokens", F),
    "BEP5-DT-09": ("no implied port", F),
    "BEP5-DT-10": ("any port", F),
    "BEP5-DT-11": ("generic errors", N),
    "BEP5-DT-12": ("no future + no errors", N),
    "BEP5-DT-13": ("lax", F),
    "BEP5-DT-14": ("stops on junk", F),
    "BEP5-DT-15": ("no version", N),
    "BEP5-DT-16": ("sorted only", N),
    "BEP5-DT-17": ("blocks for ever", F),
    "BEP5-DT-18": ("wrong port", F),
    "BEP5-DT-19": ("ignores ports", N),
    "BEP5-DT-20": ("short id", F),
    "BEP5-DT-21": ("any transaction", F),
    "BEP5-DT-22": ("never asks further", F),
    "BEP5-DT-23": ("own token", F),
    "BEP5-DT-24": ("hammers", F),
    "BEP5-DT-25": ("all ports", F),
    "BEP5-DT-26": ("stops on odd nodes", F),
    "BEP5-DT-27": ("amplifies", F),
    "BEP27-PR-01": ("looks up all", F),
    "BEP52-AN-02": ("one hash", N),
    "BEP32-V6-01": ("ignores want", F),
    "BEP32-V6-02": ("n4 always", F),
    "BEP32-V6-03": ("hybrid", F),
    "BEP32-V6-04": ("long answers", F),
    "BEP33-SC-01": ("wrong filters", F),
    "BEP33-SC-02": ("seeds always", N),
    "BEP42-ID-01": ("wrong ip", F),
    "BEP42-ID-02": ("keeps its id", N),
    "BEP42-ID-03": ("id must fit", F),
    "BEP42-ID-04": ("announces to all", N),
    "BEP43-RO-01": ("keeps read-only", F),
    "BEP43-RO-02": ("refuses read-only", F),
    "BEP44-ST-01": ("no nodes", F),
    "BEP44-ST-02": ("forgets items", F),
    "BEP44-ST-03": ("any token", F),
    "BEP44-ST-04": ("any size", N),
    "BEP44-ST-05": ("any signature", F),
    "BEP44-ST-06": ("no key", F),
    "BEP44-ST-07": ("any sequence", F),
    "BEP44-ST-08": ("any sequence", F),
    "BEP44-ST-09": ("strict", N),
    "BEP44-ST-10": ("ignores cas", F),
    "BEP44-ST-11": ("any salt", F),
    "BEP44-ST-12": ("sends always", F),
    "BEP44-ST-13": ("ignores salt", F),
    "BEP44-ST-14": ("no cas", F),
    "BEP44-ST-15": ("strings only", F),
    "BEP44-ST-16": ("never updates", F),
    "BEP51-SI-01": ("odd samples", F),
    "BEP51-SI-02": ("odd samples", F),
    "BEP51-SI-03": ("new samples", N),
}
OTHER_BREAKS = [
    ("BEP5-DT-03", "no nodes", F),
    ("BEP5-DT-04", "no nodes", F),
    ("BEP5-DT-05", "forgets peers", F),
    ("BEP5-DT-06", "no errors", N),
    ("BEP5-DT-11", "no errors", N),
    ("BEP5-DT-13", "no errors", N),
    ("BEP5-DT-18", "tells no port", N),
    ("BEP5-DT-18", "no DHT bit", U),
    ("BEP5-DT-23", "never announces", F),
    ("BEP32-V6-01", "no nodes6", N),
    ("BEP32-V6-02", "no IPv6", U),
    ("BEP33-SC-01", "no filters", U),
    ("BEP42-ID-01", "no ip", U),
    ("BEP44-ST-06", "no storage", U),
]
DHT_RULES = [each.rule_id for each in choose(role=Role.DHT)]


@asynccontextmanager
async def a_lab(quirks: Quirks) -> AsyncIterator[tuple["Factory", DhtLab, anyio.abc.TaskGroup]]:
    addresses = (f"11.3.{number // 250}.{number % 250 + 1}" for number in itertools.count())
    async with anyio.create_task_group() as tasks:
        network = MemoryDatagrams(tasks)
        yield Factory(tasks, network, quirks), DhtLab(network, addresses), tasks
        tasks.cancel_scope.cancel()


class Factory:
    """Makes scripted programs."""

    def __init__(
        self, tasks: anyio.abc.TaskGroup, network: MemoryDatagrams, quirks: Quirks
    ) -> None:
        self._tasks = tasks
        self._network = network
        self._quirks = quirks
        self._ports = itertools.count(9_000)

    def __call__(self) -> AbstractAsyncContextManager[ScriptedNode]:
        return scripted_node(self._tasks, self._network, self._ports, self._quirks)


async def judge(rule_id: str, *quirks: str) -> tuple[Outcome, Verdict]:
    rule = REGISTRY[rule_id]
    async with a_lab(Quirks(frozenset(quirks))) as (create, lab, tasks), create() as program:
        case = DhtCase(rule.limit_s, program, create, lab, tasks)
        keeper = DhtCase(0, program, create, lab, tasks)
        nodes = [await keeper.node() for _ in range(2)]
        await program.start([each.address for each in nodes])
        await anyio.sleep(1)
        found = await judged(rule, case)
        await case.close()
    return found


@pytest.mark.parametrize("rule_id", DHT_RULES)
async def test_rule_passes_a_node_that_obeys_it(rule_id: str) -> None:
    outcome, verdict = await judge(rule_id)
    assert verdict is Verdict.PASS, outcome


@pytest.mark.parametrize("rule_id", sorted(DHT_MUTANTS))
async def test_rule_sees_a_node_that_breaks_it(rule_id: str) -> None:
    quirk, wanted = DHT_MUTANTS[rule_id]
    outcome, verdict = await judge(rule_id, *quirk.split(" + "))
    assert verdict is wanted, outcome


@pytest.mark.parametrize(("rule_id", "quirk", "wanted"), OTHER_BREAKS)
async def test_rule_tells_kinds_of_breaks_apart(rule_id: str, quirk: str, wanted: Verdict) -> None:
    outcome, verdict = await judge(rule_id, quirk)
    assert verdict is wanted, outcome


async def test_every_rule_of_nodes_has_a_mutant() -> None:
    assert set(DHT_RULES) == set(DHT_MUTANTS)


async def run(rule_ids: list[str], *quirks: str) -> list[RuleResult]:
    rules = [REGISTRY[each] for each in rule_ids]
    async with a_lab(Quirks(frozenset(quirks))) as (create, lab, _):
        return await DhtRunner(create, RunPlan(jobs=2), lambda _: None, lab).run(rules)


async def test_runner_gives_results_in_the_order_of_the_rules() -> None:
    wanted = ["BEP44-ST-02", "BEP5-DT-01", "BEP5-DT-17", "BEP5-DT-23"]
    found = await run(wanted)
    assert [each.rule.rule_id for each in found] == wanted
    assert {each.verdict for each in found} == {Verdict.PASS}
    assert "ping" in found[1].log


async def test_a_rule_of_nodes_fails_only_three_times_of_three() -> None:
    (found,) = await run(["BEP5-DT-06"], "any token")
    assert found.verdicts == (F, F, F)


async def test_a_node_that_ends_is_a_crash() -> None:
    (found,) = await run(["BEP5-DT-14"], "stops on junk")
    assert (found.verdict, found.outcome) == (Verdict.CRASH, "the process ended")


async def test_a_node_that_answers_no_ping_is_not_tried() -> None:
    (found,) = await run(["BEP5-DT-06"], "short transactions", "mute")
    assert (found.verdict, found.outcome) == (Verdict.INCONCLUSIVE, "not run")


async def test_a_program_without_a_node_is_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> None:
        raise NotOfferedError("it has no DHT")

    monkeypatch.setattr(ScriptedNode, "start", refuse)
    (found,) = await run(["BEP5-DT-01"])
    assert (found.verdict, found.detail) == (U, "it has no DHT")
