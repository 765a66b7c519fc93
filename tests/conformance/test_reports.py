"""Results as JUnit XML and as a page, and several runs as one report."""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.conformance.catalogue import choose
from torrent_engine.conformance.errors import ConformanceError
from torrent_engine.conformance.expectations import ExpectedVerdict
from torrent_engine.conformance.reports.junit import junit_of
from torrent_engine.conformance.reports.matrix import (
    MatrixCell,
    MatrixColumn,
    column_of,
    load_column,
    matrix_page,
)
from torrent_engine.conformance.reports.programs import (
    TimedRun,
    load_run,
    matrix_record,
    stability_html,
    summary_of,
)
from torrent_engine.conformance.reports.records import record_of
from torrent_engine.conformance.reports.text import ending_lines
from torrent_engine.conformance.results import RuleResult, RunReport, merged
from torrent_engine.conformance.rule import REGISTRY
from torrent_engine.conformance.verdicts import Verdict

FOUND = {
    "BEP3-BF-02": Verdict.PASS,
    "BEP3-BF-03": Verdict.FAIL,
    "BEP3-BF-04": Verdict.NON_STRICT,
    "BEP3-RQ-01": Verdict.CRASH,
    "BEP3-RQ-02": Verdict.INCONCLUSIVE,
    "BEP6-AF-02": Verdict.UNSUPPORTED,
}
NASTY = '<b>&"\x00\x1b[2J\ud800'


def a_report(found: dict[str, Verdict] | None = None) -> RunReport:
    chosen = FOUND if found is None else found
    results = [
        RuleResult(rule, chosen[rule.rule_id], "an outcome", NASTY, 1.25, log=f"0.1 a> {NASTY}\n")
        for rule in choose()
        if rule.rule_id in chosen
    ]
    return RunReport("a <program>", "1", "program -x", "2026-01-01T00:00:00+00:00", "-", results)


def test_junit_has_a_suite_for_each_group_and_the_right_counts() -> None:
    root = Xml.fromstring(junit_of(a_report()))
    suites = {each.get("name", "").split()[0]: each for each in root}
    assert list(suites) == ["BEP3-BF", "BEP3-RQ", "BEP6-AF"]
    counts = {
        name: [each.get(key) for key in ("tests", "failures", "errors", "skipped")]
        for name, each in suites.items()
    }
    assert counts["BEP3-BF"] == ["3", "1", "0", "0"]
    assert counts["BEP3-RQ"] == ["2", "0", "1", "1"]
    assert counts["BEP6-AF"] == ["1", "0", "0", "1"]
    failure = root.find(".//failure")
    assert failure is not None
    assert "Requirement: Leave the spare bits" in (failure.text or "")


def test_junit_has_the_differences_as_failures_when_verdicts_are_expected() -> None:
    report = a_report({"BEP3-BF-02": Verdict.PASS, "BEP3-BF-03": Verdict.FAIL})
    report.compare({"BEP3-BF-03": ExpectedVerdict(frozenset({Verdict.FAIL}), "known")})
    assert Xml.fromstring(junit_of(report)).find(".//failure") is None
    report.compare({"BEP3-BF-02": ExpectedVerdict(frozenset({Verdict.FAIL}), "known")})
    assert len(Xml.fromstring(junit_of(report)).findall(".//failure")) == 2


@pytest.fixture
def written(tmp_path: Path) -> Path:
    report = a_report()
    (tmp_path / "logs").mkdir()
    logs = {rule_id: f"logs/{rule_id}.log" for rule_id in FOUND}
    for name in logs.values():
        (tmp_path / name).write_text("0.100 a> <request>\n")
    path = tmp_path / "found.json"
    path.write_text(json.dumps(record_of(report, logs)))
    return path


def test_matrix_has_a_row_for_each_rule_and_the_logs(written: Path) -> None:
    column = load_column(written)
    page = matrix_page([column, replace(column, subject="another", cells={})])
    for rule_id, verdict in FOUND.items():
        assert f'<th id="{rule_id}">' in page
        assert f"<b>{verdict.value}</b>" in page
    assert page.count("0.100 a&gt; &lt;request&gt;") == len(FOUND)
    assert page.count(">not shown<") == len(FOUND)
    assert "a &lt;program&gt;" in page
    assert "<b>&" not in page
    assert not set(page) & {"\x00", "\x1b", "\ud800"}


def test_crashes_can_be_withheld(written: Path) -> None:
    page = matrix_page([load_column(written)], withholds_crashes=True)
    assert "<b>X</b>" not in page
    assert page.count(">not shown<") == 1


@pytest.mark.parametrize("name", ["/etc/hostname", "../secret.log", "logs/BEP3-BF-03.log"])
def test_only_the_log_of_the_rule_is_read(written: Path, name: str) -> None:
    (written.parent.parent / "secret.log").write_text("secret")
    (written.parent / "logs" / "BEP3-BF-03.log").write_text("secret")
    record = json.loads(written.read_text())
    record["rules"][0]["log"] = name
    assert record["rules"][0]["id"] == "BEP3-BF-02"
    assert column_of(record, written.parent).cells["BEP3-BF-02"].log == ""


