"""Datagrams that are dear to process: delivered in turns with the other tasks of the event loop.

One batch may have a thousand datagrams, which a handler that takes a millisecond for each would
process in one turn.
"""

import logging
from collections import deque
from typing import Final

import anyio

from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.sockets.datagrams import DatagramHandler
from torrent_engine.net.sockets.fairness import LOOP_TURN

logger = logging.getLogger(__name__)

MAX_WAITING: Final = 1_000  # ours: further ones are lost, as in a full socket


class DatagramQueue:
    """Handler of datagrams that hands them on in :meth:`run`."""

    def __init__(self, handler: DatagramHandler) -> None:
        self._handler = handler
        self._waiting: deque[tuple[bytes, PeerAddress]] = deque()
        self._wake = anyio.Event()
        self.dropped_count = 0
        """Datagrams that were one too many."""
        self.failed_count = 0
        """Datagrams whose handler raised something."""

    def receive_datagram(self, data: bytes, address: PeerAddress) -> None:
        """Let one datagram wait for its turn."""
        if len(self._waiting) >= MAX_WAITING:
            self.dropped_count += 1
            return
        self._waiting.append((data, address))
        self._wake.set()

    def batch_ended(self) -> None:
        """Do nothing: what is handed on in one turn is a batch of its own."""

    async def run(self) -> None:
        """Hand datagrams on until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = anyio.Event()
            while self._waiting:
                if LOOP_TURN.is_over:
                    await LOOP_TURN.pass_on()
                self._hand_on()

    def _hand_on(self) -> None:
        """Hand datagrams on until the time of this turn is over."""
        while self._waiting:
            try:
                self._handler.receive_datagram(*self._waiting.popleft())
            except Exception:  # anybody may send more of the same: the others have their turn
                if not self.failed_count:
                    logger.exception("a bug in the handling of a datagram; others are not logged")
                self.failed_count += 1
            if LOOP_TURN.is_over:
                break
        self._handler.batch_ended()
