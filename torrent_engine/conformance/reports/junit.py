"""Results as JUnit XML, as CI servers read it: a test suite for each group of rules."""

from itertools import groupby
from xml.etree import ElementTree as Xml

from torrent_engine.conformance.plan import title_of
from torrent_engine.conformance.reports.text import failure_lines, printable
from torrent_engine.conformance.results import RuleResult, RunReport
from torrent_engine.conformance.verdicts import WORDS, Verdict

_SKIPPED = frozenset({Verdict.UNSUPPORTED, Verdict.INCONCLUSIVE})


def junit_of(report: RunReport) -> str:
    """Return the XML: failures as the report counts them, crashes as errors.

    What is unsupported or inconclusive is skipped, with its reason. With a file of expectations the
    differences from it are the failures, whatever their verdict.
    """
    root = Xml.Element("testsuites", name=printable(report.subject))
    for group, results in groupby(report.results, key=lambda each: each.rule.group):
        _add_suite(root, f"{group} {title_of(group)}", list(results), report)
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _add_suite(root: Xml.Element, name: str, results: list[RuleResult], report: RunReport) -> None:
    seconds = f"{sum(each.seconds for each in results):.3f}"
    suite = Xml.SubElement(root, "testsuite", name=name, time=seconds, timestamp=report.started)
    cases = [_add_case(suite, each, report) for each in results]
    suite.set("tests", str(len(cases)))
    for tag, total in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        suite.set(total, str(sum(case.find(tag) is not None for case in cases)))


def _add_case(suite: Xml.Element, result: RuleResult, report: RunReport) -> Xml.Element:
    rule = result.rule
    case = Xml.SubElement(
        suite,
        "testcase",
        name=f"{rule.rule_id} {printable(rule.requirement)}",
        classname=f"{printable(report.subject)}.{rule.group}",
        time=f"{result.seconds:.3f}",
    )
    detail = f": {result.detail}" if result.detail else ""
    text = printable(f"{WORDS[result.verdict]}: {result.outcome}{detail}")
    tag = _tag(result, report)
    if tag is None:
        Xml.SubElement(case, "system-out").text = text
        return case
    element = Xml.SubElement(case, tag, message=text)
    if tag != "skipped":
        element.text = "\n".join(map(printable, failure_lines(result)))
    return case


def _tag(result: RuleResult, report: RunReport) -> str | None:
    if report.differences is not None:
        is_different = any(each.rule_id == result.rule.rule_id for each in report.differences)
        return "failure" if is_different else None
    if result.verdict is Verdict.CRASH:
        return "error"
    if report.is_failure(result):
        return "failure"
    return "skipped" if result.verdict in _SKIPPED else None
