"""Each rule of uTP passes a program that obeys it, and sees one that breaks it."""

import itertools

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conformance.scripted_node import MemoryDatagrams
from tests.conformance.scripted_seed import TORRENT
from tests.conformance.scripted_utp import ADDRESS, ScriptedUtp
from torrent_engine.conformance.case import Case
from torrent_engine.conformance.catalogue import choose
from torrent_engine.conformance.errors import SubjectUnreachableError
from torrent_engine.conformance.judging import judged
from torrent_engine.conformance.results import RuleResult
from torrent_engine.conformance.rule import REGISTRY, Outcome
from torrent_engine.conformance.runner import RuleRunner, RunPlan
from torrent_engine.conformance.utp.over_utp import SubjectOverUtp
from torrent_engine.conformance.utp.packets import (
    KitUtpPacket,
    UtpKind,
    distance,
    parse_utp,
    selective_ack,
)
from torrent_engine.conformance.verdicts import Role, Verdict

F, N = Verdict.FAIL, Verdict.NON_STRICT
UTP_MUTANTS = {
    "BEP29-UP-01": ("acks nothing", F),
    "BEP29-UP-02": ("constant numbers", N),
    "BEP29-UP-03": ("skips numbers", F),
    "BEP29-UP-04": ("never acks", F),
    "BEP29-UP-05": ("shifted bits", F),
    "BEP29-UP-06": ("in any order", F),
    "BEP29-UP-07": ("does not double", N),
    "BEP29-UP-08": ("waits for time-outs", N),
    "BEP29-UP-09": ("knows its extensions", F),
    "BEP29-UP-10": ("ignores FIN", F),
    "BEP29-UP-11": ("knows all", F),
    "BEP29-UP-12": ("ignores resets", F),
    "BEP29-UP-13": ("any reset", N),
    "BEP29-UP-14": ("ignores windows", F),
    "BEP29-UP-15": ("ignores windows", F),
    "BEP29-UP-16": ("any version", F),
    "BEP29-UP-17": ("no clock", F),
    "BEP29-UP-18": ("delivers twice", F),
    "BEP29-UP-19": ("another for each SYN", F),
    "BEP29-UP-20": ("amplifies", F),
    "BEP29-UP-21": ("closes far ahead", N),
    "BEP29-UP-22": ("large packets", N),
}
OTHER_BREAKS = [
    ("BEP29-UP-05", "no selective acks", N),
    ("BEP29-UP-07", "impatient", F),
    ("BEP29-UP-07", "never resends", F),
]


async def judge(rule_id: str, *quirks: str) -> tuple[Outcome, Verdict]:
    addresses = (f"10.4.{number // 250}.{number % 250}" for number in itertools.count())
    rule = REGISTRY[rule_id]
    async with anyio.create_task_group() as tasks:
        network = MemoryDatagrams(tasks)
        program = ScriptedUtp(tasks, network, *quirks)
        subject = SubjectOverUtp(program.subject, network, ADDRESS)
        case = Case(rule.limit_s, subject, TORRENT, addresses)
        try:
            found = await judged(rule, case)
        finally:
            await case.close()
            tasks.cancel_scope.cancel()
    return found


@pytest.mark.anyio
@pytest.mark.parametrize("rule_id", [each.rule_id for each in choose(role=Role.UTP)])
async def test_rule_passes_a_program_that_obeys_it(rule_id: str) -> None:
    outcome, verdict = await judge(rule_id)
    assert verdict is Verdict.PASS, outcome


@pytest.mark.anyio
@pytest.mark.parametrize("rule_id", sorted(UTP_MUTANTS))
async def test_rule_sees_a_program_that_breaks_it(rule_id: str) -> None:
    quirk, wanted = UTP_MUTANTS[rule_id]
    outcome, verdict = await judge(rule_id, quirk)
    assert verdict is wanted, outcome


@pytest.mark.anyio
@pytest.mark.parametrize(("rule_id", "quirk", "wanted"), OTHER_BREAKS)
async def test_rule_tells_kinds_of_breaks_apart(rule_id: str, quirk: str, wanted: Verdict) -> None:
    outcome, verdict = await judge(rule_id, quirk)
    assert verdict is wanted, outcome


def test_every_rule_of_utp_has_a_mutant() -> None:
    assert {each.rule_id for each in choose(role=Role.UTP)} == set(UTP_MUTANTS)


async def run(rule_ids: list[str], *quirks: str) -> list[RuleResult]:
    addresses = (f"10.5.{number // 250}.{number % 250}" for number in itertools.count())
    async with anyio.create_task_group() as tasks:
        network = MemoryDatagrams(tasks)
        program = ScriptedUtp(tasks, network, *quirks)
        subject = SubjectOverUtp(program.subject, network, ADDRESS)
        runner = RuleRunner(subject, TORRENT, RunPlan(), lambda _: None, addresses)
        try:
            found = await runner.run([REGISTRY[each] for each in rule_ids])
        finally:
            tasks.cancel_scope.cancel()
    return found


@pytest.mark.anyio
async def test_runner_speaks_over_utp_to_see_that_a_program_serves() -> None:
    found = await run(["BEP29-UP-01", "BEP29-UP-04"])
    assert {each.verdict for each in found} == {Verdict.PASS}


@pytest.mark.anyio
async def test_program_that_is_silent_over_utp_is_not_tried() -> None:
    with pytest.raises(ExceptionGroup) as raised:
        await run(["BEP29-UP-01"], "deaf")
    assert raised.group_contains(SubjectUnreachableError, match="is not ready")


MALFORMED = {
    "empty": b"",
    "short": bytes(19),
    "extension without a length": b"\x01\x01" + bytes(18) + b"\0",
    "extension that is cut": b"\x01\x01" + bytes(18) + b"\0\x04abc",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_packets_are_none(data: bytes) -> None:
    assert parse_utp(data) is None


@given(st.binary(max_size=64))
def test_parsing_a_packet_raises_nothing_and_keeps_what_it_read(data: bytes) -> None:
    packet = parse_utp(data)
    assert packet is None or packet.encode() == data


def test_layout_of_a_packet_is_that_of_the_bep() -> None:
    packet = KitUtpPacket(
        UtpKind.STATE, 0x0102, 0x0304, 0x0506, extensions=((1, b"\x01\0\0\x80"),), window=7
    )
    wanted = "21010102" + "00000000" * 2 + "00000007" + "03040506" + "0004" + "01000080"
    assert packet.encode().hex() == wanted


def test_selective_ack_begins_two_behind_the_last() -> None:
    assert selective_ack(65_535, [1, 2, 9, 10]) == (1, b"\x03\x03\0\0")
    assert distance(65_535, 1) == 2
    assert distance(1, 65_535) == -2
