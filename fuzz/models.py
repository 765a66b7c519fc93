"""Fuzz targets of state machines: hypothesis models driven by the bytes of an input.

Each is compared with its naive model of the tests at every step.
How to run them: ``python -m fuzz --help``.
"""

import random
from collections.abc import Callable

from hypothesis.stateful import RuleBasedStateMachine, get_state_machine_test

from fuzz.runner import FuzzTarget
from tests.policy.peers.test_discovery_schedule import Schedule
from tests.policy.pieces.test_availability import CounterModel
from tests.policy.pieces.test_picker_model import PickerModel
from tests.policy.pieces.test_piece_table import PartialModel
from tests.policy.transfer.test_bandwidth import AnyUse

MAX_BYTES = 2_000


def _check_of(machine: type[RuleBasedStateMachine]) -> Callable[[bytes], None]:
    fuzz_one_input = get_state_machine_test(machine).hypothesis.fuzz_one_input  # type: ignore[attr-defined]

    def check(data: bytes) -> None:
        fuzz_one_input(data)

    return check


def mutated(rng: random.Random) -> bytes:
    """Return bytes that choose what happens."""
    return rng.randbytes(rng.randrange(MAX_BYTES))


TARGETS = {
    "model-availability": FuzzTarget(_check_of(CounterModel), mutated),
    "model-bandwidth": FuzzTarget(_check_of(AnyUse), mutated),
    "model-discovery": FuzzTarget(_check_of(Schedule), mutated),
    "model-partial": FuzzTarget(_check_of(PartialModel), mutated),
    "model-picker": FuzzTarget(_check_of(PickerModel), mutated),
}
