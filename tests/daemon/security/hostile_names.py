"""Names that somebody puts into a torrent to do harm: 200 and more, as bytes of a .torrent."""

from collections.abc import Iterator
from itertools import product

CONTROLS = [bytes([code]) for code in (*range(1, 32), 127)]
C1_AND_SEPARATORS = [chr(c).encode() for c in (0x80, 0x85, 0x9B, 0x9F, 0x2028, 0x2029, 0xFEFF)]
DIRECTIONS = [chr(c).encode() for c in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E)]
INVISIBLE = [chr(c).encode() for c in (0xAD, 0x200B, 0x200D, 0x2060, 0xE0041, 0xFE0F, 0x0301)]
INVALID_UTF8 = [
    *(b"\xff", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf4\x90\x80\x80"),
    *(b"\xe2\x28\xa1", b"\x80", b"a\xfe\xffb", b"caf\xe9", b"\xa4\xc1\xa6\x72"),
]
MARKUP = [
    b"<script>alert(1)</script>",
    b"<img src=x onerror=alert(1)>",
    b'"><svg onload=alert(1)>',
    b"' onmouseover='alert(1)",
    b"</title><script src=//evil.example></script>",
    b"javascript:alert(1)",
    b"data:text/html,<script>1</script>",
    b"&lt;b&gt;",
    b"{{7*7}}",
    b"${7*7}",
    b"]]><!--",
]
LINES = [
    b"a\r\nSet-Cookie: x=y",
    b"a\r\n\r\n<html>",
    b"a\nevent: reset\ndata: {}\n\n",
    b"a\n\nid: 1\n\n",
    b"a\n#EXTINF:-1,evil\nhttp://evil.example/",
    b"#EXTM3U",
    b"a\n# HELP evil evil",
    b'a"} 1\nevil_metric 2',
    b"a\n2026-01-01 00:00:00 INFO torrent_engine: authentication failed from 1.2.3.4 for /",
    b"\x1b]0;title\x07",
    b"\x1b[2J\x1b[31m",
]
QUOTES = [b'"', b'\\"', b"a\\", b"'", b"`id`", b"$(id)", b";id", b"|id", b"%0d%0a", b"%s%n", b"%00"]
FORMULAS = [b"=1+1", b"+1", b"-1+1", b"@SUM(1)", b"=cmd|' /C calc'!A0"]
WAYS_OUT = [
    *(b"..", b".", b"../../etc/passwd", b"..\\..\\boot.ini", b"/etc/passwd", b"//host/share"),
    *(b"~", b"~root", b"a/../../b", b"....//", b"..%2f..%2f", b"C:\\a", b"C:a", b"\\\\?\\C:\\a"),
]
WINDOWS = [
    *(b"CON", b"con.txt", b"PRN", b"AUX", b"NUL", b"NUL.tar.gz", b"COM1", b"LPT9", b"COM\xc2\xb9"),
    *(b"a.", b"a ", b"a:b", b"file.txt::$DATA", b"a<b>c", b"a|b", b"a?b", b"a*b"),
]
LONG = [b"a" * 255, b"a" * 256, b"a" * 5_000, "\U0001f600".encode() * 300, b"/".join([b"a"] * 99)]
OTHERS = [
    *(b" ", b"  a  ", b"-rf", b"--help", b"\xe2\x80\x8b", b"\xef\xbc\x8e\xef\xbc\x8e"),
    *("ﷺ".encode(), "Z̃͑͗".encode() * 20, "İstanbul".encode(), "ß".encode(), "ﬀ".encode()),
    *(b"null", b"undefined", b"true", b"0", b"1e999", b"NaN", b"constructor", b"__proto__"),
]
SUFFIXES = (b".mkv", b".html", b".svg", b".js", b".srt", b".pdf")


def hostile_names() -> list[bytes]:
    """Return all of them, each once."""
    return list(dict.fromkeys(_names()))


def _names() -> Iterator[bytes]:
    for each in (*CONTROLS, *C1_AND_SEPARATORS, *DIRECTIONS, *INVISIBLE, *INVALID_UTF8):
        yield b"film" + each + b"vkm.exe"
    yield from (*MARKUP, *LINES, *QUOTES, *FORMULAS, *WAYS_OUT, *WINDOWS, *LONG, *OTHERS)
    for name, suffix in product((*MARKUP[:4], *LINES[:4]), SUFFIXES):
        yield name + suffix
