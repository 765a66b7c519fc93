"""Fuzz targets of state machines: the models of the tests, driven by the bytes of an input.

Each class is compared with its naive model of the tests. An input is a program: what is set up,
then a byte an operation, whose low half says which and whose high half says of whom, and a byte or
two more where it takes a number. Hypothesis drives the same models in the tests, with its own
choice of operations and a smaller example of what fails, but in thirty times the time.
"""

import random
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from fuzz.runner import FuzzTarget, in_time
from tests.policy.peers.test_discovery_schedule import Schedule
from tests.policy.pieces.test_availability import PIECES, CounterModel
from tests.policy.pieces.test_picker_model import PEERS, PickerModel
from tests.policy.pieces.test_piece_table import PartialModel
from tests.policy.transfer.test_bandwidth import KIB, MIB, AnyUse
from torrent_engine.base.ids import BLOCK_BYTES

MAX_BYTES: Final = 64
RATES: Final = (0, KIB, 30 * KIB, 500 * KIB, 10 * MIB)
PRIORITIES: Final = (0, 1, 4, 7)
LONGEST_TURN_S: Final = 3.0
LONGEST_WAIT_S: Final = 400.0


class Tape:
    """The bytes of an input, taken one by one; StopIteration is raised at their end."""

    def __init__(self, data: bytes) -> None:
        self._bytes = iter(data)
        self.high = 0

    def operation(self) -> int:
        """Return the low half of a byte; the high half says of whom."""
        byte = next(self._bytes)
        self.high = byte >> 4
        return byte & 15

    def byte(self) -> int:
        """Return the next byte."""
        return next(self._bytes)

    def short(self) -> int:
        """Return a number of two bytes."""
        return next(self._bytes) << 8 | next(self._bytes)


def _always(_model: object) -> bool:
    return True


Draw = Callable[[Tape], Any]


class Operation(NamedTuple):
    """A rule of a model, what its arguments are read from, and when it may be used."""

    call: Callable[..., None]
    draws: Mapping[str, Draw] = {}
    when: Callable[[Any], object] = _always


class Program(NamedTuple):
    """How a model is begun, driven and judged: after each operation, or after the last.

    A check that costs more than all operations is made at the end: each part of a program from its
    beginning is a program.
    """

    model: Callable[[], Any]
    operations: tuple[Operation, ...]
    always: tuple[Callable[[Any], None], ...] = ()
    at_end: tuple[Callable[[Any], None], ...] = ()
    begin: Operation | None = None

    def run(self, data: bytes) -> None:
        """Run the program that ``data`` is."""
        tape, model = Tape(data), self.model()
        if self.begin is not None:
            arguments = _read(self.begin, tape)
            if arguments is None:
                return
            self.begin.call(model, **arguments)
        while (step := self._next(tape)) is not None:
            operation, arguments = step
            if operation.when(model):
                operation.call(model, **arguments)
                for check in self.always:
                    check(model)
        for check in self.at_end:
            check(model)

    def _next(self, tape: Tape) -> tuple[Operation, dict[str, Any]] | None:
        try:
            operation = self.operations[tape.operation() % len(self.operations)]
        except StopIteration:
            return None
        arguments = _read(operation, tape)
        return None if arguments is None else (operation, arguments)


def _read(operation: Operation, tape: Tape) -> dict[str, Any] | None:
    try:
        return {name: draw(tape) for name, draw in operation.draws.items()}
    except StopIteration:
        return None


def _who(tape: Tape) -> int:
    return tape.high % PEERS


def _flag(tape: Tape) -> bool:
    return bool(tape.high & 8)


def _up_to(most: int) -> Draw:
    """Return what reads a number from zero."""
    return lambda tape: tape.byte() % (most + 1)


def _from_one(most: int) -> Draw:
    return lambda tape: 1 + tape.byte() % most


def _half_up_to(most: int) -> Draw:
    """Return what takes a number from the byte of the operation."""
    return lambda tape: tape.high % (most + 1)


def _time_up_to(most_s: float) -> Draw:
    """Return what reads a time, more often a short one than a long one."""
    return lambda tape: (tape.byte() / 255) ** 3 * most_s


def _some_patterns() -> list[int]:
    """Return sets of pieces: none, all, one each, few, half and most."""
    rng, bits = random.Random(0), range(PIECES)
    everything = (1 << PIECES) - 1
    patterns = [0, everything, *(1 << piece for piece in bits)]
    while len(patterns) < 256:
        share = rng.choice((0.1, 0.5, 0.9))
        patterns.append(sum(1 << piece for piece in bits if rng.random() < share))
    return patterns


PATTERNS: Final = _some_patterns()


def _pattern(tape: Tape) -> int:
    return PATTERNS[tape.byte()]


def _priorities(tape: Tape) -> list[int]:
    numbers = tape.short() << 8 | tape.byte()
    return [PRIORITIES[numbers >> shift & 3] for shift in range(0, 24, 2)]


def _has_peers(model: CounterModel) -> bool:
    return bool(model.peers)


def _has_requests(model: PartialModel) -> bool:
    return any(model.asked.values())


