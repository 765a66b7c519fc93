"""Vectored sends, with a fallback that joins the buffers."""

import socket
from collections.abc import Sequence
from typing import Final

HAS_SENDMSG: Final = hasattr(socket.socket, "sendmsg")  # not on Windows
MAX_BUFFERS: Final = 512  # below IOV_MAX (1024) everywhere
MAX_JOINED_BYTES: Final = 64 * 1024  # ours: unsent bytes are copied again


def send_some(sock: socket.socket, buffers: Sequence[bytes | memoryview]) -> int:
    """Send as much of ``buffers`` as the socket accepts; return the number of bytes.

    Raises BlockingIOError if it accepts nothing, OSError if the connection is closed.
    """
    if HAS_SENDMSG:
        return sock.sendmsg(buffers[:MAX_BUFFERS])
    return sock.send(_joined(buffers))


def _joined(buffers: Sequence[bytes | memoryview]) -> bytes | memoryview:
    """Return the first buffer, joined with following ones up to a limit."""
    end, length = 1, len(buffers[0])
    for buffer in buffers[1:MAX_BUFFERS]:
        length += len(buffer)
        if length > MAX_JOINED_BYTES:
            break
        end += 1
    return buffers[0] if end == 1 else b"".join(buffers[:end])
