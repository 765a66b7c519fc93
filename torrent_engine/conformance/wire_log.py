"""What was sent and received in one run of a rule, in order and with times."""

from collections.abc import Callable
from typing import Final

MAX_LINES: Final = 2_000  # of one run; a flood is shown by its beginning


class WireLog:
    """Lines such as ``0.013 a> request 0 0 16384``; the letter names the connection."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._start = clock()
        self._lines: list[str] = []

    def add(self, who: str, text: str) -> None:
        """Append a line; from the limit on it is only counted as one more."""
        if len(self._lines) < MAX_LINES:
            self._lines.append(f"{self._clock() - self._start:9.3f} {who} {text}")
        elif len(self._lines) == MAX_LINES:
            self._lines.append("          (more is left out)")

    def text(self) -> str:
        """Return all lines."""
        return "".join(f"{line}\n" for line in self._lines)

    def tail(self, count: int) -> list[str]:
        """Return the last lines."""
        return self._lines[-count:]
