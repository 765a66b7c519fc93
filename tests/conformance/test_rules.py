"""Each rule passes a seed that obeys it, and sees one that breaks it."""

import itertools
from pathlib import Path

import anyio
import pytest

from tests.conformance.scripted_hashes import ScriptedHashSeed
from tests.conformance.scripted_seed import ScriptedSubject
from tests.conformance.test_dht_rules import DHT_MUTANTS
from tests.conformance.test_leech_rules import LEECH_MUTANTS
from tests.conformance.test_tracker_rules import TRACKER_PROGRAM_MUTANTS
from tests.conformance.test_utp_rules import UTP_MUTANTS
from torrent_engine.conformance.case import Case
from torrent_engine.conformance.catalogue import all_rules, choose
from torrent_engine.conformance.judging import judged
from torrent_engine.conformance.plan import WITHOUT_RULE, is_planned, open_numbers
from torrent_engine.conformance.rule import REGISTRY, Outcome
from torrent_engine.conformance.samples import sample_torrent
from torrent_engine.conformance.verdicts import Level, Role, SampleName, Verdict

pytestmark = pytest.mark.anyio
F, N = Verdict.FAIL, Verdict.NON_STRICT
MUTANTS = {
    "BEP3-HS-01": ("wrong header", F),
    "BEP3-HS-02": ("other hash", F),
    "BEP3-HS-03": ("any header", F),
    "BEP3-HS-04": ("closes on bits", F),
    "BEP3-HS-05": ("speaks always", F),
    "BEP3-HS-06": ("one segment", F),
    "BEP3-HS-07": ("drops what follows", F),
    "BEP3-HS-08": ("waits for the id", N),
    "BEP3-HS-09": ("likes itself", N),
    "BEP3-HS-10": ("twice", N),
    "BEP3-HS-13": ("never closes", N),
    "BEP3-HS-14": ("same id", F),
    "BEP3-HS-17": ("ignores the end", F),
    "BEP3-HS-18": ("dumb", F),
    "BEP3-FR-01": ("closes on keepalives", F),
    "BEP3-FR-02": ("no keepalive", F),
    "BEP3-FR-03": ("closes on unknown", N),
    "BEP3-FR-04": ("allocates", F),
    "BEP3-FR-05": ("allocates", F),
    "BEP3-FR-06": ("any have + wrong bytes", F),
    "BEP3-FR-07": ("wrong bytes", F),
    "BEP3-FR-08": ("any length", F),
    "BEP3-FR-09": ("small buffer", F),
    "BEP3-FR-10": ("length in one", F),
    "BEP3-FR-12": ("starves", F),
    "BEP3-BF-01": ("have first", F),
    "BEP3-BF-02": ("misses a piece", F),
    "BEP3-BF-03": ("spare bits", F),
    "BEP3-BF-04": ("any bitfield", N),
    "BEP3-BF-05": ("wrong bytes", F),
    "BEP3-BF-06": ("wrong bytes", F),
    "BEP3-HV-01": ("any have + wrong bytes", F),
    "BEP3-CI-05": ("interested", F),
    "BEP3-CI-06": ("slow", N),
    "BEP3-CI-10": ("unchokes again", F),
    "BEP3-RQ-01": ("wrong bytes", F),
    "BEP3-RQ-02": ("wrong bytes", F),
    "BEP3-RQ-03": ("wrong bytes", F),
    "BEP3-RQ-04": ("ignores bad", N),
    "BEP3-RQ-05": ("ignores bad", F),
    "BEP3-RQ-06": ("serves anything", F),
    "BEP3-RQ-07": ("serves anything", F),
    "BEP3-RQ-08": ("serves anything", F),
    "BEP3-RQ-09": ("serves anything", F),
    "BEP3-RQ-10": ("serves anything", N),
    "BEP3-RQ-11": ("serves anything", F),
    "BEP3-RQ-12": ("serves choked", F),
    "BEP3-RQ-14": ("half of them", F),
    "BEP3-RQ-15": ("half of them", F),
    "BEP3-RQ-16": ("closes on cancels", F),
    "BEP3-RQ-17": ("closes on a cancel", N),
    "BEP3-RQ-19": ("forgets others", F),
    "BEP3-RQ-20": ("wrong bytes", F),
    "BEP6-FE-02": ("announces twice", F),
    "BEP6-FE-03": ("late bitfield", N),
    "BEP6-FE-05": ("takes 14", F),
    "BEP6-FE-06": ("takes 15", F),
    "BEP6-FE-07": ("takes 13", F),
    "BEP6-FE-08": ("takes 16", F),
    "BEP6-FE-09": ("takes 17", F),
    "BEP6-FE-10": ("fast always", F),
    "BEP6-FE-11": ("sends twice", F),
    "BEP6-FE-12": ("ignores bad", F),
    "BEP6-FE-13": ("drops cancelled", F),
    "BEP6-FE-14": ("forgets twins", N),
    "BEP6-FE-15": ("forgets on choke", F),
    "BEP6-FE-16": ("rejects, then chokes", N),
    "BEP6-FE-17": ("silent when choked", F),
    "BEP6-FE-18": ("rejects twice", F),
    "BEP6-FE-19": ("any reject", F),
    "BEP6-FE-20": ("any piece", F),
    "BEP6-FE-22": ("wrong bytes", F),
    "BEP6-FE-23": ("wrong bytes", F),
    "BEP6-FE-24": ("wrong bytes", F),
    "BEP6-AF-01": ("allows nothing", N),
    "BEP6-AF-02": ("other set", F),
    "BEP6-AF-03": ("allows in vain", N),
    "BEP10-EX-02": ("no extended handshake", F),
    "BEP10-EX-03": ("speaks always", F),
    "BEP10-EX-04": ("shared numbers", F),
    "BEP10-EX-05": ("unsorted", N),
    "BEP10-EX-07": ("latin version", F),
    "BEP10-EX-08": ("wrong yourip", F),
    "BEP10-EX-09": ("reqq 0", F),
    "BEP10-EX-10": ("closes on unknown names", F),
    "BEP10-EX-11": ("closes on unknown number", N),
    "BEP10-EX-12": ("one handshake", F),
    "BEP10-EX-13": ("ignores zero", F),
    "BEP10-EX-15": ("own number", F),
    "BEP10-EX-16": ("takes junk + wrong bytes", F),
    "BEP10-EX-17": ("takes junk + wrong bytes", F),
    "BEP10-EX-18": ("wrong bytes", F),
    "BEP10-EX-19": ("wrong bytes", F),
    "BEP10-EX-20": ("wrong bytes", F),
    "BEP10-EX-23": ("ignores late", F),
    "BEP9-MD-01": ("wrong size", F),
    "BEP9-MD-02": ("wrong metadata", F),
    "BEP9-MD-03": ("long last piece", F),
    "BEP9-MD-04": ("wrong metadata", F),
    "BEP9-MD-05": ("always piece 0", F),
    "BEP9-MD-06": ("silent on far", N),
    "BEP9-MD-07": ("any piece number", F),
    "BEP9-MD-08": ("closes on types", F),
    "BEP9-MD-09": ("no unknown keys", F),
    "BEP9-MD-10": ("closes on floods", F),
    "BEP11-PX-01": ("late", N),
    "BEP11-PX-02": ("often", F),
    "BEP11-PX-03": ("odd lists", F),
    "BEP11-PX-04": ("no lists", F),
    "BEP11-PX-05": ("doubles", F),
    "BEP11-PX-06": ("no limit", F),
    "BEP11-PX-07": ("never drops", F),
    "BEP11-PX-08": ("names strangers", F),
    "BEP11-PX-09": ("all reachable", F),
    "BEP11-PX-10": ("ephemeral ports", F),
    "BEP11-PX-11": ("takes junk + wrong bytes", F),
    "BEP11-PX-15": ("tells everybody", F),
    "MSE-EN-01": ("encrypted only", N),
    "MSE-EN-02": ("forgets the cipher", F),
    "MSE-EN-03": ("forgets the cipher", F),
    "MSE-EN-04": ("RC4 only", N),
    "MSE-EN-05": ("no PadA", F),
    "MSE-EN-06": ("no PadC", F),
    "MSE-EN-07": ("waits on", N),
    "MSE-EN-08": ("any torrent", F),
    "MSE-EN-09": ("wrong bytes", F),
    "MSE-EN-10": ("selects anything", F),
    "MSE-EN-11": ("any constant", F),
    "MSE-EN-12": ("long PadC", N),
    "MSE-EN-13": ("no padding", N),
    "MSE-EN-14": ("whole segments", F),
    "MSE-EN-18": ("wrong bytes", F),
    "BEP54-DH-04": ("takes junk + wrong bytes", F),
    "BEP55-HP-01": ("silent relay", F),
    "BEP55-HP-02": ("other endpoint", F),
    "BEP55-HP-03": ("tells one", F),
    "BEP55-HP-04": ("punches all", F),
    "BEP55-HP-05": ("knows not itself", N),
    "BEP55-HP-06": ("answers all", F),
    "BEP55-HP-10": ("takes junk + wrong bytes", F),
    "BEP52-HS-05": ("closes on version 2", N),
    "BEP52-HR-11": ("sends hashes", F),
    "BEP52-HS-01": ("other hash", F),
    "BEP52-HS-02": ("no upgrade", N),
    "BEP52-HS-03": ("always upgrades", F),
    "BEP52-HR-01": ("wrong hashes", F),
    "BEP52-HR-02": ("no proofs", N),
    "BEP52-HR-03": ("no leaves", F),
    "BEP52-HR-04": ("ignores odd questions", F),
    "BEP52-HR-05": ("silent when choked", F),
    "BEP52-HR-06": ("any length", N),
    "BEP52-RQ-02": ("rejects gaps", N),
    "BEP47-PF-03": ("no zeros", F),
    "BEP21-PS-01": ("wants more", F),
    "BEP21-PS-02": ("likes seeds", N),
}
BY_THE_RUNNER = {"BEP3-FR-11"}
"""Only a crash is wrong, which test_runner.py has."""


