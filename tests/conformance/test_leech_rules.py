"""Each rule of downloads passes a program that obeys it, and sees one that breaks it."""

import itertools
from contextlib import AbstractAsyncContextManager

import anyio
import pytest

from tests.conformance.scripted_leech import MemoryNetwork, ScriptedLeech, scripted
from tests.conformance.scripted_seed import TORRENT
from torrent_engine.conformance.catalogue import choose
from torrent_engine.conformance.judging import judged
from torrent_engine.conformance.results import RuleResult
from torrent_engine.conformance.rule import REGISTRY, Outcome
from torrent_engine.conformance.runner import RunPlan
from torrent_engine.conformance.swarm.metadata import KitMetadata
from torrent_engine.conformance.swarm.network import SwarmLab
from torrent_engine.conformance.swarm.swarm_case import SwarmCase
from torrent_engine.conformance.swarm.swarm_runner import SwarmRunner
from torrent_engine.conformance.verdicts import Level, Role, Verdict

pytestmark = pytest.mark.anyio
F, N = Verdict.FAIL, Verdict.NON_STRICT
LEECH_MUTANTS = {
    "BEP3-HS-11": ("any peer", N),
    "BEP3-HS-12": ("any hash", F),
    "BEP3-HS-15": ("other id", F),
    "BEP3-HS-16": ("silent extensions", F),
    "BEP3-HV-03": ("no hash check", F),
    "BEP3-HV-05": ("closes on repeats", F),
    "BEP3-CI-04": ("stays interested", F),
    "BEP3-LR-04": ("no endgame", N),
    "BEP3-LR-10": ("takes all blocks + no hash check", F),
    "BEP3-LR-11": ("sequential", N),
    "BEP3-LR-12": ("sequential", N),
    "BEP3-IN-04": ("believes the disk", F),
    "BEP3-IN-05": ("fills with zeros", F),
    "BEP3-IN-06": ("any name", F),
    "BEP3-IN-07": ("encodes again", F),
    "BEP3-IN-08": ("no empty files", N),
    "BEP3-IN-09": ("starts over", N),
    "BEP3-IN-10": ("dies on odd", Verdict.CRASH),
    "BEP6-AF-09": ("ignores suggestions", N),
    "BEP10-EX-06": ("wrong port", F),
    "BEP10-EX-14": ("replaces numbers", F),
    "BEP10-EX-21": ("ignores reqq", F),
    "BEP10-EX-22": ("believes reqq", F),
    "BEP3-BF-07": ("claims all", F),
    "BEP3-BF-08": ("ignores have", F),
    "BEP3-HV-02": ("never announces", F),
    "BEP3-CI-01": ("asks choked", F),
    "BEP3-CI-02": ("never interested", F),
    "BEP3-CI-03": ("stays interested", F),
    "BEP3-CI-08": ("keeps requests", F),
    "BEP3-CI-09": ("one at a time", F),
    "BEP3-CI-11": ("breaks on chokes", F),
    "BEP3-RQ-13": ("serves zeros", F),
    "BEP3-LR-01": ("large blocks", N),
    "BEP3-LR-02": ("asks for all", F),
    "BEP3-LR-03": ("asks twice", F),
    "BEP3-LR-05": ("waits for ever", F),
    "BEP3-LR-06": ("in order only", F),
    "BEP3-LR-07": ("stores anything + no hash check", F),
    "BEP3-LR-08": ("ignores short + waits for ever", F),
    "BEP3-LR-09": ("stops on junk", F),
    "BEP3-IN-01": ("no hash check", F),
    "BEP3-IN-02": ("no hash check", F),
    "BEP3-IN-03": ("wrong file", F),
    "BEP6-FE-04": ("says nothing", F),
    "BEP6-FE-21": ("any piece", F),
    "BEP6-FE-25": ("stops on junk", F),
    "BEP6-AF-04": ("allowed is have", F),
    "BEP6-AF-05": ("ignores allowed", N),
    "BEP6-AF-06": ("asks again", F),
    "BEP6-AF-07": ("hammers", N),
    "BEP6-AF-08": ("forgets rejected", F),
    "BEP11-PX-12": ("dials all at once", N),
    "BEP11-PX-16": ("dials in order", N),
    "BEP11-PX-13": ("ignores names", F),
    "BEP11-PX-14": ("dials all names", F),
    "BEP27-PR-03": ("exchanges always", F),
    "BEP27-PR-04": ("exchanges always", F),
    "BEP54-DH-01": ("ignores don't have", F),
    "BEP54-DH-02": ("ignores don't have", F),
    "BEP54-DH-03": ("waits for ever", F),
    "BEP54-DH-05": ("closes on odd losses", N),
    "BEP55-HP-07": ("connects again", F),
    "BEP55-HP-08": ("ignores connects", F),
    "BEP55-HP-09": ("answers connects", F),
    "BEP29-UP-24": ("same id", F),
    "BEP47-PF-05": ("any link", F),
    "BEP47-PF-06": ("all executable", F),
    "MSE-EN-15": ("forgets the cipher", F),
    "MSE-EN-16": ("encrypted only", N),
    "MSE-EN-17": ("takes any method", F),
}
V2_MUTANTS = {
    "BEP47-PF-01": ("asks for pads", N),
    "BEP47-PF-02": ("asks for pads", N),
    "BEP47-PF-04": ("pads need paths", F),
    "BEP52-MI-01": ("no v2", F),
    "BEP52-MI-02": ("old hash", F),
    "BEP52-MI-03": ("any version", F),
    "BEP52-MI-04": ("any layers", F),
    "BEP52-MI-05": ("joins both", F),
    "BEP52-MI-06": ("any name", F),
    "BEP52-HS-04": ("no upgrades", F),
    "BEP52-HR-07": ("believes hashes", F),
    "BEP52-HR-08": ("odd questions", F),
    "BEP52-HR-09": ("believes hashes", F),
    "BEP52-HR-10": ("hammers", F),
    "BEP52-RQ-01": ("into gaps", N),
    "BEP52-RQ-03": ("any piece", F),
    "BEP52-DA-01": ("wrong file", F),
    "BEP52-DA-02": ("one hash only", F),
    "BEP52-DA-03": ("no hash check", F),
    "BEP52-DA-04": ("links twins", F),
    "BEP52-DA-05": ("no empty files", N),
    "BEP52-MG-01": ("gives up metadata + no metadata", F),
    "BEP52-MG-02": ("no other hash", N),
    "BEP52-MG-03": ("any multihash", F),
    "BEP52-AN-01": ("no other hash", N),
}
TRACKER_MUTANTS = {
    "BEP3-TK-01": ("bad query", F),
    "BEP3-TK-02": ("no started", F),
    "BEP3-TK-03": ("no stopped", F),
    "BEP3-TK-04": ("completed twice", F),
    "BEP3-TK-05": ("left stays", F),
    "BEP3-TK-06": ("announces often", F),
    "BEP3-TK-07": ("no min interval", F),
    "BEP3-TK-08": ("hammers trackers", F),
    "BEP3-TK-09": ("compact only", F),
    "BEP3-TK-10": ("no compact", N),
    "BEP3-TK-11": ("lists only", F),
    "BEP3-TK-12": ("gives up", N),
    "BEP3-TK-15": ("no tracker id", N),
    "BEP3-TK-16": ("no redirects", F),
    "BEP3-TK-17": ("plain http", F),
    "BEP3-TK-18": ("reads all", N),
    "BEP3-TK-19": ("drops query", F),
    "BEP3-TK-27": ("warnings are failures", F),
    "BEP3-TK-28": ("gives up", F),
    "BEP7-TK-13": ("no peers6", F),
    "BEP7-TK-14": ("new keys", F),
    "BEP12-TK-20": ("announce too", F),
    "BEP12-TK-21": ("first tier only", F),
    "BEP12-TK-22": ("old order", N),
    "BEP12-TK-23": ("no shuffle", N),
    "BEP15-UT-01": ("wrong magic", F),
    "BEP15-UT-02": ("swapped fields", F),
    "BEP15-UT-03": ("any transaction", F),
    "BEP15-UT-04": ("exact size", F),
    "BEP15-UT-05": ("no retries", F),
    "BEP15-UT-06": ("old connection", F),
    "BEP15-UT-07": ("hammers trackers", F),
    "BEP15-UT-08": ("odd fields", N),
    "BEP15-UT-09": ("a key for each", F),
    "BEP15-UT-10": ("reads as IPv4", F),
    "BEP15-UT-11": ("one transaction", F),
    "BEP41-UT-12": ("path only", F),
    "BEP27-PR-06": ("keeps peers", N),
    "BEP27-PR-05": ("all trackers", F),
    "BEP31-TK-24": ("hammers trackers", F),
    "BEP48-TK-25": ("wrong scrape", F),
}
MAGNET_MUTANTS = {
    "BEP9-MD-11": ("silent without metadata", F),
    "BEP9-MD-12": ("no metadata", F),
    "BEP9-MD-13": ("no metadata check", F),
    "BEP9-MD-14": ("hammers", F),
    "BEP9-MD-15": ("first size only", F),
    "BEP9-MD-16": ("first size only", F),
    "BEP9-MD-17": ("gives up metadata", F),
    "BEP9-MD-18": ("takes unasked metadata + gives up metadata", F),
    "BEP9-MD-19": ("forgets early haves", F),
    "BEP9-MD-20": ("refuses hex", F),
    "BEP9-MD-21": ("refuses base32", F),
    "BEP9-MD-22": ("ignores x.pe", N),
    "BEP9-MD-23": ("first tier only", F),
    "BEP27-PR-07": ("exchanges always", F),
    "BEP21-PS-03": ("no partial seeds", F),
    "BEP21-PS-04": ("no partial seeds", N),
    "BEP9-MD-24": ("so is one off", F),
    "BEP9-MD-25": ("dies on so", Verdict.CRASH),
}
WEB_MUTANTS = {
    "BEP19-WS-01": ("adds names", F),
    "BEP19-WS-02": ("no names", F),
    "BEP19-WS-03": ("keeps bad URLs + hammers", F),
    "BEP19-WS-04": ("hammers", F),
    "BEP19-WS-05": ("ignores status + no hash check", F),
    "BEP19-WS-06": ("no odd URLs", F),
    "BEP17-WS-07": ("other keys", F),
}
LSD_MUTANTS = {
    "BEP14-LS-01": ("bad first line", F),
    "BEP14-LS-02": ("wrong port", F),
    "BEP14-LS-03": ("announces often", F),
    "BEP14-LS-04": ("deaf", F),
    "BEP14-LS-05": ("likes its cookie", F),
    "BEP14-LS-06": ("first hash", N),
    "BEP14-LS-07": ("stops on junk", F),
    "BEP14-LS-08": ("any network", N),
    "BEP14-LS-09": ("odd IPv6", F),
    "BEP27-PR-02": ("announces all", F),
}
LEECH_MUTANTS.update(TRACKER_MUTANTS, **MAGNET_MUTANTS, **WEB_MUTANTS, **V2_MUTANTS, **LSD_MUTANTS)
SWARM_ROLES = (
    Role.LSD,
    Role.LEECH,
    Role.MAGNET,
    Role.WEB_SEED_CLIENT,
    Role.HTTP_TRACKER_CLIENT,
    Role.UDP_TRACKER_CLIENT,
)
LEECH_RULES = [each.rule_id for role in SWARM_ROLES for each in choose(role=role)]


