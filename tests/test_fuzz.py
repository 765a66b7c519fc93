"""The fuzz targets in short, and what their runner says of an input that breaks one."""

import random
import sys
from pathlib import Path

import pytest

from fuzz import (
    codec,
    dht,
    encryption,
    exchange,
    holepunch,
    lsd,
    magnet,
    metadata,
    nat,
    runner,
    tracker,
    utp,
    wire,
)

TARGETS = {
    "bencode": (codec.fuzz_bencode, codec.mutated),
    "dht": (dht.fuzz_one, dht.mutated),
    "encryption": (encryption.fuzz_one, encryption.mutated),
    "metainfo": (codec.fuzz_metainfo, codec.mutated),
    "holepunch": (holepunch.fuzz_one, holepunch.mutated),
    "magnet": (magnet.fuzz_one, magnet.mutated),
    "metadata": (metadata.fuzz_one, metadata.mutated),
    "exchange": (exchange.fuzz_one, exchange.mutated),
    "lsd": (lsd.fuzz_one, lsd.mutated),
    "nat": (nat.fuzz_one, nat.mutated),
    "tracker": (tracker.fuzz_one, tracker.mutated),
    "utp": (utp.fuzz_one, utp.mutated),
    "wire": (wire.fuzz_one, wire.mutated),
}


def good(_: bytes) -> None:
    """Take anything."""


def fail(data: bytes) -> None:
    raise ValueError(data)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["fuzz", *arguments])
    runner.main("test", {"good": good, "bad": fail}, lambda rng: rng.randbytes(3))


@pytest.mark.parametrize(("target", "mutated"), TARGETS.values(), ids=TARGETS)
def test_mutated_inputs_have_only_declared_outcomes(target, mutated) -> None:
    rng = random.Random("short")
    inputs = [mutated(rng) for _ in range(150)]
    assert [target(data) for data in inputs] == [None] * 150


def test_the_runner_shows_the_input_that_broke_the_target(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "good", "--random", "5")
    assert capsys.readouterr().out == "5 inputs, only declared outcomes\n"
    with pytest.raises(ValueError, match="b'"):
        run(monkeypatch, "bad", "--random", "5", "--seed", "1")
    assert capsys.readouterr().err == f"input 0: {random.Random(1).randbytes(3).hex()}\n"


def test_the_runner_writes_a_corpus_and_refuses_what_is_slow(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run(monkeypatch, "good", "--write-corpus", str(tmp_path))
    assert len(list(tmp_path.iterdir())) == runner.CORPUS_SIZE
    monkeypatch.setattr(runner, "MAX_SECONDS", 0.0)
    with pytest.raises(AssertionError, match="too slow"):
        runner.in_time(lambda data: None)(b"")
