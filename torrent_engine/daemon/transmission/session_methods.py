"""The methods about the daemon as a whole."""

import shutil
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, Protocol

from torrent_engine.base.errors import ConfigError, TorrentEngineError
from torrent_engine.daemon.engine_port.facts import NetworkFacts
from torrent_engine.daemon.jobs.blocklist import ListStatus
from torrent_engine.daemon.security.paths import PathRule
from torrent_engine.daemon.state.daemon_state import DaemonState
from torrent_engine.daemon.state.rows import StateRow
from torrent_engine.daemon.state.totals import EverTotals
from torrent_engine.daemon.transmission.dialect import Call, Dialect
from torrent_engine.daemon.transmission.errors import (
    DIRECTORY_NOT_ABSOLUTE,
    INVALID_PROTOCOL,
    NO_DIRECTORY,
    PATH_NOT_ALLOWED,
    ErrorCode,
    RpcError,
    invalid,
)
from torrent_engine.daemon.transmission.groups import KeptTable
from torrent_engine.daemon.transmission.names import SPELLINGS
from torrent_engine.daemon.transmission.params import Params
from torrent_engine.daemon.transmission.port_test import PortTest
from torrent_engine.daemon.transmission.session_facts import SessionChanges, SessionFacts
from torrent_engine.daemon.transmission.session_fields import NAMES, read_changes, tell_session
from torrent_engine.daemon.transmission.torrent_actions import NOTHING
from torrent_engine.daemon.transmission.torrent_fields import STATUSES

OPEN_FOR_S: Final = 1800.0
"""How long a connection from outside proves that the port is open."""
KEPT_KEY: Final = "session"
PROTOCOLS: Final = frozenset({"ipv4", "ipv6"})
_PATHS: Final = ("paths.download", "paths.incomplete")
MakeFacts = Callable[[], Awaitable[SessionFacts]]


class SessionMethods:
    """Settings of the daemon, by the names of the protocol."""

    def __init__(
        self,
        facts: MakeFacts,
        kept: KeptTable,
        change: Callable[[Mapping[str, Any]], object],
        paths: PathRule,
    ) -> None:
        """``change`` sets settings of the daemon, all or none; it raises ConfigError."""
        self._facts = facts
        self._kept = kept
        self._change = change
        self._paths = paths

    async def get(self, call: Call) -> Mapping[str, Any]:
        """Return chosen fields, or all."""
        value = call.params.get("fields")
        asked = (
            [each for each in value if isinstance(each, str)] if isinstance(value, list) else None
        )
        facts = await self._facts()
        if asked is None:
            return _worded(tell_session(facts), call.dialect)
        if call.dialect is Dialect.LEGACY:
            asked = [SPELLINGS.get(each, each) for each in asked]
        return _worded(tell_session(facts, NAMES.intersection(asked)), call.dialect)

    async def set(self, call: Call) -> Mapping[str, Any]:
        """Change fields, all or none of them."""
        changes = read_changes(Params(call.params), await self._facts())
        for key in _PATHS:
            folder = changes.settings.get(key)
            if folder and not await self._paths.allows(folder):
                raise invalid(PATH_NOT_ALLOWED)
        try:
            if changes.settings:
                self._change(changes.settings)
        except ConfigError as error:
            raise invalid(str(error)) from None
        self._keep(changes)
        return NOTHING

    def _keep(self, changes: SessionChanges) -> None:
        if changes.kept:
            self._kept.put(KEPT_KEY, {**(self._kept.get(KEPT_KEY) or {}), **changes.kept})


def _worded(values: dict[str, Any], dialect: Dialect) -> dict[str, Any]:
    if dialect is Dialect.LEGACY and values.get("encryption") == "allowed":
        return {**values, "encryption": "tolerated"}
    return values


# -- numbers --------------------------------------------------------------------------------------


class Statistics:
    """Numbers of all torrents together."""

    def __init__(self, state: DaemonState) -> None:
        self._state = state
        self._counts: dict[str, int] = {}
        self._counted_at: int | None = None
        """The revision of the rows that were counted."""

    async def get(self, call: Call) -> Mapping[str, Any]:
        """Return what runs, and what was moved."""
        revision = self._state.revisions.number
        if revision != self._counted_at:
            self._counts, self._counted_at = _counts(self._state.torrents), revision
        return {
            **self._counts,
            "cumulative_stats": _totals(self._state.totals.ever),
            "current_stats": _totals(self._state.totals.current),
        }


