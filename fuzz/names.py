"""Fuzz target of file names: every path of a torrent stays below the save path.

How to run it: ``python -m fuzz --help``.
"""

import random
import unicodedata
from contextlib import suppress

from fuzz.damage import damaged
from fuzz.runner import FuzzTarget, in_time
from torrent_engine.base.errors import MetainfoError
from torrent_engine.codec.paths import (
    COARSEST,
    EXACT,
    clean_path,
    escape_for_terminal,
    resolve_collisions,
)

NAMES = (
    b"a", b"..", b".", b"", b"con", b"CON.txt", b"name.", b"name ", b"c:\\x", b"a/b", b"\xff\xfe",
    "a\u202egpj.exe".encode(), "\u0041\u030a".encode(), "\u00c5".encode(), b"x" * 300, b"a:b",
    b"\x1b[31m", "\U0001f468\u200d\U0001f469".encode(), b"com1", "\u3000".encode(), b"A",
)  # fmt: skip


REORDERING = set("\u202a\u202b\u202d\u202e\u2066\u2067\u2068")
REFUSED = set("/\x00\x1b\x7f\u202e")
REFUSED_ON_WINDOWS = set('<>:"|?*\\')
MAX_PATHS = 16  # each is compared with all others, and three are enough to collide


@in_time
def fuzz_one(data: bytes) -> None:
    """Check paths, one a line, elements between zeros: safe on both flavours, all different."""
    lines = [line.split(b"\0") for line in data.split(b"\n")[:MAX_PATHS]]
    for windows in (False, True):
        with suppress(MetainfoError):
            paths = [clean_path(line, windows=windows) for line in lines]
            for path in paths:
                _check(path, windows=windows)
            for folding in (EXACT, COARSEST):
                resolved = resolve_collisions(paths, folding)
                assert len({folding.key(path) for path in resolved}) == len(resolved)
    shown = escape_for_terminal(data.decode("utf-8", "surrogateescape"))
    characters = set(shown)
    assert not {unicodedata.category(one) for one in characters} & {"Cc", "Cs", "Zl", "Zp"}
    assert not characters & REORDERING


def _check(path: tuple[str, ...], *, windows: bool) -> None:
    assert path
    for name in path:
        characters = set(name)
        assert name not in ("", ".", "..")
        assert not characters & REFUSED
        assert len(name.encode()) <= 255
        if windows:
            assert not characters & REFUSED_ON_WINDOWS
            assert not name.endswith((".", " "))
            assert name.partition(".")[0].rstrip().lower() not in ("con", "nul", "com1", "lpt9")


def mutated(rng: random.Random) -> bytes:
    """Return a few paths, mostly damaged."""
    lines = [b"\0".join(rng.choices(NAMES, k=rng.randrange(1, 4))) for _ in range(rng.randrange(5))]
    return damaged(b"\n".join(lines), rng, (b"\0", b"\n", b".", b" ", b"/", b"\xe2\x80\x8f"))


TARGETS = {
    "names": FuzzTarget(fuzz_one, mutated, max_bytes=320),
}
