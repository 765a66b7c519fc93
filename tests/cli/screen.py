"""A terminal as a text file: what is on the screen after output with control sequences."""

import io
import re
from dataclasses import dataclass, field

from rich.cells import cell_len

_TOKEN = re.compile(r"\x1b\[\??([0-9;]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


@dataclass
class Screen(io.TextIOBase):
    """A terminal of ``width`` columns that keeps all lines; colours are ignored."""

    width: int
    lines: list[str] = field(default_factory=lambda: [""])
    row: int = 0
    too_wide: list[str] = field(default_factory=list)
    """Lines that needed more columns than there are."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        for token in _TOKEN.finditer(text):
            numbers, command, control, plain = token.groups()
            if plain is not None:
                self._put(plain)
            elif control is not None:
                self._move(control)
            elif command is not None:
                self._obey(command, int(numbers or 1) if ";" not in numbers else 0)
        return len(text)

    def text(self) -> str:
        """Return what can be seen, without spaces at the ends of lines."""
        return "\n".join(line.rstrip() for line in self.lines).rstrip("\n") + "\n"

    def _put(self, text: str) -> None:
        """Write at the end of the line: what is drawn anew was erased before."""
        line = self.lines[self.row] + text
        if cell_len(line.rstrip()) > self.width:
            self.too_wide.append(line)
        self.lines[self.row] = line

    def _move(self, control: str) -> None:
        if control == "\n":
            self.row += 1
            if self.row == len(self.lines):
                self.lines.append("")

    def _obey(self, command: str, number: int) -> None:
        if command == "A":
            self.row = max(0, self.row - number)
        elif command == "K":
            self.lines[self.row] = ""
        else:
            assert command in "mhl", f"the terminal of the tests knows no {command}"
