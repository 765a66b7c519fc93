"""How the command line starts an event loop, and how signals end what runs in it."""

import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio

from torrent_engine.cli.exit_codes import ExitCode
from torrent_engine.cli.main import end_at_once

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

Result = TypeVar("Result")

STOP_GRACE_S: Final = 5.0  # ours: state is saved and trackers are told within this
HAS_SIGNAL_HANDLERS: Final = sys.platform != "win32"  # there Ctrl-C is a KeyboardInterrupt
FORCE_EXIT_S: Final = STOP_GRACE_S + 1.0  # ours: a stop that hangs is ended without asking twice


def run(function: Callable[[], Awaitable[Result]]) -> Result:
    """Run an async function in an event loop, uvloop where it exists."""
    options = {"use_uvloop": find_spec("uvloop") is not None}
    return anyio.run(function, backend_options=options)


async def obey_signals(
    stop: Callable[[], Coroutine[Any, Any, None]],
    give_up: Callable[[], ExitCode],
    limit_s: float = FORCE_EXIT_S,
    *,
    task_status: "TaskStatus[None]",
) -> None:
    """Await ``stop()`` on the first SIGINT or SIGTERM.

    On the second one, or when stopping takes more than ``limit_s``, call ``give_up()`` and end the
    process at once with the code that it returns.
    """
    if not HAS_SIGNAL_HANDLERS:
        task_status.started()
        return
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        await anext(signals)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stop)
            with anyio.move_on_after(limit_s):
                await anext(signals)
            end_at_once(give_up())


async def run_until_signalled(serve: Callable[[], Awaitable[object]]) -> ExitCode:
    """Run a server until SIGINT or SIGTERM cancels it."""
    async with anyio.create_task_group() as tasks:

        async def stop() -> None:
            tasks.cancel_scope.cancel()

        await tasks.start(obey_signals, stop, lambda: ExitCode.OK)
        await serve()
        tasks.cancel_scope.cancel()
    return ExitCode.OK
