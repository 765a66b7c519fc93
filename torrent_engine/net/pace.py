"""Owns the pace of what costs much computing: so often a second, and whoever waits, in turn."""

import anyio


class Pace:
    """Lets one after the other go on; 0 times a second is without limit."""

    def __init__(self, per_second: float) -> None:
        self._interval_s = 1 / per_second if per_second else 0.0
        self._lock = anyio.Lock()
        self._next_s = float("-inf")

    async def turn(self) -> None:
        """Wait for one's turn; who is cancelled meanwhile takes nobody's."""
        async with self._lock:
            wait_s = self._next_s - anyio.current_time()
            if wait_s > 0:
                await anyio.sleep(wait_s)
            self._next_s = anyio.current_time() + self._interval_s
