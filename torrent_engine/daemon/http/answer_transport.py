"""The way of one answer to its client: its head and the beginning of its body leave together."""

import asyncio
from collections.abc import Callable


class AnswerTransport:
    """Writes to a transport for a cycle, which writes head, body and end one by one.

    The head waits for the body that follows at once, which spares a packet and half of the system
    calls. If none follows, as in a stream of events, it leaves with the next turn of the loop.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        close: Callable[[], None],
    ) -> None:
        """``close`` closes the connection in the transport's place."""
        self._transport = transport
        self._loop = loop
        self._close = close
        self._head: bytes | None = None
        self._has_begun = False
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Write a part; the first is the head, and an empty one says that no body follows at once.

        Then the head leaves now: at a stop the connection may be closed before the next turn.
        """
        if not data:
            self.flush()
            return
        if not self._has_begun:
            self._has_begun = True
            self._head = data
            self._loop.call_soon(self.flush)
            return
        head, self._head = self._head, None
        if head is None:
            self._transport.write(data)
        else:
            self._transport.writelines([head, data])

    def flush(self) -> None:
        """Write the head if it still waits."""
        head, self._head = self._head, None
        if head is not None and not self._transport.is_closing():
            self._transport.write(head)

    def close(self) -> None:
        """Close the connection behind what was written."""
        self.flush()
        self._close()
