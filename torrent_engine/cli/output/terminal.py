"""The terminal while something is drawn on it: what it echoes, and job control (Ctrl-Z, ``fg``)."""

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

from torrent_engine.service.system import HAS_JOB_CONTROL, stop_this_process

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

_LOCAL_FLAGS: Final = 3  # in what termios.tcgetattr returns


class ControlEcho:
    """Keeps the terminal from echoing ``^C`` and ``^Z`` into what is drawn."""

    def __init__(self) -> None:
        self._saved: list[Any] | None = None

    def hide(self) -> None:
        """Echo no control characters until :meth:`restore`; nothing without a terminal."""
        if not HAS_JOB_CONTROL or self._saved is not None or not is_foreground():
            return
        import termios

        with suppress(termios.error, OSError, ValueError):
            saved = termios.tcgetattr(sys.stdin.fileno())
            changed = [*saved]
            changed[_LOCAL_FLAGS] &= ~termios.ECHOCTL
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, changed)
            self._saved = saved

    def restore(self) -> None:
        """Echo them as before."""
        saved, self._saved = self._saved, None
        if saved is None or not is_foreground():
            return
        import termios

        with suppress(termios.error, OSError, ValueError):
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, saved)


def is_foreground() -> bool:
    """Return whether the terminal of stdin is ours: changing another's would stop the process."""
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError, AttributeError):
        return False


class Drawing(Protocol):
    """What draws on the terminal and can leave it to the shell for a while."""

    draws: bool

    def suspend(self) -> None:
        """Leave the terminal to the shell."""

    def resume(self) -> None:
        """Draw again."""


async def handle_job_control(reporter: Drawing, *, task_status: "TaskStatus[None]") -> None:
    """On Ctrl-Z take away what is drawn, then stop; draw again as soon as the terminal is ours."""
    import anyio

    if not HAS_JOB_CONTROL or not reporter.draws:
        task_status.started()
        return
    with anyio.open_signal_receiver(signal.SIGTSTP, signal.SIGCONT) as signals:
        task_status.started()
        async for number in signals:
            if number == signal.SIGTSTP:
                reporter.suspend()
                stop_this_process()
            if is_foreground():
                reporter.resume()
            await _let_loop_catch_up(anyio.sleep)


async def _let_loop_catch_up(sleep: Callable[[float], Awaitable[None]]) -> None:
    """Warn of no event loop that stood still: the whole process did."""
    from torrent_engine.engine.resources.loop_watch import REST_BEAT_S, logger

    logger.disabled = True
    try:
        await sleep(2 * REST_BEAT_S)
    finally:
        logger.disabled = False