async def judge(rule_id: str, *quirks: str) -> tuple[Outcome, Verdict]:
    addresses = (f"10.0.{number // 250}.{number % 250}" for number in itertools.count())
    async with anyio.create_task_group() as tasks:
        rule = REGISTRY[rule_id]
        torrent = sample_torrent(rule.sample)
        is_basic = rule.sample is SampleName.BASIC
        subject = (
            ScriptedSubject(tasks, *quirks)
            if is_basic
            else ScriptedHashSeed(tasks, torrent, *quirks)
        )
        case = Case(rule.limit_s, subject, torrent, addresses)
        try:
            found = await judged(rule, case)
        finally:
            await case.close()
            tasks.cancel_scope.cancel()
    return found


@pytest.mark.parametrize("rule_id", [each.rule_id for each in choose(role=Role.SEED)])
async def test_rule_passes_a_seed_that_obeys_it(rule_id: str) -> None:
    outcome, verdict = await judge(rule_id)
    assert verdict is Verdict.PASS, outcome


@pytest.mark.parametrize("rule_id", sorted(MUTANTS))
async def test_rule_sees_a_seed_that_breaks_it(rule_id: str) -> None:
    quirk, wanted = MUTANTS[rule_id]
    outcome, verdict = await judge(rule_id, *quirk.split(" + "))
    assert verdict is wanted, outcome


def test_every_number_without_a_rule_has_a_reason_that_the_documents_give() -> None:
    open_ids = open_numbers({each.rule_id for each in all_rules()})
    assert sorted(open_ids) == sorted(WITHOUT_RULE)
    page = (Path(__file__).parents[2] / "docs/conformance/without-rules.md").read_text()
    assert [f"| {each} | {WITHOUT_RULE[each]} |" in page for each in open_ids] == [True] * len(
        open_ids
    )
    assert len(all_rules()) >= 400


def test_every_rule_has_a_mutant_a_place_and_a_source() -> None:
    judged_rules = {each.rule_id for each in all_rules() if each.level is not Level.INFO}
    others = (*DHT_MUTANTS, *UTP_MUTANTS, *TRACKER_PROGRAM_MUTANTS)
    mutants = (*MUTANTS, *LEECH_MUTANTS, *others)
    assert judged_rules == set(mutants) | BY_THE_RUNNER
    assert [each.rule_id for each in all_rules() if not is_planned(each.rule_id)] == []
    bare = [each for each in all_rules() if each.level is not Level.INFO and not each.source]
    assert bare == []
    assert all(Verdict.PASS in each.outcomes.values() for each in all_rules())
    assert all(each.requirement.endswith(".") for each in all_rules())