def lab_of(network: MemoryNetwork) -> SwarmLab:
    addresses = (f"10.2.{number // 250}.{number % 250}" for number in itertools.count())
    return SwarmLab(network, addresses)


async def judge(rule_id: str, *quirks: str) -> tuple[Outcome, Verdict]:
    network, rule = MemoryNetwork(), REGISTRY[rule_id]
    lab = lab_of(network)
    async with scripted(network, *quirks) as program, anyio.create_task_group() as tasks:
        case = SwarmCase(rule.limit_s, TORRENT, program, lab, tasks)
        found = await judged(rule, case)
        tasks.cancel_scope.cancel()
    return found


@pytest.mark.parametrize("rule_id", LEECH_RULES)
async def test_rule_passes_a_program_that_obeys_it(rule_id: str) -> None:
    outcome, verdict = await judge(rule_id)
    assert verdict is Verdict.PASS, outcome


@pytest.mark.parametrize("rule_id", sorted(LEECH_MUTANTS))
async def test_rule_sees_a_program_that_breaks_it(rule_id: str) -> None:
    quirk, wanted = LEECH_MUTANTS[rule_id]
    outcome, verdict = await judge(rule_id, *quirk.split(" + "))
    assert verdict is wanted, outcome


def test_every_rule_of_downloads_has_a_mutant() -> None:
    judged_rules = {each for each in LEECH_RULES if REGISTRY[each].level is not Level.INFO}
    assert judged_rules == set(LEECH_MUTANTS)


