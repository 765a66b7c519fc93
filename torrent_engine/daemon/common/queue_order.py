"""Moves of torrents in the queue, several at once."""

from collections.abc import Collection

from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.engine_port.port import EnginePort
from torrent_engine.daemon.state.daemon_state import DaemonState


class QueueOrder:
    """Moves torrents in the queue; those that are moved keep their order among themselves."""

    def __init__(self, port: EnginePort, state: DaemonState) -> None:
        self._port = port
        self._state = state

    async def top(self, chosen: Collection[InfoHash]) -> None:
        """Put torrents at the head of the queue."""
        for place, info_hash in enumerate(self._in_order(chosen)):
            self._port.control.move_to(info_hash, place)
        await self._state.queue_changed()

    async def bottom(self, chosen: Collection[InfoHash]) -> None:
        """Put torrents at the end of the queue."""
        last = len(self._port.torrents.hashes()) - 1
        for info_hash in self._in_order(chosen):
            self._port.control.move_to(info_hash, last)
        await self._state.queue_changed()

    async def up(self, chosen: Collection[InfoHash]) -> None:
        """Put each torrent one place forward; those at the head stay."""
        order = list(self._port.torrents.hashes())
        for place, info_hash in enumerate(order):
            if info_hash in chosen and place and order[place - 1] not in chosen:
                order[place - 1 : place + 1] = info_hash, order[place - 1]
                self._port.control.move_to(info_hash, place - 1)
        await self._state.queue_changed()

    async def down(self, chosen: Collection[InfoHash]) -> None:
        """Put each torrent one place back; those at the end stay."""
        order = list(self._port.torrents.hashes())
        for place in reversed(range(len(order) - 1)):
            info_hash, behind = order[place], order[place + 1]
            if info_hash in chosen and behind not in chosen:
                order[place : place + 2] = behind, info_hash
                self._port.control.move_to(info_hash, place + 1)
        await self._state.queue_changed()

    def _in_order(self, chosen: Collection[InfoHash]) -> list[InfoHash]:
        return [info_hash for info_hash in self._port.torrents.hashes() if info_hash in chosen]
