"""Runs a fuzz target: under atheris where it is installed, or with random mutations.

With atheris:   python -m fuzz.wire --write-corpus DIR
                python -m fuzz.wire -runs=1000000 DIR
Without it:     python -m fuzz.wire --random 100000 [--seed 1]
A module with several targets wants the name of one first: python -m fuzz.codec bencode ...
"""

import argparse
import functools
import random
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

MAX_SECONDS = 1.0
CORPUS_SIZE = 200

Target = Callable[[bytes], None]
Mutation = Callable[[random.Random], bytes]


def in_time(target: Target) -> Target:
    """Return the target with a bound on its processor time."""

    @functools.wraps(target)
    def timed(data: bytes) -> None:
        began_s = time.process_time()
        target(data)
        assert time.process_time() - began_s < MAX_SECONDS, "too slow"

    return timed


def main(name: str, targets: Mapping[str, Target], mutated: Mutation) -> None:
    """Do what the command line says; ``mutated`` makes an input of any of the targets."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if len(targets) > 1:
        parser.add_argument("target", choices=targets)
    parser.set_defaults(target=next(iter(targets)))
    parser.add_argument("--random", type=int, metavar="N", help="N random mutations, no atheris")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write-corpus", type=Path, metavar="DIR", help="inputs to start from")
    options, rest = parser.parse_known_args()
    rng, target = random.Random(options.seed), targets[options.target]
    if options.write_corpus is not None:
        for number in range(CORPUS_SIZE):
            (options.write_corpus / f"{name}-{number}").write_bytes(mutated(rng))
    elif options.random is None:
        _run_atheris(target, rest)
    else:
        _run_mutations(target, mutated, rng, options.random)


def _run_atheris(target: Target, arguments: list[str]) -> None:
    import atheris

    atheris.instrument_all()
    atheris.Setup([sys.argv[0], *arguments], target)
    atheris.Fuzz()


def _run_mutations(target: Target, mutated: Mutation, rng: random.Random, count: int) -> None:
    for number in range(count):
        data = mutated(rng)
        try:
            target(data)
        except BaseException:
            print(f"input {number}: {data.hex()}", file=sys.stderr)
            raise
    print(f"{count} inputs, only declared outcomes")
