"""Process that owns downloads: they are cancelled when it ends."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from torrent_engine.base.ids import OwnerTie
from torrent_engine.cli.output.exit_codes import CliError, ExitCode
from torrent_engine.service.system import may_exist

if TYPE_CHECKING:
    from torrent_engine.engine.resources.owners import Owners

LOOK_INTERVAL_S: Final = 0.5
_START_TIME_FIELD: Final = 19  # of /proc/PID/stat behind the name, from 0: proc_pid_stat(5)


class ProcessOwner:
    """A process as an owner: its life is one generation, its end begins the next."""

    def __init__(self, pid: int) -> None:
        """Find the process; raises CliError if there is none."""
        self.pid = pid
        self.tie = OwnerTie(f"process {pid}")
        try:
            self._start = _start_of(pid)
        except OSError as error:
            text = f"--owner-process {pid}: {error.strerror}"
            raise CliError(text, ExitCode.NOT_FOUND) from error
        if self._start is None:
            raise CliError(f"--owner-process {pid}: no such process", ExitCode.NOT_FOUND)

    @property
    def is_alive(self) -> bool:
        """Whether it is still that process, and not another with its number."""
        try:
            return _start_of(self.pid) == self._start
        except OSError:  # as without a descriptor: that says nothing of the owner
            return True

    async def watch(self, owners: "Owners") -> None:
        """Wait until the process has ended, then advance its owner generation."""
        while self.is_alive:  # noqa: ASYNC110 - the end of somebody else's process is no event
            await anyio.sleep(LOOK_INTERVAL_S)
        owners.advance(self.tie.owner_id, self.tie.generation + 1)


def _start_of(pid: int) -> str | None:
    """Return the start time of a process, which tells reused ids apart; None if there is none.

    Raises OSError if that cannot be seen.
    """
    if not may_exist(pid):
        return None
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "" if not Path("/proc/self").exists() else None
    is_dead = fields[:1] in (["Z"], ["X"])
    return None if is_dead or len(fields) <= _START_TIME_FIELD else fields[_START_TIME_FIELD]
