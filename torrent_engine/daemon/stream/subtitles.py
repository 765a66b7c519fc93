"""SubRip subtitles as WebVTT, which is what browsers show beside a video."""

import re
from typing import Final

MAX_SUBTITLE_BYTES: Final = 10 * 1024 * 1024
_TIMES: Final = re.compile(
    r"^[ \t]*(?P<a>\d{1,3}:\d{2}:\d{2}),(?P<b>\d{1,3})[ \t]*-->"
    r"[ \t]*(?P<c>\d{1,3}:\d{2}:\d{2}),(?P<d>\d{1,3})[^\n]*$",
    re.ASCII | re.MULTILINE,
)
_MARKS: Final = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)


def to_vtt(subrip: bytes) -> bytes:
    """Return SubRip as WebVTT: times and encoding are changed, nothing else.

    Text without a byte order mark that is no UTF-8 is read as Windows-1252, as most such files are.
    """
    text = _decode(subrip).replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    converted = _TIMES.sub(_with_points, text).lstrip("\n")
    return f"WEBVTT\n\n{converted}".encode("utf-8", "replace")


def _with_points(match: re.Match[str]) -> str:
    begin, end = _hours(match["a"]), _hours(match["c"])
    return f"{begin}.{match['b']:0>3} --> {end}.{match['d']:0>3}"


def _hours(clock: str) -> str:
    return clock if clock.index(":") >= 2 else f"0{clock}"


def _decode(data: bytes) -> str:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")
