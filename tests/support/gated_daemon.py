"""The command line with gates: python gated_daemon.py FOLDER daemon run ... (a process).

A file ``FOLDER/hold-verification`` keeps the threads that verify pieces waiting, all but the first
ones; ``FOLDER/hold-completion`` keeps a torrent, all of whose pieces were verified, from being
completed. ``FOLDER/is-held`` is written when something waits.
"""

import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import anyio

from torrent_engine.cli.main import main
from torrent_engine.codec.piece_hashes import Sha1Hashes
from torrent_engine.engine.runs.torrent_run import TorrentRun

PASSED_AT_ONCE: Final = 4
POLL_S: Final = 0.02


class Gate:
    """A file that holds whoever comes while it is there."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._file = folder / name

    @property
    def is_closed(self) -> bool:
        return self._file.exists()

    def tell(self) -> None:
        """Note that somebody waits."""
        (self._folder / "is-held").touch()


def hold_verification(
    gate: Gate, digest_of: Callable[[Any, int, Any], bytes]
) -> Callable[[Any, int, Any], bytes]:
    """Return what hashes a piece that was received, but behind a gate."""
    numbers = count()

    def held(hashes: Any, piece: int, parts: Any) -> bytes:
        if next(numbers) >= PASSED_AT_ONCE:
            while gate.is_closed:
                gate.tell()
                time.sleep(POLL_S)
        return digest_of(hashes, piece, parts)

    return held


def hold_completion(
    gate: Gate, complete: Callable[[TorrentRun], None]
) -> Callable[[TorrentRun], None]:
    """Return what completes a torrent, but behind a gate."""

    async def wait(run: TorrentRun) -> None:
        while gate.is_closed:  # noqa: ASYNC110 - another process opens it
            await anyio.sleep(POLL_S)
        complete(run)

    def held(run: TorrentRun) -> None:
        if gate.is_closed and not run.torrent.is_abandoned:
            gate.tell()
            assert run._tasks is not None
            run._tasks.start_soon(wait, run)
        else:
            complete(run)

    return held


def install(folder: Path) -> None:
    """Put the gates into the engine, until the end of the process."""
    digest_of = hold_verification(Gate(folder, "hold-verification"), Sha1Hashes.digest_of)
    patch.object(Sha1Hashes, "digest_of", digest_of).start()
    complete = hold_completion(Gate(folder, "hold-completion"), TorrentRun._on_complete)
    patch.object(TorrentRun, "_on_complete", complete).start()


if __name__ == "__main__":
    install(Path(sys.argv.pop(1)))
    main()
