"""The fuzz targets in short, their corpora, and their runner."""

import json
import random
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from fuzz import models, record, runner, sources
from fuzz.reads import MOST_READS, reads
from fuzz.record import Version
from fuzz.runner import FuzzTarget, Outcome
from fuzz.subjects import MODULES
from fuzz.targets import TARGETS

SHORT_RUN = 150


def good(_: bytes) -> None:
    """Take anything."""


def fail(data: bytes) -> None:
    raise ValueError(data)


def three_bytes(rng: random.Random) -> bytes:
    return rng.randbytes(3)


TWO = {"good": FuzzTarget(good, three_bytes), "bad": FuzzTarget(fail, three_bytes)}


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_mutated_inputs_have_only_declared_outcomes(name: str) -> None:
    target, rng = TARGETS[name], random.Random("short")
    inputs = [target.mutated(rng) for _ in range(SHORT_RUN)]
    assert [target.check(data) for data in inputs] == [None] * SHORT_RUN


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_inputs_that_once_reached_new_code_have_only_declared_outcomes(name: str) -> None:
    inputs = runner.read_corpus(name)
    assert inputs, "each target has a corpus: python -m fuzz NAME --write-corpus 60"
    assert [TARGETS[name].check(data) for data in inputs] == [None] * len(inputs)


def test_each_module_has_the_targets_that_are_named_for_it() -> None:
    modules = {module: import_module(f"fuzz.{module}") for module in set(MODULES.values())}
    found = {name: module for module in modules for name in modules[module].TARGETS}
    assert found == MODULES
    assert set(TARGETS) == set(found)


def test_a_target_is_imported_without_the_others() -> None:
    code = (
        "import sys, fuzz.targets as all; known = [n for n in sys.modules if 'torrent' in n];"
        "all.TARGETS['names']; print(known, 'fuzz.dht' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=runner.HERE.parent, capture_output=True, check=True)
    assert done.stdout == b"[] False\n"


def test_every_corpus_has_a_target_and_is_small() -> None:
    corpora = {path.stem: path.stat().st_size for path in runner.CORPUS.glob("*.hex")}
    assert set(corpora) == set(TARGETS)
    assert max(corpora.values()) <= 3 * runner.MAX_KEPT_BYTES


def test_the_runner_shows_the_input_that_broke_the_target(
    capsys: pytest.CaptureFixture[str],
) -> None:
    runner.main(TWO, ["good", "--random", "5"])
    assert capsys.readouterr().out == "5 inputs, only declared outcomes\n"
    with pytest.raises(ValueError, match="b'"):
        runner.main(TWO, ["bad", "--random", "5", "--seed", "1"])
    assert capsys.readouterr().err == f"input 0: {random.Random(1).randbytes(3).hex()}\n"


def test_a_corpus_is_read_as_it_was_written_the_shortest_inputs_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(runner, "CORPUS", tmp_path / "corpus")
    assert runner.read_corpus("x") == []
    longest = bytes(runner.MAX_KEPT_BYTES)
    assert runner.write_corpus("x", [longest, b"bb", b"a", b"a"]) == 2
    assert runner.read_corpus("x") == [b"a", b"bb"]


def test_the_runner_refuses_what_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "MAX_SECONDS", 0.0)
    with pytest.raises(AssertionError, match="too slow"):
        runner.in_time(good)(b"")


# -- streams in reads ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "read_bytes", "count"),
    [(0, 1, 0), (1, 1, 1), (MOST_READS, 1, MOST_READS), (9, 4, 3), (5, 0, 5), (7, 100, 1)],
)
def test_a_stream_comes_in_reads_of_the_size_that_is_asked_for(
    size: int, read_bytes: int, count: int
) -> None:
    data = random.Random(size).randbytes(size)
    assert len(list(reads(data, read_bytes))) == count
    assert b"".join(reads(data, read_bytes)) == data


def test_a_long_stream_comes_in_larger_reads_rather_than_in_too_many() -> None:
    data = random.Random(1).randbytes(4_001)
    assert len(list(reads(data, 1))) <= MOST_READS
    assert b"".join(reads(data, 1)) == data


