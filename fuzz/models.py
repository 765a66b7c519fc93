"""Fuzz targets of state machines: what hypothesis does to them, chosen by the bytes of an input.

Each is compared with its naive model of the tests at every step.
How to run them: ``python -m fuzz --help``.
"""

import random
from collections.abc import Callable

from hypothesis.stateful import RuleBasedStateMachine, get_state_machine_test

from tests.policy.test_availability import CounterModel
from tests.policy.test_bandwidth import AnyUse
from tests.policy.test_discovery_schedule import Schedule
from tests.policy.test_picker_model import PickerModel
from tests.policy.test_pieces import PartialModel

MAX_BYTES = 2_000


def _check_of(machine: type[RuleBasedStateMachine]) -> Callable[[bytes], None]:
    fuzz_one_input = get_state_machine_test(machine).hypothesis.fuzz_one_input

    def check(data: bytes) -> None:
        fuzz_one_input(data)

    return check


TARGETS = {
    "model-availability": _check_of(CounterModel),
    "model-bandwidth": _check_of(AnyUse),
    "model-discovery": _check_of(Schedule),
    "model-partial": _check_of(PartialModel),
    "model-picker": _check_of(PickerModel),
}


def mutated(rng: random.Random) -> bytes:
    """Return bytes that choose what happens."""
    return rng.randbytes(rng.randrange(MAX_BYTES))
