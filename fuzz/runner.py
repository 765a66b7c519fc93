"""The fuzzing loops: atheris with coverage, or random mutations without it.

    python -m fuzz wire --random 100000 --seed 1     random mutations, no atheris
    python -m fuzz wire --seconds 60                 atheris, from the corpus in this folder
    python -m fuzz wire --executions 10000000        the same, so many inputs
    python -m fuzz wire --write-corpus 60            then keep what reaches code

A corpus is one text file a target, ``fuzz/corpus/NAME.hex``, one input a line.
"""

import argparse
import functools
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
MAX_SECONDS = 1.0
MAX_INPUT_BYTES = 4_096
FIRST_INPUTS = 200
"""Inputs of the target's own that a run begins with, beside the corpus."""
MAX_KEPT_BYTES = 64 * 1024
"""Of a corpus in this folder: the shortest inputs come first."""
MAX_RSS_MIB = 2_048

Check = Callable[[bytes], None]
Mutation = Callable[[random.Random], bytes]


class FuzzTarget(NamedTuple):
    """What checks one input, and what makes one."""

    check: Check
    mutated: Mutation


def in_time(check: Check) -> Check:
    """Return the check with a bound on its processor time."""

    @functools.wraps(check)
    def timed(data: bytes) -> None:
        began_s = time.process_time()
        check(data)
        assert time.process_time() - began_s < MAX_SECONDS, "too slow"

    return timed


def read_corpus(name: str) -> list[bytes]:
    """Return the inputs that are kept for a target."""
    path = CORPUS / f"{name}.hex"
    return [bytes.fromhex(line) for line in path.read_text().split()] if path.exists() else []


def write_corpus(name: str, inputs: Iterable[bytes]) -> int:
    """Keep inputs for a target, the shortest first; return how many."""
    kept: list[bytes] = []
    room_bytes = MAX_KEPT_BYTES
    for data in sorted(set(inputs), key=lambda each: (len(each), each)):
        room_bytes -= len(data)
        if room_bytes >= 0:
            kept.append(data)
    CORPUS.mkdir(exist_ok=True)
    (CORPUS / f"{name}.hex").write_text("".join(f"{data.hex()}\n" for data in kept if data))
    return len(kept)


def main(targets: Mapping[str, FuzzTarget], arguments: list[str] | None = None) -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", choices=sorted(targets))
    parser.add_argument("--seed", type=int, default=0)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--random", type=int, metavar="N", help="N random mutations, no atheris")
    action.add_argument("--seconds", type=int, metavar="S", help="atheris, for so long")
    action.add_argument("--executions", type=int, metavar="N", help="atheris, N inputs")
    action.add_argument(
        "--write-corpus", type=int, metavar="S", help="atheris for so long, then keep the best"
    )
    parser.add_argument("--most-seconds", type=int, default=0, help="a bound for --executions")
    options = parser.parse_args(arguments)
    target = targets[options.target]
    if options.random is not None:
        _run_mutations(target, random.Random(options.seed), options.random)
        return
    seconds = options.seconds or options.write_corpus or options.most_seconds
    limits = [f"-max_total_time={seconds}", f"-seed={options.seed + 1}"]
    if options.executions is not None:
        limits.append(f"-runs={options.executions}")
    with tempfile.TemporaryDirectory() as folder:
        _fill(Path(folder), options.target, target, options.seed)
        status = _atheris(options.target, *limits, folder)
        if status == 0 and options.write_corpus is not None:
            status = _renew_corpus(options.target, folder)
    sys.exit(status)


def _fill(folder: Path, name: str, target: FuzzTarget, seed: int) -> None:
    rng = random.Random(seed)
    first = [target.mutated(rng) for _ in range(FIRST_INPUTS)]
    for number, data in enumerate(read_corpus(name) + first):
        (folder / str(number)).write_bytes(data)


def _renew_corpus(name: str, found: str) -> int:
    """Keep, of what was found, the inputs that reach code which nothing else reaches."""
    with tempfile.TemporaryDirectory() as folder:
        program, least = Path(folder) / "program", Path(folder) / "least"
        least.mkdir()
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m fuzz.atheris_run {name} "$@"\n')
        program.chmod(0o700)
        status = _atheris(name, "-merge=1", str(least), found, program=str(program))
        kept = write_corpus(name, (path.read_bytes() for path in least.iterdir()))
    print(f"{name}: {kept} inputs kept")
    return status


def _atheris(name: str, *arguments: str, program: str | None = None) -> int:
    """Run libFuzzer in a process of its own, which it ends itself; return its exit status."""
    command = [sys.executable, "-m", "fuzz.atheris_run", name]
    limits = [f"-max_len={MAX_INPUT_BYTES}", f"-rss_limit_mb={MAX_RSS_MIB}"]
    prefix = f"-artifact_prefix={tempfile.gettempdir()}/fuzz-{name}-"
    environment = os.environ | ({} if program is None else {"FUZZ_PROGRAM": program})
    ended = subprocess.run([*command, *limits, prefix, *arguments], env=environment, check=False)
    return ended.returncode


def _run_mutations(target: FuzzTarget, rng: random.Random, count: int) -> None:
    for number in range(count):
        data = target.mutated(rng)
        try:
            target.check(data)
        except BaseException:
            print(f"input {number}: {data.hex()}", file=sys.stderr)
            raise
    print(f"{count} inputs, only declared outcomes")