# -- models -------------------------------------------------------------------------------------


class Machine:
    """Notes what it is told; who is told three has a fault."""

    def __init__(self) -> None:
        self.told: list[object] = []
        MACHINES.append(self)

    def begin(self, size: int) -> None:
        self.told.append(("begin", size))

    def add(self, number: int, half: int) -> None:
        self.told.append((number, half))

    def never(self) -> None:
        raise AssertionError("this was not to be used")

    def check(self) -> None:
        assert (3, 1) not in self.told

    def end(self) -> None:
        self.told.append("end")


MACHINES: list[Machine] = []
PROGRAM = models.Program(
    Machine,
    (
        models.Operation(
            Machine.add, {"number": lambda tape: tape.byte(), "half": lambda tape: tape.high}
        ),
        models.Operation(Machine.never, {}, lambda _: False),
    ),
    always=(Machine.check,),
    at_end=(Machine.end,),
    begin=models.Operation(Machine.begin, {"size": lambda tape: tape.short()}),
)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("", []),
        ("01", []),
        ("0102", [("begin", 258), "end"]),
        ("0000 1007 2208", [("begin", 0), (7, 1), (8, 2), "end"]),
        ("0000 01 31 4009", [("begin", 0), (9, 4), "end"]),
        ("0000 1007 20", [("begin", 0), (7, 1), "end"]),
    ],
    ids=str,
)
def test_a_model_does_what_the_bytes_say_until_they_end(data: str, told: list[object]) -> None:
    PROGRAM.run(bytes.fromhex(data))
    assert MACHINES.pop().told == told


