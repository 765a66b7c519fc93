"""Regular scans of a watched folder, and one at once on request."""

from typing import Final, Protocol

from torrent_engine.engine.timers import Alarm

INTERVAL_S: Final = 2.0


class Scanned(Protocol):
    """A folder that can be scanned for new files."""

    async def scan(self, *, is_asked: bool = False) -> None:
        """Look for new files; ``is_asked`` takes those too that may be incomplete."""


class FolderWatcher:
    """Scans a folder until cancelled."""

    def __init__(
        self, folder: Scanned, interval_s: float = INTERVAL_S, *, alarm: Alarm | None = None
    ) -> None:
        self._folder = folder
        self._interval_s = interval_s
        self._alarm = alarm or Alarm()
        self._is_asked = False

    def scan_now(self) -> None:
        """Scan soon, at a user's request; ends the present pause."""
        self._is_asked = True
        self._alarm.ring()

    async def run(self) -> None:
        """Scan, pause, and begin again."""
        while True:
            is_asked, self._is_asked = self._is_asked, False
            await self._folder.scan(is_asked=is_asked)
            await self._alarm.wait(self._interval_s)