AVAILABILITY = Program(
    CounterModel,
    (
        Operation(CounterModel.join, {"bits": _pattern}),
        Operation(
            CounterModel.have,
            {"which": lambda tape: tape.high, "piece": _up_to(PIECES - 1)},
            _has_peers,
        ),
        Operation(CounterModel.leave, {"which": lambda tape: tape.high}, _has_peers),
        Operation(CounterModel.seed, {"change": lambda tape: 1 - 2 * (tape.high & 1)}),
        Operation(CounterModel.rarest, {"candidates": _pattern}),
        Operation(CounterModel.missing, {"candidates": _pattern}),
    ),
    at_end=(CounterModel.counts_agree,),
)
BANDWIDTH = Program(
    AnyUse,
    (
        Operation(AnyUse.pass_time, {"seconds": _time_up_to(LONGEST_TURN_S)}),
        Operation(
            AnyUse.ask, {"who": _half_up_to(4), "wanted": lambda tape: 1 + tape.byte() ** 2 * 32}
        ),
        Operation(AnyUse.serve),
        Operation(AnyUse.collect, {"who": _half_up_to(4)}),
        Operation(AnyUse.cancel, {"who": _half_up_to(4)}),
        Operation(
            AnyUse.change,
            {"where": _half_up_to(8), "rate": lambda tape: RATES[tape.byte() % len(RATES)]},
        ),
    ),
    always=(AnyUse.no_level_is_over_its_limit,),
    at_end=(AnyUse.teardown,),
    begin=Operation(
        AnyUse.begin,
        {
            "unit": lambda tape: (1, BLOCK_BYTES)[tape.byte() & 1],
            "rates": lambda tape: [RATES[tape.byte() % len(RATES)] for _ in range(9)],
        },
    ),
)
DISCOVERY = Program(
    Schedule,
    (
        Operation(Schedule.join, {"number": _half_up_to(6), "needs_peers": _flag}),
        Operation(Schedule.leave, {"number": _half_up_to(6)}),
        Operation(Schedule.hurry, {"number": _half_up_to(6)}),
        Operation(Schedule.wait, {"seconds": _time_up_to(LONGEST_WAIT_S)}),
        Operation(Schedule.begin),
        Operation(
            Schedule.end,
            {"is_empty": lambda tape: bool(tape.high & 4), "needs_peers": _flag},
            lambda model: model.busy,
        ),
    ),
    always=(Schedule.all_that_rest_have_a_timer,),
)
PARTIAL = Program(
    PartialModel,
    (
        Operation(
            PartialModel.take,
            {"peer": lambda tape: tape.high & 3, "count": lambda tape: tape.high >> 2},
        ),
        Operation(
            PartialModel.take_duplicates,
            {"peer": lambda tape: tape.high & 3, "count": lambda tape: 1 + (tape.high >> 2)},
        ),
        Operation(PartialModel.take, {"peer": _who, "count": _up_to(5)}),
        Operation(PartialModel.give_up, {"which": lambda tape: tape.high}, _has_requests),
        Operation(PartialModel.receive, {"which": lambda tape: tape.high}, _has_requests),
        Operation(
            PartialModel.receive_late,
            {"which": lambda tape: tape.high},
            lambda model: model.given_up,
        ),
    ),
    at_end=(PartialModel.agrees,),
    begin=Operation(
        PartialModel.begin,
        {"count": _from_one(12), "is_exhausted": lambda tape: bool(tape.byte() & 1)},
    ),
)
PICKER = Program(
    PickerModel,
    (
        Operation(PickerModel.pick, {"who": _who, "count": _up_to(12)}),
        Operation(
            PickerModel.pick_duplicates,
            {"who": _who, "count": _up_to(12)},
            lambda model: model.picker.is_end_game,
        ),
        *2
        * (
            Operation(
                PickerModel.receive,
                {"who": _who, "passes": _flag, "which": lambda tape: tape.byte()},
            ),
        ),
        Operation(
            PickerModel.receive_after_it_was_given_up,
            {"who": _who, "passes": _flag, "which": lambda tape: tape.byte()},
        ),
        Operation(PickerModel.reject, {"who": _who, "which": lambda tape: tape.byte()}),
        Operation(PickerModel.choke_or_snub, {"who": _who, "forsake": _flag}),
        Operation(PickerModel.lose, {"which": lambda tape: tape.high}),
        Operation(
            PickerModel.replace_peer, {"who": _who, "bits": lambda tape: tape.short() & 0xFFF}
        ),
        Operation(PickerModel.have, {"who": _who, "which": lambda tape: tape.byte()}),
        Operation(PickerModel.change_parole, {"who": _who}),
        Operation(PickerModel.prioritise, {"numbers": _priorities}),
        Operation(PickerModel.lose_a_piece, {"which": lambda tape: tape.high}),
    ),
    at_end=(PickerModel.sets_agree, PickerModel.blocks_agree, PickerModel.teardown),
    begin=Operation(
        PickerModel.begin,
        {
            "pieces": _from_one(12),
            "blocks": _from_one(4),
            "tail_blocks": _up_to(3),
            "tail_bytes": lambda tape: 1 + tape.byte() * 64,
            "seed": lambda tape: tape.byte(),
            "sequential": lambda tape: bool(tape.byte() & 1),
            "bits": lambda tape: [tape.short() & 0xFFF for _ in range(PEERS)],
        },
    ),
)


def mutated(rng: random.Random) -> bytes:
    """Return a program of any length."""
    return rng.randbytes(rng.randrange(MAX_BYTES))


TARGETS = {
    name: FuzzTarget(in_time(program.run), mutated, MAX_BYTES)
    for name, program in {
        "model-availability": AVAILABILITY,
        "model-bandwidth": BANDWIDTH,
        "model-discovery": DISCOVERY,
        "model-partial": PARTIAL,
        "model-picker": PICKER,
    }.items()
}
