"""What is done to torrents: start, stop, verify, announce, remove, places in the queue."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from torrent_engine.base.errors import TorrentEngineError, UnknownTorrentError
from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.common.queue_order import QueueOrder
from torrent_engine.daemon.engine_port.port import EnginePort
from torrent_engine.daemon.state.daemon_state import DaemonState
from torrent_engine.daemon.state.rows import StateRow, TorrentStatus
from torrent_engine.daemon.transmission.dialect import Call
from torrent_engine.daemon.transmission.errors import ErrorCode, RpcError
from torrent_engine.daemon.transmission.ids import select
from torrent_engine.daemon.transmission.params import Params

DoneToEach = Callable[[InfoHash], Awaitable[None]]
NOTHING: Final[dict[str, Any]] = {}


def system_error(error: TorrentEngineError) -> RpcError:
    """Return the answer to an error of the engine."""
    return RpcError(ErrorCode.SYSTEM_ERROR, str(error))


class TorrentCalls:
    """The methods that do something with torrents and have no result."""

    def __init__(self, port: EnginePort, state: DaemonState, clock: Callable[[], float]) -> None:
        self._port = port
        self._state = state
        self._clock = clock
        self._order = QueueOrder(port, state)

    def rows(self, call: Call) -> list[StateRow]:
        """Return the torrents that a call means."""
        return select(call.params, self._state.torrents, self._clock()).rows

    async def _each(self, call: Call, action: DoneToEach) -> Mapping[str, Any]:
        """Do something with each torrent; what fails with one does not keep it from others.

        Raises RpcError for the first that failed.
        """
        failed: TorrentEngineError | None = None
        for row in self.rows(call):
            try:
                await action(row.info_hash)
            except UnknownTorrentError:
                pass  # removed meanwhile
            except TorrentEngineError as error:
                failed = failed or error
            self._state.look(row.info_hash)
        if failed is not None:
            raise system_error(failed)
        return NOTHING

    async def start(self, call: Call) -> Mapping[str, Any]:
        """Let torrents run when the queue permits."""
        return await self._each(call, self._port.control.start)

    async def start_now(self, call: Call) -> Mapping[str, Any]:
        """Let torrents run whatever the queue says."""
        return await self._each(call, self._port.control.start_now)

    async def stop(self, call: Call) -> Mapping[str, Any]:
        """Let no payload move."""
        return await self._each(call, self._port.control.pause)

    async def verify(self, call: Call) -> Mapping[str, Any]:
        """Begin to hash what is there; a torrent that is being checked goes on with that."""

        async def check(info_hash: InfoHash) -> None:
            row = self._state.torrents.get(info_hash)
            if row is None or row.status is not TorrentStatus.CHECKING:
                await self._port.control.recheck(info_hash)

        return await self._each(call, check)

    async def reannounce(self, call: Call) -> Mapping[str, Any]:
        """Ask trackers for peers."""

        async def announce(info_hash: InfoHash) -> None:
            self._port.control.reannounce(info_hash)

        return await self._each(call, announce)

    async def remove(self, call: Call) -> Mapping[str, Any]:
        """Remove torrents, with their files if asked for."""
        delete = bool(Params(call.params).flag("delete_local_data"))

        async def remove(info_hash: InfoHash) -> None:
            await self._port.control.remove(info_hash, delete_files=delete)

        return await self._each(call, remove)

    # -- the queue --------------------------------------------------------------------------

    async def move_top(self, call: Call) -> Mapping[str, Any]:
        """Put torrents at the head of the queue, in the order that they have."""
        await self._order.top(self._chosen(call))
        return NOTHING

    async def move_bottom(self, call: Call) -> Mapping[str, Any]:
        """Put torrents at the end of the queue, in the order that they have."""
        await self._order.bottom(self._chosen(call))
        return NOTHING

    async def move_up(self, call: Call) -> Mapping[str, Any]:
        """Put each torrent one place forward; those at the head stay."""
        await self._order.up(self._chosen(call))
        return NOTHING

    async def move_down(self, call: Call) -> Mapping[str, Any]:
        """Put each torrent one place back; those at the end stay."""
        await self._order.down(self._chosen(call))
        return NOTHING

    def _chosen(self, call: Call) -> set[InfoHash]:
        return {row.info_hash for row in self.rows(call)}
