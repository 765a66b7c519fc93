"""Differences between operating systems in signals, processes, screens, pipes and Unix sockets."""

import os
import signal
import sys
from typing import Final

PLATFORM_NAME: Final = sys.platform
HAS_SIGNALS: Final = sys.platform != "win32"
"""Whether signals can be received in an event loop; on Windows Ctrl-C is a KeyboardInterrupt."""
HAS_JOB_CONTROL: Final = sys.platform != "win32"
"""Whether a terminal can stop and continue a process (Ctrl-Z, ``fg``)."""
HAS_UNIX_SOCKETS: Final = sys.platform != "win32"
HAS_WAITABLE_PIPES: Final = sys.platform != "win32"
"""Whether an event loop can wait for a pipe; on Windows it can for sockets only."""
HAS_DESCRIPTOR_PATHS: Final = sys.platform.startswith("linux")
"""Whether ``/proc/self/fd`` gives a short path to every open folder."""


def may_exist(pid: int) -> bool:
    """Return whether there may be a process with this id; always true on Windows.

    There signal 0 would end the process (it is CTRL_C_EVENT).
    """
    if sys.platform == "win32":
        return True
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True  # a process of another user
    except OSError:
        return False
    return True


def has_screen() -> bool:
    """Return whether a browser can be shown; over SSH there is mostly none, and no error either."""
    if sys.platform in {"win32", "darwin"}:
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def stop_this_process() -> None:
    """Stop this process as SIGTSTP does by default; return when it is continued."""
    if sys.platform != "win32":
        handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, handler)


def signal_group(pid: int, *, force: bool) -> bool:
    """Send SIGTERM, or SIGKILL with ``force``, to a process group; False where there are none.

    Raises ProcessLookupError.
    """
    if sys.platform == "win32":
        return False
    os.killpg(pid, signal.SIGKILL if force else signal.SIGTERM)
    return True