MALFORMED = {
    "nothing": b"",
    "no_json": b"{",
    "not_utf8": b'{"kit": "\xff"}',
    "a_list": b"[]",
    "a_number": b"3",
    "nothing_in_it": b"{}",
    "too_deep": b"[" * 100_000,
    "rules_missing": b'{"subject":"a","version":"","command":"","started":"","kit":1}',
    "rules_no_list": b'{"subject":"a","version":"","command":"","started":"","kit":1,"rules":2}',
    "rule_no_object": b'{"subject":"a","version":"","command":"","started":"","kit":1,"rules":[2]}',
    "subject_no_text": b'{"subject":1,"version":"","command":"","started":"","kit":1,"rules":[]}',
    "wrong_verdict": (
        b'{"subject":"a","version":"","command":"","started":"","kit":1,"rules":'
        b'[{"id":"BEP3-BF-02","verdict":"Q","outcome":"","detail":""}]}'
    ),
    "log_no_text": (
        b'{"subject":"a","version":"","command":"","started":"","kit":1,"rules":'
        b'[{"id":"BEP3-BF-02","verdict":"P","outcome":"","detail":"","log":3}]}'
    ),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_files_that_are_no_results_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "found.json"
    path.write_bytes(data)
    with pytest.raises(ConformanceError, match=r"found\.json"):
        load_column(path)


JSON_VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=9) | st.sampled_from(["P", "BEP3-BF-02", "x.log"]),
    lambda each: (
        st.lists(each, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["subject", "version", "command", "started", "kit", "rules", "id", "verdict", "log"]
            ),
            each,
            max_size=9,
        )
    ),
    max_leaves=12,
)


@given(JSON_VALUES)
def test_any_record_is_read_or_refused(record) -> None:
    try:
        column = column_of(record, Path("/nowhere"))
    except (KeyError, TypeError, ValueError):
        return
    assert matrix_page([column])


def test_rules_whose_verdicts_differ_between_runs_are_inconclusive() -> None:
    first = a_report({"BEP3-BF-02": Verdict.PASS, "BEP3-BF-03": Verdict.PASS})
    second = a_report({"BEP3-BF-02": Verdict.PASS, "BEP3-BF-03": Verdict.FAIL})
    report = merged([first, second, first])
    found = {each.rule.rule_id: (each.verdict, len(each.runs)) for each in report.results}
    assert found == {
        "BEP3-BF-02": (Verdict.PASS, 3),
        "BEP3-BF-03": (Verdict.INCONCLUSIVE, 3),
    }
    assert "the same verdict in 3 of 3 runs: 1 of 2 rules" in list(ending_lines(report))
    assert merged([first]).results == first.results


def test_a_crash_in_one_of_several_runs_stays_a_crash() -> None:
    runs = [a_report({"BEP3-BF-02": each}) for each in (Verdict.PASS, Verdict.CRASH)]
    assert [each.verdict for each in merged(runs).results] == [Verdict.CRASH]
    assert REGISTRY["BEP3-BF-02"] is merged(runs).results[0].rule


def a_run(seconds: float = 60.0, **verdicts: str) -> TimedRun:
    cells = {
        name.replace("_", "-"): MatrixCell(Verdict(each), f"outcome {each}", log=f"{each}\n" * 100)
        for name, each in verdicts.items()
    }
    return TimedRun(MatrixColumn("a program", "version 1", "", "today", 3, cells), seconds, 1.5)


def test_runs_of_a_program_become_one_column_and_differences_are_inconclusive() -> None:
    first = a_run(BEP3_RQ_01="F", BEP3_RQ_02="P")
    runs = [first, a_run(90.0, BEP3_RQ_01="F", BEP3_RQ_02="N", BEP3_RQ_03="P")]
    found = summary_of(runs)
    steady, unsteady = found.column.cells["BEP3-RQ-01"], found.column.cells["BEP3-RQ-02"]
    assert (steady.verdict, steady.outcome) == (Verdict.FAIL, "outcome F")
    assert 0 < len(steady.log.splitlines()) < 20
    assert (unsteady.verdict, unsteady.outcome) == (Verdict.INCONCLUSIVE, "runs disagree")
    assert unsteady.detail == "P outcome P, N outcome N"
    assert (found.compared, found.steady) == (2, 1)
    assert (found.unsure_share, found.seconds) == (0.0, 90.0)
    assert found.column.cells["BEP3-RQ-03"].verdict is Verdict.PASS
    page = stability_html([found])
    assert "<td>version 1</td><td>2</td>" in page
    assert "<td>1 of 2</td>" in page
    assert "<td>1.5 min</td>" in page
    record = matrix_record([found])["programs"][0]
    assert record["rules"]["BEP3-RQ-01"]["runs"] == "FF"
    assert [each["seconds"] for each in record["runs"]] == [60.0, 90.0]


def test_a_crash_in_one_try_of_one_run_withholds_the_rule() -> None:
    cell = MatrixCell(Verdict.INCONCLUSIVE, "ended", tries=(Verdict.FAIL, Verdict.CRASH))
    first = a_run(BEP3_RQ_01="P", BEP3_RQ_02="P", BEP3_RQ_03="X")
    cells = {**first.column.cells, "BEP3-RQ-02": cell}
    second = replace(first, column=replace(first.column, cells=cells))
    found = summary_of([first, second], withholds_crashes=True)
    assert set(found.column.cells) == set(found.verdicts) == {"BEP3-RQ-01"}
    assert "ended" not in json.dumps(matrix_record([found]))
    assert set(summary_of([first, second]).column.cells) == set(first.column.cells)


def test_run_with_its_time_is_read_and_refused_if_that_is_no_number(written: Path) -> None:
    record = json.loads(written.read_text())
    assert load_run(written).seconds == 0
    written.write_text(json.dumps({**record, "seconds": 61, "load": 2.5}))
    assert (load_run(written).seconds, load_run(written).load) == (61.0, 2.5)
    for odd in ("1", None, [1]):
        written.write_text(json.dumps({**record, "seconds": odd}))
        with pytest.raises(ConformanceError, match="no number"):
            load_run(written)
