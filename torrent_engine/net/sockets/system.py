"""Differences between operating systems in socket options, sockaddr layout and the C library."""

import ctypes
import socket
import struct
import sys
from typing import Final

IS_LINUX: Final = sys.platform == "linux"
"""Whether the socket options of Linux exist, for many of which Python has no names."""
IS_BSD: Final = sys.platform not in ("linux", "win32")
"""Whether a sockaddr has a length byte before its family (macOS and the BSDs)."""
HAS_DEVICES: Final = IS_LINUX and hasattr(socket, "SO_BINDTODEVICE")
"""Whether a socket can be bound to a network interface by name."""
NO_LINGER: Final = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
"""Value of SO_LINGER with which closing a socket resets its connection."""
REUSES_ADDRESS: Final = sys.platform != "win32"
"""Whether a listening socket needs SO_REUSEADDR after a restart; on Windows it steals the port."""
BINDS_TO_GROUP: Final = sys.platform != "win32"
"""Whether a socket can be bound to a multicast address."""


def c_library() -> ctypes.CDLL | None:
    """Return the C library of this process; None on Windows."""
    return None if sys.platform == "win32" else ctypes.CDLL(None)
