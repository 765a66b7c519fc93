"""Text for a terminal: wrapped at spaces, cut at the end or in the middle."""

import re
from typing import Final

INDENT: Final = "  "
MIN_LABEL_CHARS: Final = 8
MAX_LABEL_CHARS: Final = 60
LABEL_PART: Final = 3  # a name takes this part of the width
_BREAK: Final = re.compile(r" (?!(?:[KMGT]i)?B\b)")  # no number is parted from its unit


def wrapped(text: str, width: int, indent: str = INDENT, first: str = "") -> list[str]:
    """Return a text as lines of at most ``width`` columns; those behind the first are indented.

    ``first`` stands before the first. A word that is longer than a line, as a path or a link,
    stays whole, so that it can be copied.
    """
    from rich.cells import cell_len

    if cell_len(first) + cell_len(text) <= width:
        return [f"{first}{text}"]
    word, *words = _BREAK.split(text)
    lines = [f"{first}{word}"]
    for word in words:
        if cell_len(lines[-1]) + 1 + cell_len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(f"{indent}{word}")
    return lines


def labelled(label: str, text: str, width: int, *, ellipsis: str) -> list[str]:
    """Return ``label: text`` wrapped; the label is cut where they need more than a line."""
    whole = f"{label}: {text}" if label else text
    lines = wrapped(whole, width)
    if label and len(lines) > 1:
        return wrapped(f"{cut(label, label_chars(width), ellipsis=ellipsis)}: {text}", width)
    return lines


def label_chars(width: int) -> int:
    """Return how much of the width is for a name."""
    return min(MAX_LABEL_CHARS, max(MIN_LABEL_CHARS, width // LABEL_PART))


def cut(text: str, width: int, *, ellipsis: str) -> str:
    """Return a text that is not wider than ``width``; ``ellipsis`` stands for its end."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) <= width:
        return text
    kept = set_cell_size(text, max(0, width - len(ellipsis)))
    return f"{kept.rstrip()}{ellipsis}"


def cut_middle(text: str, width: int, *, ellipsis: str) -> str:
    """Return a text that is not wider than ``width``; ``ellipsis`` stands for its middle.

    A third is kept of the begin, the rest of the end: of an error that is its reason.
    """
    from rich.cells import cell_len, set_cell_size, split_text

    if cell_len(text) <= width:
        return text
    room = max(0, width - len(ellipsis))
    begin = set_cell_size(text, room // 3).rstrip()
    _, end = split_text(text, cell_len(text) - (room - room // 3))
    return f"{begin}{ellipsis}{end.lstrip()}"


def ellipsis_of(*, ascii_only: bool) -> str:
    """Return what stands for text that was cut."""
    return "..." if ascii_only else "…"


def padded(text: str, width: int, *, ellipsis: str) -> str:
    """Return a text that is exactly ``width`` columns wide: cut, or with spaces at its end."""
    from rich.cells import cell_len

    shown = cut(text, width, ellipsis=ellipsis)
    return shown + " " * (width - cell_len(shown))
