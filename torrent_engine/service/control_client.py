"""The way to a state folder's torrents, whether a daemon, `run` or nobody has them."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import anyio

from torrent_engine.base.errors import NetworkError, StateInUseError
from torrent_engine.base.ids import InfoHash
from torrent_engine.service.control_api import ACTIONS, STATS, TORRENTS
from torrent_engine.service.control_socket import SOCKET_NAME, check_owner
from torrent_engine.service.daemon_torrents import DAEMON_SOCKET, DaemonTorrents
from torrent_engine.service.new_torrent import AdditionReport, NewTorrent
from torrent_engine.service.saved import SavedTorrents
from torrent_engine.service.socket_requests import SocketRequests, connected
from torrent_engine.service.torrents import (
    Change,
    Failure,
    TorrentAction,
    TorrentControl,
    TorrentDetail,
    TorrentRow,
)

ANSWER_S: Final = 60.0  # ours; moves and checks have no limit
CLAIM_S: Final = 5.0  # ours: a process that starts or ends has the folder for a moment
START_S: Final = 60.0  # ours: a daemon restores thousands of torrents within this
RETRY_S: Final = 0.1
_LONG: Final = frozenset({TorrentAction.MOVE, TorrentAction.RECHECK, TorrentAction.REMOVE})


@asynccontextmanager
async def open_torrents(folder: Path, *, claim_s: float = CLAIM_S) -> AsyncIterator[TorrentControl]:
    """Give control of a folder's torrents: by the process that runs them, else by the database.

    Raises StateInUseError if a process has the folder and does not answer for it, and NetworkError
    if a daemon starts for longer than a minute.
    """
    deadline = anyio.current_time() + claim_s
    while True:
        running = await find_process(folder)
        if running is not None:
            yield running
            return
        saved = SavedTorrents.open(folder)
        try:
            torrents = await saved.__aenter__()
        except StateInUseError:
            if anyio.current_time() > deadline:
                raise
            await anyio.sleep(RETRY_S)
            continue
        try:
            yield torrents
        finally:
            with anyio.CancelScope(shield=True):
                await saved.__aexit__(None, None, None)
        return


async def find_process(folder: Path) -> "TorrentControl | None":
    """Return the control of the `run` or the daemon of a folder; None if there is neither."""
    if await is_answered(folder / SOCKET_NAME):
        return RemoteTorrents(folder / SOCKET_NAME)
    path = folder / DAEMON_SOCKET
    if not await is_answered(path):
        return None
    daemon = DaemonTorrents(SocketRequests(path, ANSWER_S))
    try:
        with anyio.fail_after(START_S):
            while not await daemon.is_ready():  # noqa: ASYNC110 - another process
                await anyio.sleep(RETRY_S)
    except TimeoutError:
        raise NetworkError(f"{path}: the daemon is still starting; try again later") from None
    return daemon


async def is_answered(path: Path) -> bool:
    """Return whether somebody listens at a control socket.

    Raises StateDatabaseError if the socket is another user's.
    """
    if not check_owner(path):
        return False
    with suppress(OSError, TimeoutError):
        async with await connected(path):
            return True
    return False


class RemoteTorrents:
    """A :class:`TorrentControl` over the control socket of `run`; raises NetworkError."""

    def __init__(self, path: Path, *, answer_s: float = ANSWER_S) -> None:
        self._path = path
        self._requests = SocketRequests(path, answer_s)

    async def rows(self) -> list[TorrentRow]:
        """Return all torrents, in the order of the queue."""
        found = await self._requests.ask("GET", TORRENTS)
        try:
            return [TorrentRow.from_json(row) for row in found["torrents"]]
        except (LookupError, TypeError, ValueError):
            raise NetworkError(f"{self._path}: not understood") from None

    async def change(self, change: Change) -> "list[Failure]":
        """Do something with torrents; return with which it failed."""
        is_long = change.action in _LONG
        found = await self._requests.ask("POST", ACTIONS, change.to_json(), is_long=is_long)
        return [Failure(**failure) for failure in found["failed"]]

    async def add(self, torrent: NewTorrent) -> AdditionReport:
        """Add a torrent."""
        found = await self._requests.ask("POST", TORRENTS, torrent.to_json(), is_long=True)
        return AdditionReport(found["hash"], found["name"], not found["existing"])

    async def details(
        self, info_hash: InfoHash, detail: TorrentDetail
    ) -> "list[Mapping[str, Any]]":
        """Return the files, peers or trackers of a torrent."""
        found = await self._requests.ask("GET", f"{TORRENTS}/{info_hash.hex()}/{detail}")
        return list(found["items"])

    async def stats(self) -> Mapping[str, Any]:
        """Return numbers of all torrents together."""
        return await self._requests.ask("GET", STATS)
