"""The kit in test suites of others: functions, fixture and example."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from torrent_engine.conformance import testing
from torrent_engine.conformance.catalogue import choose
from torrent_engine.conformance.errors import ConformanceError, SubjectUnreachableError
from torrent_engine.conformance.results import RuleResult, RunReport
from torrent_engine.conformance.verdicts import Verdict

EXAMPLE = Path(__file__).parents[2] / "examples" / "conformance_suite.py"
ENDS_AT_ONCE = "command = [{!r}, '-c', 'print(\"no licence\")', '{{torrent}}']"


def a_report(*verdicts: Verdict, strict: bool = False) -> RunReport:
    rules = choose(["BEP3-RQ"])
    results = [RuleResult(rules[place], each, "odd") for place, each in enumerate(verdicts)]
    return RunReport("any", "1", "-", "-", "-", results, strict=strict)


def test_check_accepts_what_is_no_failure() -> None:
    report = a_report(Verdict.PASS, Verdict.NON_STRICT, Verdict.UNSUPPORTED)
    testing.check(report)
    assert report.failures() == []


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.CRASH, Verdict.INCONCLUSIVE])
def test_check_fails_with_what_was_wrong(verdict: Verdict) -> None:
    with pytest.raises(AssertionError, match="any: 1 rules") as raised:
        testing.check(a_report(verdict))
    if verdict is not Verdict.INCONCLUSIVE:
        assert "Requirement: Answer a request" in str(raised.value)


def test_check_is_as_strict_as_the_report() -> None:
    with pytest.raises(AssertionError):
        testing.check(a_report(Verdict.NON_STRICT, strict=True))


def test_wrong_arguments_are_errors_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(ConformanceError, match="no program netscape"):
        testing.run("netscape", ["BEP3-RQ-01"])
    with pytest.raises(ConformanceError, match="no rule begins"):
        testing.run("torrent-engine", ["BEP99"])
    with pytest.raises(ConformanceError, match="expected"):
        testing.run("torrent-engine", ["BEP3"], expected=tmp_path / "expected.toml")


def run_pytest(path: Path, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COV_"))}
    return subprocess.run(
        [*command, "-c", str(folder / "pytest.ini"), str(path)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        cwd=folder,
        env=environment,
    )


def test_the_example_passes_with_this_engine(tmp_path: Path) -> None:
    done = run_pytest(EXAMPLE, tmp_path, "-k", "MD")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_a_program_that_ends_is_an_error_of_the_test(tmp_path: Path) -> None:
    subject = tmp_path / "program.toml"
    subject.write_text(ENDS_AT_ONCE.format(sys.executable))
    suite = tmp_path / "test_it.py"
    suite.write_text(EXAMPLE.read_text().replace('"torrent-engine"', f'"{subject}"'))
    done = run_pytest(suite, tmp_path, "-k", "MD")
    assert done.returncode == 1
    assert SubjectUnreachableError.__name__ in done.stdout
    assert "no licence" in done.stdout