async def run(rule_ids: list[str], *quirks: str) -> list[RuleResult]:
    network = MemoryNetwork()

    def create() -> AbstractAsyncContextManager[ScriptedLeech]:
        return scripted(network, *quirks)

    rules = [REGISTRY[each] for each in rule_ids]
    return await SwarmRunner(create, TORRENT, RunPlan(jobs=1), lambda _: None, lab_of(network)).run(
        rules
    )


async def test_results_come_in_the_order_of_the_rules() -> None:
    results = await run(["BEP3-IN-03", "BEP3-CI-02"])
    assert [each.rule.rule_id for each in results] == ["BEP3-IN-03", "BEP3-CI-02"]
    assert {each.verdict for each in results} == {Verdict.PASS}


async def test_what_fails_is_tried_three_times_with_fresh_programs() -> None:
    (result,) = await run(["BEP3-LR-03"], "asks twice")
    assert result.verdicts == (Verdict.FAIL,) * 3


async def test_a_program_may_ask_for_metadata_before_it_says_how_to_answer() -> None:
    (result,) = await run(["BEP9-MD-12"], "asks for metadata first")
    assert result.verdict is Verdict.PASS


async def test_a_fault_of_the_kit_ends_one_rule_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> None:
        raise ValueError("no such thing")

    monkeypatch.setattr(KitMetadata, "_take", fail)
    results = await run(["BEP9-MD-12", "BEP3-IN-03"])
    assert [each.verdict for each in results] == [Verdict.INCONCLUSIVE, Verdict.PASS]
    assert (results[0].outcome, results[0].detail) == (
        "the kit failed",
        "ValueError: no such thing",
    )
    assert "a rule ended with an error" in caplog.text


async def test_nothing_is_judged_when_an_honest_seed_is_not_downloaded_from() -> None:
    (result,) = await run(["BEP3-CI-02"], "wrong file")
    assert (result.verdict, result.outcome) == (Verdict.INCONCLUSIVE, "not run")
    (result,) = await run(["BEP3-CI-02"], "does not start")
    assert "does not start" in result.detail


async def test_a_program_that_ends_is_a_crash() -> None:
    (result,) = await run(["BEP6-AF-05"], "dies on allowed")
    assert (result.verdict, result.outcome) == (Verdict.CRASH, "the process ended")
