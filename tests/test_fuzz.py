"""The fuzz targets in short, their corpora, and their runner."""

import random
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from fuzz import runner
from fuzz.runner import FuzzTarget
from fuzz.targets import MODULES, TARGETS

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
    count = 10 if name.startswith("model-") else SHORT_RUN
    inputs = [target.mutated(rng) for _ in range(count)]
    assert [target.check(data) for data in inputs] == [None] * count


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
