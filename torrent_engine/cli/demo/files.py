"""The files of the demo: making them, and comparing what was downloaded with them."""

import filecmp
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

CHUNK_BYTES: Final = 4 << 20
SMALL_FILES: Final = 24
_LARGE: Final = (("film.mkv", 0.47), ("music/album.flac", 0.21), ("disc image.iso", 0.17))
_ODD: Final = (("empty.txt", 0), ("one byte", 1), ("Ünïcödé ☃.txt", 12_345))


def planned_files(size_bytes: int) -> dict[str, int]:
    """Return name -> length of files that have ``size_bytes`` (at least 1 MiB) in all.

    Odd lengths, an empty file and one of a single byte are among them.
    """
    plan = dict(_ODD)
    plan |= {f"photos/{n:03}.jpg": size_bytes // 5_000 + n * 37 + 1 for n in range(SMALL_FILES)}
    free_bytes = size_bytes - sum(plan.values())
    plan |= {name: int(free_bytes * share) | 1 for name, share in _LARGE}
    plan["rest.tar"] = size_bytes - sum(plan.values())
    return plan


def make_files(folder: Path, size_bytes: int) -> None:
    """Write the planned files, filled with random bytes."""
    source = random.Random()  # noqa: S311 - noise, no secret
    for name, length_bytes in planned_files(size_bytes).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for start in range(0, length_bytes, CHUNK_BYTES):
                file.write(source.randbytes(min(CHUNK_BYTES, length_bytes - start)))


def differences(expected: Path, found: Path) -> Iterator[str]:
    """Yield the relative path of each file that is not byte for byte the same in both folders."""
    names = _names(expected)
    yield from sorted(names ^ _names(found))
    for name in sorted(names & _names(found)):
        if not filecmp.cmp(expected / name, found / name, shallow=False):
            yield name


def _names(folder: Path) -> set[str]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix() for path in paths}
