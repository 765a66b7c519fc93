"""The fuzzing loops: atheris with coverage, or random mutations without it.

    python -m fuzz wire --random 100000 --seed 1     random mutations, no atheris
    python -m fuzz wire --seconds 60                 atheris, from the corpus in this folder
    python -m fuzz wire --executions 10000000        the same, so many inputs
    python -m fuzz wire --executions 10000000 --record   what the record lacks of them
    python -m fuzz wire --write-corpus 60            then keep what reaches code

A corpus is one text file a target, ``fuzz/corpus/NAME.hex``, one input a line.
"""

import argparse
import functools
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from fuzz.record import add_run, read_record, totals, version

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
MAX_SECONDS = 1.0
MAX_INPUT_BYTES = 4_096
FIRST_INPUTS = 200
"""Inputs of the target's own that a run begins with, beside the corpus."""
MAX_KEPT_BYTES = 64 * 1024
"""Of a corpus in this folder: the shortest inputs come first."""
MAX_RSS_MIB = 2_048
MAX_WAIT_SECONDS = 1_200
"""Of wall time for one input: a busy machine is no finding, processor time is (see in_time)."""
STAGE_EXECUTIONS = 1_000_000
STAGE_SECONDS = 900
"""After so many, or so long, a run is recorded, and goes on in a new process with what it found."""

Check = Callable[[bytes], None]
Mutation = Callable[[random.Random], bytes]


class FuzzTarget(NamedTuple):
    """What checks one input, what makes one, and how long inputs are that show anything new."""

    check: Check
    mutated: Mutation
    max_bytes: int = MAX_INPUT_BYTES


class Outcome(NamedTuple):
    """How a run of libFuzzer ended."""

    status: int
    executions: int
    edges: int
    cpu_s: float


def in_time(check: Check) -> Check:
    """Return the check with a bound on its processor time.

    What is slow once only is not the input, but a collection of garbage or another thread.
    """

    @functools.wraps(check)
    def timed(data: bytes) -> None:
        if _takes_s(check, data) >= MAX_SECONDS:
            assert _takes_s(check, data) < MAX_SECONDS, "too slow"

    return timed


def _takes_s(check: Check, data: bytes) -> float:
    began_s = time.process_time()
    check(data)
    return time.process_time() - began_s


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
    parser.add_argument(
        "--record", action="store_true", help="count --executions over all runs, and keep the count"
    )
    parser.add_argument(
        "--keep-corpus", action="store_true", help="when the record has all: keep what reaches code"
    )
    options = parser.parse_args(arguments)
    if options.record and options.executions is None:
        parser.error("--record: how many --executions?")
    target = targets[options.target]
    if options.random is not None:
        _run_mutations(target, random.Random(options.seed), options.random)
        return
    with tempfile.TemporaryDirectory() as folder:
        _fill(Path(folder), options.target, target, options.seed)
        if options.record:
            sys.exit(_run_stages(options, target, folder))
        seconds = options.seconds or options.write_corpus or options.most_seconds
        limits = [f"-max_total_time={seconds}", f"-seed={options.seed + 1}"]
        if options.executions is not None:
            limits.append(f"-runs={options.executions}")
        status = _atheris(options.target, target, *limits, folder)
        if status == 0 and options.write_corpus is not None:
            status = _renew_corpus(options.target, target, folder)
    sys.exit(status)


def _run_stages(options: argparse.Namespace, target: FuzzTarget, folder: str) -> int:
    """Run what the record lacks of the executions that are wanted, and record each stage."""
    name, ends_s = options.target, time.monotonic() + (options.most_seconds or float("inf"))
    while True:
        now = version(name)
        had = totals(name, now, read_record()).executions
        if had >= options.executions:
            return _renew_corpus(name, target, folder) if options.keep_corpus else 0
        room_s = int(min(ends_s - time.monotonic(), STAGE_SECONDS))
        if room_s < 1:
            return 0
        wanted = min(options.executions - had, STAGE_EXECUTIONS)
        seed = options.seed + had + 1  # another one each time, or the same inputs would be made
        limits = [f"-runs={wanted}", f"-seed={seed}", f"-max_total_time={room_s}"]
        outcome = _watched_atheris(name, target, *limits, folder)
        if outcome.status:
            return outcome.status
        add_run(name, now, outcome.executions, cpu_s=outcome.cpu_s, edges=outcome.edges)
        print(f"{name}: {had + outcome.executions:,} executions recorded", flush=True)


def _fill(folder: Path, name: str, target: FuzzTarget, seed: int) -> None:
    rng = random.Random(seed)
    first = [target.mutated(rng) for _ in range(FIRST_INPUTS)]
    for number, data in enumerate(read_corpus(name) + first):
        (folder / str(number)).write_bytes(data)


def _renew_corpus(name: str, target: FuzzTarget, found: str) -> int:
    """Keep, of what was found, the inputs that reach code which nothing else reaches."""
    with tempfile.TemporaryDirectory() as folder:
        program, least = Path(folder) / "program", Path(folder) / "least"
        least.mkdir()
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m fuzz.atheris_run {name} "$@"\n')
        program.chmod(0o700)
        status = _atheris(name, target, "-merge=1", str(least), found, program=str(program))
        kept = write_corpus(name, (path.read_bytes() for path in least.iterdir()))
    print(f"{name}: {kept} inputs kept")
    return status


def _command(name: str, target: FuzzTarget, arguments: Iterable[str]) -> list[str]:
    """Return what runs libFuzzer in a process of its own, which it ends itself."""
    limits = [f"-max_len={target.max_bytes}", f"-rss_limit_mb={MAX_RSS_MIB}"]
    limits += [f"-timeout={MAX_WAIT_SECONDS}", f"-report_slow_units={MAX_WAIT_SECONDS}"]
    prefix = f"-artifact_prefix={tempfile.gettempdir()}/fuzz-{name}-"
    return [sys.executable, "-m", "fuzz.atheris_run", name, *limits, prefix, *arguments]


def _atheris(name: str, target: FuzzTarget, *arguments: str, program: str | None = None) -> int:
    """Run libFuzzer; return its exit status."""
    environment = os.environ | ({} if program is None else {"FUZZ_PROGRAM": program})
    command = _command(name, target, arguments)
    return subprocess.run(command, env=environment, check=False).returncode


def _watched_atheris(name: str, target: FuzzTarget, *arguments: str) -> Outcome:
    """Run libFuzzer, pass on what it prints, and return what came of it."""
    command, before = _command(name, target, arguments), _cpu_s()
    executions = edges = 0
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr or ():
            sys.stderr.write(line)
            if found := re.search(r"\bcov: (\d+)", line):
                edges = int(found[1])
            if found := re.match(r"Done (\d+) runs", line):
                executions = int(found[1])
    return Outcome(process.returncode, executions, edges, _cpu_s() - before)


def _cpu_s() -> float:
    """Return the processor time of the processes that this one waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _run_mutations(target: FuzzTarget, rng: random.Random, count: int) -> None:
    for number in range(count):
        data = target.mutated(rng)
        try:
            target.check(data)
        except BaseException:
            print(f"input {number}: {data.hex()}", file=sys.stderr)
            raise
    print(f"{count} inputs, only declared outcomes")