def _counts(rows: Iterable[StateRow]) -> dict[str, int]:
    """Return how many torrents run and how fast they are, all together."""
    active = count = download = upload = 0
    for row in rows:
        count += 1
        active += STATUSES[row.status] != 0
        download += row.rates.download_bytes_per_s
        upload += row.rates.upload_bytes_per_s
    return {
        "active_torrent_count": active,
        "download_speed": download,
        "paused_torrent_count": count - active,
        "torrent_count": count,
        "upload_speed": upload,
    }


def _totals(totals: EverTotals) -> dict[str, int]:
    return {
        "downloaded_bytes": totals.downloaded_bytes,
        "files_added": totals.torrents_added,
        "seconds_active": int(totals.active_s),
        "session_count": totals.sessions,
        "uploaded_bytes": totals.uploaded_bytes,
    }


# -- the machine ----------------------------------------------------------------------------------


class FetchedLists(Protocol):
    """The block lists that are fetched."""

    @property
    def statuses(self) -> Mapping[str, ListStatus]:
        """What is known of each, by its URL."""

    async def update(self, *, is_forced: bool = False) -> bool:
        """Fetch them."""


def rules_in(lists: FetchedLists | None) -> int:
    """Return how many ranges of addresses block lists have."""
    return 0 if lists is None else sum(each.ranges for each in lists.statuses.values())


class Machine:
    """The disk, the port, the block list and the process."""

    def __init__(
        self,
        paths: PathRule,
        network: Callable[[], NetworkFacts],
        port_test: PortTest,
        lists: Callable[[], FetchedLists | None],
        stop: Callable[[], Callable[[], None] | None],
        *,
        wall_clock: Callable[[], float],
    ) -> None:
        """``stop`` returns what stops the daemon, if that is allowed."""
        self._paths = paths
        self._network = network
        self._port_test = port_test
        self._lists = lists
        self._stop = stop
        self._wall_clock = wall_clock

    async def free_space(self, call: Call) -> Mapping[str, Any]:
        """Return what is free in a folder."""
        path = Params(call.params).text("path")
        if not path:
            raise invalid(NO_DIRECTORY)
        told = {"path": path, "size_bytes": -1, "total_size": -1}
        if not path.startswith("/"):
            raise RpcError(ErrorCode.PATH_NOT_ABSOLUTE, DIRECTORY_NOT_ABSOLUTE, told)
        if not await self._paths.allows(path):
            raise RpcError(ErrorCode.SYSTEM_ERROR, PATH_NOT_ALLOWED, told)
        try:
            usage = await self._paths.look(path, shutil.disk_usage, path)
        except OSError as error:
            raise RpcError(ErrorCode.SYSTEM_ERROR, error.strerror or str(error), told) from None
        return {"path": path, "size_bytes": usage.free, "total_size": usage.total}

    async def port_test(self, call: Call) -> Mapping[str, Any]:
        """Return whether peers can connect to us, as far as that is known."""
        protocol = Params(call.params).text("ip_protocol")
        if protocol is not None and protocol not in PROTOCOLS:
            raise invalid(INVALID_PROTOCOL)
        told = {} if protocol is None else {"ip_protocol": protocol}
        return {"port_is_open": await self._is_open(), **told}

    async def _is_open(self) -> bool:
        network = self._network()
        if self._port_test.is_configured:
            try:
                return await self._port_test.ask(network.announced_port)
            except TorrentEngineError as error:
                text = f"Couldn't test port: {error}"
                raise RpcError(ErrorCode.HTTP_ERROR, text) from None
        is_recent = self._wall_clock() - network.incoming_at <= OPEN_FOR_S
        if (network.incoming_at and is_recent) or network.mapping == "mapped":
            return True
        text = "Couldn't test port: no test service is configured"
        raise RpcError(ErrorCode.HTTP_ERROR, text)

    async def blocklist_update(self, call: Call) -> Mapping[str, Any]:
        """Fetch the block lists that are configured."""
        lists = self._lists()
        if lists is None or not lists.statuses:
            raise RpcError(ErrorCode.SYSTEM_ERROR, "Couldn't fetch blocklist: none is configured")
        await lists.update(is_forced=True)
        errors = [each.error for each in lists.statuses.values() if each.error]
        if errors:
            raise RpcError(ErrorCode.HTTP_ERROR, f"Couldn't fetch blocklist: {errors[0]}")
        return {"blocklist_size": rules_in(lists)}

    async def close(self, call: Call) -> Mapping[str, Any]:
        """Stop the daemon, if that is allowed."""
        stop = self._stop()
        if stop is None:
            text = "the daemon may not be stopped here: transmission.can_close is false"
            raise RpcError(ErrorCode.SYSTEM_ERROR, text)
        stop()
        return NOTHING
