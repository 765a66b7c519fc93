"""Owns what a torrent moved over all its runs, and that the database knows it."""

from typing import Final

import anyio

from torrent_engine.base.ids import InfoHash
from torrent_engine.disk.state import StateStore
from torrent_engine.engine.torrent import Totals

SAVE_INTERVAL_S: Final = 30.0


class SavedTotals:
    """Adds the totals of this process to those of earlier ones."""

    def __init__(self, store: StateStore, info_hash: InfoHash, totals: Totals) -> None:
        self._store = store
        self._info_hash = info_hash
        self._totals = totals
        self._base_downloaded_bytes = self._base_uploaded_bytes = 0

    @property
    def downloaded_bytes(self) -> int:
        """Payload received over all runs."""
        return self._base_downloaded_bytes + self._totals.downloaded_bytes

    @property
    def uploaded_bytes(self) -> int:
        """Payload sent over all runs."""
        return self._base_uploaded_bytes + self._totals.uploaded_bytes

    async def load(self) -> None:
        """Take what the database knows; what moved in this process is in it."""
        record = await self._store.load(self._info_hash)
        if record is not None:
            self._base_downloaded_bytes = record.downloaded_bytes - self._totals.downloaded_bytes
            self._base_uploaded_bytes = record.uploaded_bytes - self._totals.uploaded_bytes

    async def save(self) -> None:
        """Tell the database."""
        await self._store.save_totals(
            self._info_hash,
            downloaded_bytes=self.downloaded_bytes,
            uploaded_bytes=self.uploaded_bytes,
        )

    async def run(self) -> None:
        """Tell it now and then, until cancelled; raises as the database does."""
        while True:
            await anyio.sleep(SAVE_INTERVAL_S)
            await self.save()
