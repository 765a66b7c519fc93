"""One target under atheris, with the coverage of what it tests.

The name of the target comes first, then libFuzzer's arguments.

The target is imported here and nowhere else in the process: what is imported before it is watched
has no coverage.
"""

import os
import sys

import atheris

from fuzz.sources import PACKAGE, unwatched
from fuzz.targets import TARGETS

PROGRAM = "FUZZ_PROGRAM"
"""Names the executable file that libFuzzer runs anew while it merges."""

if __name__ == "__main__":
    program, name, *arguments = sys.argv
    with atheris.instrument_imports(
        include=[PACKAGE], exclude=unwatched(name), enable_loader_override=False
    ):
        target = TARGETS[name]
    atheris.Setup([os.environ.get(PROGRAM, program), *arguments], target.check)
    atheris.Fuzz()
