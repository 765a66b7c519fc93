"""Payload totals of a torrent over all its runs, saved in the database."""

from typing import Final

import anyio

from torrent_engine.base.ids import InfoHash
from torrent_engine.disk.state.store import StateStore
from torrent_engine.engine.swarm.context import Totals

SAVE_INTERVAL_S: Final = 30.0


class SavedTotals:
    """Adds the totals of this process to those of earlier ones."""

    def __init__(self, store: StateStore, info_hash: InfoHash, totals: Totals) -> None:
        self._store = store
        self._info_hash = info_hash
        self._totals = totals
        self._base = Totals()
        """Of earlier processes."""

    @property
    def downloaded_bytes(self) -> int:
        """Payload received over all runs."""
        return self._base.downloaded_bytes + self._totals.downloaded_bytes

    @property
    def uploaded_bytes(self) -> int:
        """Payload sent over all runs."""
        return self._base.uploaded_bytes + self._totals.uploaded_bytes

    @property
    def failed_bytes(self) -> int:
        """Payload that was wrong, over all runs."""
        return self._base.failed_bytes + self._totals.failed_bytes

    @property
    def redundant_bytes(self) -> int:
        """Payload that was here already or not asked for, over all runs."""
        return self._base.redundant_bytes + self._totals.redundant_bytes

    async def load(self) -> None:
        """Load the totals of earlier processes; those of this process are part of them."""
        record, here = await self._store.load(self._info_hash, with_metainfo=False), self._totals
        if record is not None:
            self._base = Totals(
                record.downloaded_bytes - here.downloaded_bytes,
                record.uploaded_bytes - here.uploaded_bytes,
                record.failed_bytes - here.failed_bytes,
                record.redundant_bytes - here.redundant_bytes,
            )

    async def save(self) -> None:
        """Save the totals; raises as the database does."""
        await self._store.save_totals(
            self._info_hash,
            downloaded_bytes=self.downloaded_bytes,
            uploaded_bytes=self.uploaded_bytes,
            failed_bytes=self.failed_bytes,
            redundant_bytes=self.redundant_bytes,
        )

    async def run(self) -> None:
        """Save the totals every 30 s until cancelled; raises as the database does."""
        while True:
            await anyio.sleep(SAVE_INTERVAL_S)
            await self.save()