def test_a_model_that_is_wrong_fails() -> None:
    with pytest.raises(AssertionError):
        PROGRAM.run(bytes.fromhex("0000 1003"))


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("model-availability", "torrent_engine.policy.pieces.availability.Availability.remove"),
        ("model-bandwidth", "torrent_engine.policy.transfer.bandwidth.BandwidthTree.cancel"),
        (
            "model-discovery",
            "torrent_engine.policy.peers.discovery_schedule.DiscoverySchedule.leave",
        ),
        ("model-partial", "torrent_engine.policy.pieces.piece_table.PartialPiece.release"),
        ("model-picker", "torrent_engine.policy.pieces.picker.Picker.release"),
    ],
)
def test_programs_of_random_bytes_find_what_is_broken(
    name: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(method, lambda *_: None)
    target, rng = TARGETS[name], random.Random(name)
    inputs = [target.mutated(rng) for _ in range(300)]

    def fails(data: bytes) -> bool:
        try:
            target.check(data)
        except Exception:
            return True
        return False

    assert any(map(fails, inputs))


# -- the record of executions -------------------------------------------------------------------

FIRST, LATER, OTHER = Version("t1", "c1"), Version("t1", "c2"), Version("t2", "c2")


def test_executions_add_up_over_runs_and_are_kept_apart_by_the_code_under_test(
    tmp_path: Path,
) -> None:
    path = tmp_path / "executions.json"
    for version, executions, edges in ((FIRST, 100, 7), (FIRST, 20, 9), (LATER, 3, 8)):
        record.add_run("wire", version, executions, cpu_s=1.6, edges=edges, path=path)
    kept = record.read_record(path)
    assert record.totals("wire", LATER, kept)[:4] == (123, 3, 6, 9)
    assert record.totals("wire", FIRST, kept)[:2] == (123, 120)
    assert record.totals("utp", FIRST, kept) == (0, 0, 0, 0, "")
    assert [each.name for each in tmp_path.iterdir()] == ["executions.json"]


def test_the_count_begins_anew_when_the_target_changes(tmp_path: Path) -> None:
    path = tmp_path / "executions.json"
    record.add_run("wire", LATER, 100, cpu_s=1, edges=7, path=path)
    assert record.totals("wire", OTHER, record.read_record(path)).executions == 0
    record.add_run("wire", OTHER, 5, cpu_s=1, edges=7, path=path)
    assert record.totals("wire", OTHER, record.read_record(path)).executions == 5
    assert record.totals("wire", LATER, record.read_record(path)).executions == 0


def test_the_table_shows_each_target_with_its_executions() -> None:
    kept = {
        "wire": {
            "target": record.version("wire").target,
            "runs": [
                {"tested": "old", "executions": 2_000, "cpu_s": 1, "edges": 9, "last": "2026-01-02"}
            ],
        }
    }
    assert record.table(["utp", "wire"], kept).splitlines()[2:] == [
        "| utp | 0 | 0 | 0 | 0 |  |",
        "| wire | 2,000 | 0 | 2,000 | 9 | 2026-01-02 |",
    ]


def test_the_record_in_the_repository_is_of_targets_that_there_are() -> None:
    kept = record.read_record()
    assert set(kept) <= set(TARGETS)
    assert all(run["executions"] > 0 for entry in kept.values() for run in entry["runs"])


def test_a_recorded_run_goes_on_in_stages_until_the_record_has_all(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "executions.json"
    record.add_run("names", record.version("names"), 15, cpu_s=1, edges=1, path=path)
    told: list[list[str]] = []

    def run(_name: str, _target: FuzzTarget, *arguments: str) -> Outcome:
        told.append(list(arguments[:2]))
        return Outcome(0, int(arguments[0].partition("=")[2]), 3, 1.0)

    def add(*arguments: object, **named: object) -> None:
        record.add_run(*arguments, **named, path=path)  # type: ignore[arg-type]

    monkeypatch.setattr(runner, "STAGE_EXECUTIONS", 20)
    monkeypatch.setattr(runner, "_watched_atheris", run)
    monkeypatch.setattr(runner, "_renew_corpus", lambda *_: 0)
    monkeypatch.setattr(runner, "read_record", lambda: record.read_record(path))
    monkeypatch.setattr(runner, "add_run", add)
    with pytest.raises(SystemExit) as ended:
        runner.main(TARGETS, ["names", "--executions", "50", "--record"])
    assert ended.value.code == 0
    assert told == [["-runs=20", "-seed=16"], ["-runs=15", "-seed=36"]]
    assert record.totals("names", record.version("names"), record.read_record(path))[:2] == (50, 50)


def test_a_finding_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "read_record", dict)
    monkeypatch.setattr(runner, "_watched_atheris", lambda *_: Outcome(77, 9, 3, 1.0))
    monkeypatch.setattr(runner, "add_run", fail)
    with pytest.raises(SystemExit) as ended:
        runner.main(TARGETS, ["names", "--executions", "50", "--record"])
    assert ended.value.code == 77


def test_a_run_is_recorded_only_for_a_number_of_executions() -> None:
    with pytest.raises(SystemExit):
        runner.main(TARGETS, ["names", "--seconds", "1", "--record"])


# -- versions of code ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        ('"""Text."""\ndef f():\n    """Say."""\n    return (1)\n', True),
        ("def f():\n    # why\n    return 1\n", True),
        ("def f():\n    return 2\n", False),
        ('def f():\n    return "Say."\n', False),
    ],
)
def test_a_version_is_of_what_code_does(tmp_path: Path, other: str, is_same: bool) -> None:
    paths = tmp_path / "one.py", tmp_path / "other.py"
    paths[0].write_text("def f():\n    return 1\n")
    paths[1].write_text(other)
    one, two = (sources.version_of([path]) for path in paths)
    assert (one == two) is is_same


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_what_a_target_tests_is_there_and_is_watched(name: str) -> None:
    watched = sources.watched_files(name)
    prefixes = sources.prefixes(name)
    assert all(any(module.startswith(prefix) for module in watched) for prefix in prefixes)
    assert not set(watched) & set(sources.unwatched(name))
    assert len(watched) + len(sources.unwatched(name)) == len(sources.module_files())


def test_the_record_is_as_it_is_written() -> None:
    text = record.RECORD.read_text()
    assert text == f"{json.dumps(json.loads(text), indent=1)}\n"
