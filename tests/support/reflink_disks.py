"""Small file systems whose files can share blocks, and how many bytes a file shares."""

import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support.processes import missing, require_program

KINDS: Final = {"btrfs": "btrfs-progs", "xfs": "xfsprogs"}
"""The Debian packages of the programs that make them."""
_IMAGE_BYTES: Final = 320 * 1024 * 1024  # sparse; XFS takes no less than 300 MiB
_FIEMAP: Final = 0xC020660B
_HEAD: Final = struct.Struct("=QQLLLL")
_EXTENT: Final = struct.Struct("=QQQQQLLLL")
_MAX_EXTENTS: Final = 1000
_SYNC: Final = 1
_SHARED: Final = 0x2000


@contextmanager
def reflink_disk(folder: Path, kind: str) -> Iterator[Path]:
    """Mount a file system of one kind; the test needs it, in CI at least."""
    program = require_program(f"mkfs.{kind}", KINDS[kind])
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    image, mounted = folder / f"{kind}.image", folder / kind
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(_IMAGE_BYTES)
    subprocess.run([program, "-q", str(image)], check=True, capture_output=True)
    command = ["mount", "-o", "loop", str(image), str(mounted)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        missing(f"{kind} cannot be mounted here: {done.stderr.strip()}")
    try:
        yield mounted
    finally:
        subprocess.run(["umount", "-l", str(mounted)], check=True)
        image.unlink()


def shared_bytes(path: Path) -> int:
    """Return how much of a file is in blocks that another one has, too; blocks may be short."""
    request = bytearray(_HEAD.size + _MAX_EXTENTS * _EXTENT.size)
    _HEAD.pack_into(request, 0, 0, 2**64 - 1, _SYNC, 0, _MAX_EXTENTS, 0)
    with path.open("rb") as file:
        fcntl.ioctl(file, _FIEMAP, request)
    count = _HEAD.unpack_from(request)[3]
    assert count < _MAX_EXTENTS
    size, total = path.stat().st_size, 0
    for number in range(count):
        start, _, length, _, _, flags, *_ = _EXTENT.unpack_from(
            request, _HEAD.size + number * _EXTENT.size
        )
        if flags & _SHARED:
            total += min(start + length, size) - start
    return total
