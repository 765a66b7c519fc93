"""The event loop of a program of ours, and the signals that end it."""

import gc
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import anyio

from torrent_engine.service.system import HAS_SIGNALS

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

Result = TypeVar("Result")

STOP_GRACE_S: Final = 5.0  # ours: state is saved and trackers are told within this
FORCE_EXIT_S: Final = STOP_GRACE_S + 1.0  # ours: a stop that hangs is ended without asking twice


def run(function: Callable[[], Awaitable[Result]]) -> Result:
    """Run an async function in an event loop, uvloop where it exists."""
    _exempt_imports()
    options = {"use_uvloop": loop_name() == "uvloop"}
    return anyio.run(function, backend_options=options)


def loop_name() -> str:
    """Return what :func:`run` runs in: "uvloop" or "asyncio"."""
    return "asyncio" if find_spec("uvloop") is None else "uvloop"


@cache
def _exempt_imports() -> None:
    """Exempt what was imported from garbage collection, the first time.

    65,000 objects, which cost each full collection 44 ms (measured with ``run``).
    """
    if hasattr(gc, "freeze"):
        gc.freeze()


async def handle_signals(
    stop: Callable[[], Coroutine[Any, Any, None]],
    give_up: Callable[[], int],
    limit_s: float = FORCE_EXIT_S,
    *,
    task_status: "TaskStatus[None]",
) -> None:
    """Await ``stop()`` on the first SIGINT or SIGTERM.

    On the second one, or when stopping takes more than ``limit_s``, call ``give_up()`` and end the
    process at once with the code that it returns.
    """
    if not HAS_SIGNALS:
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


def end_at_once(code: int) -> NoReturn:
    """End the process without waiting for any task: the second Ctrl-C."""
    signal.set_wakeup_fd(-1)
    os._exit(code)


async def run_until_signalled(serve: Callable[[], Awaitable[object]]) -> None:
    """Run a server until SIGINT or SIGTERM cancels it."""
    async with anyio.create_task_group() as tasks:

        async def stop() -> None:
            tasks.cancel_scope.cancel()

        await tasks.start(handle_signals, stop, lambda: 0)
        await serve()
        tasks.cancel_scope.cancel()
