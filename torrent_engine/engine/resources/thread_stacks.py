"""What all threads run at one moment.

The frames of a thread that runs must not be walked from another one: between two steps it goes on,
and what a frame was then belongs to something else. The interpreter's own dump stands still.
"""

import faulthandler
import os
import re
import tempfile
from dataclasses import dataclass
from typing import IO, Final

_THREAD: Final = re.compile(r"(?:Current t|T)hread 0x([0-9a-fA-F]+)")
_CALL: Final = re.compile(r'  File "(.*)", line (\d+|\?\?\?) in (.*)')


@dataclass(frozen=True, slots=True)
class StackCall:
    """One call on the stack of a thread; texts are ASCII, with escapes."""

    file: str
    line: str
    name: str

    def __str__(self) -> str:
        """Return it as a log shows it."""
        return f"{self.name} ({self.file}:{self.line})"


Stacks = dict[int, list[StackCall]]
"""The calls of threads by their idents, the innermost call first."""


def thread_stacks() -> Stacks:
    """Return what the threads run; of very many, and of very deep stacks, a part."""
    with _file() as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        return parse_stacks(file.read().decode("ascii", "replace"))


def parse_stacks(text: str) -> Stacks:
    """Return the calls in a dump; lines that are neither a thread's nor a call's are left out."""
    found: Stacks = {}
    calls: list[StackCall] = []
    for line in text.splitlines():
        if (thread := _THREAD.match(line)) is not None:
            calls = found.setdefault(int(thread[1], 16), [])
        elif (call := _CALL.fullmatch(line)) is not None:
            calls.append(StackCall(*call.groups()))
    return found


def escaped(text: str) -> str:
    """Return a name as it stands in a dump."""
    return text.encode("ascii", "backslashreplace").decode("ascii")


def _file() -> IO[bytes]:
    """Return a file that no disk holds up, where the system has such files."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("stacks"), "w+b")
    return tempfile.TemporaryFile()
