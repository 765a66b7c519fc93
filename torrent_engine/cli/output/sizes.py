"""Sizes, rates and durations as people write them, in both directions."""

import math
import re
from typing import Final

_FLAGS: Final = re.IGNORECASE | re.ASCII
_SIZE: Final = re.compile(r"(\d{1,18}(?:\.\d{1,9})?)\s*(?:([KMGT])(?:iB?)?|B)?", _FLAGS)
_PART: Final = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)([smhd])", _FLAGS)
_PLAIN: Final = re.compile(r"\d{1,9}(?:\.\d{1,3})?", _FLAGS)
_FACTORS: Final = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_UNIT_S: Final = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_MAX_BYTES: Final = 1 << 62
_MAX_ETA_S: Final = 100 * 86_400.0
_STEP: Final = 1024.0


def parse_size(text: str) -> int:
    """Read ``5M``, ``1.5GiB`` or ``300``: K, M, G and T are powers of 1024, as in aria2.

    Raises ValueError, also for negative numbers and for more than 2**62 bytes.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError("a size is a number with K, M, G or T behind it, such as 5M or 1.5G")
    size_bytes = int(float(match[1]) * _FACTORS.get((match[2] or "").upper(), 1))
    if size_bytes > _MAX_BYTES:
        raise ValueError("that is too large")
    return size_bytes


def parse_rate(text: str) -> int:
    """Read a rate in bytes per second: a size, with or without ``/s``; 0 is unlimited."""
    return parse_size(text.strip().removesuffix("/s"))


def parse_duration(text: str, *, plain_unit_s: float) -> float:
    """Read ``90s``, ``10m``, ``1h30m`` or ``2d`` as seconds.

    A plain number counts in ``plain_unit_s``. Raises ValueError.
    """
    text = text.strip()
    if _PLAIN.fullmatch(text):
        return float(text) * plain_unit_s
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError("a duration is a number with s, m, h or d behind it, such as 90s or 1h30m")
    return sum(float(number) * _UNIT_S[unit.lower()] for number, unit in parts)


def parse_ratio(text: str) -> float:
    """Read a share ratio such as ``1.5``. Raises ValueError."""
    try:
        ratio = float(text)
    except ValueError:
        ratio = math.nan
    if not 0 <= ratio < math.inf:
        raise ValueError("a ratio is a number of 0 or more, such as 1.5")
    return ratio


def format_size(size_bytes: float) -> str:
    """Return ``176.3 MiB``; whole bytes below 1 KiB."""
    value, unit = _scaled(size_bytes)
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def format_rate(bytes_per_s: float) -> str:
    """Return ``12.0 MiB/s``."""
    return f"{format_size(bytes_per_s)}/s"


def format_short(size_bytes: float) -> str:
    """Return ``12.0 MiB`` or ``512 MiB``, at most 8 characters; ``-`` for nothing."""
    if size_bytes < 1:
        return "-"
    value, unit = _scaled(size_bytes)
    if unit not in {"B", "TiB"} and value >= _STEP - 0.5:
        value, unit = _scaled(size_bytes * _STEP / (_STEP - 1))  # "1.0 MiB", not "1024 KiB"
    return f"{value:.1f} {unit}" if unit != "B" and value < 99.95 else f"{value:.0f} {unit}"


def format_progress(done_bytes: int, total_bytes: int) -> str:
    """Return ``176.3/304.0 MiB``, both in the unit of the total."""
    _, unit = _scaled(total_bytes)
    if unit == "B":
        return f"{done_bytes}/{total_bytes} B"
    factor = _FACTORS[unit[0]]
    return f"{done_bytes / factor:.1f}/{total_bytes / factor:.1f} {unit}"


def format_duration(seconds: float | None) -> str:
    """Return ``0:07``, ``1:02:03`` or ``3d 04h``; ``-`` for None and for more than 100 days."""
    if seconds is None or not 0 <= seconds <= _MAX_ETA_S:
        return "-"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    if hours >= 24:
        return f"{hours // 24}d {hours % 24:02}h"
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def format_percent(done: float, total: float) -> str:
    """Return ``58.1%``; never 100% before it is."""
    if total <= 0 or done >= total:
        return "100%"
    return f"{math.floor(done / total * 1000) / 10:.1f}%"


def _scaled(value: float) -> tuple[float, str]:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < (_STEP if unit == "B" else _STEP - 0.05):
            return value, unit
        value /= _STEP
    return value, "TiB"
