"""The parts of this interface, put together from those of the daemon."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torrent_engine.daemon.common.add_defaults import AddDefaults, SettingsAccess
from torrent_engine.daemon.common.disk_space import FreeSpace
from torrent_engine.daemon.engine_port.facts import SeedRules
from torrent_engine.daemon.engine_port.port import EnginePort
from torrent_engine.daemon.security.paths import PathRule
from torrent_engine.daemon.settings.engine_config import download_folder
from torrent_engine.daemon.settings.model import SPECS, DaemonSettings
from torrent_engine.daemon.state.daemon_state import DaemonState
from torrent_engine.daemon.transmission.groups import Groups
from torrent_engine.daemon.transmission.port_test import PortTest
from torrent_engine.daemon.transmission.rpc import Rpc, RpcHandler
from torrent_engine.daemon.transmission.session_facts import SessionFacts
from torrent_engine.daemon.transmission.session_ids import SessionIds
from torrent_engine.daemon.transmission.session_methods import (
    KEPT_KEY,
    FetchedLists,
    Machine,
    SessionMethods,
    Statistics,
    rules_in,
)
from torrent_engine.daemon.transmission.torrent_actions import TorrentCalls
from torrent_engine.daemon.transmission.torrent_add import TorrentAdd
from torrent_engine.daemon.transmission.torrent_files import InBackground, TorrentFiles
from torrent_engine.daemon.transmission.torrent_get import TorrentGet
from torrent_engine.daemon.transmission.torrent_set import TorrentSet
from torrent_engine.daemon.transmission.views import GeneralFacts
from torrent_engine.service.add_options import AddOptions

TABLE: Final = "transmission"
"""What this interface keeps in the daemon's database."""
BY: Final = "Transmission RPC"
_MINUTE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class DaemonParts:
    """What this interface uses of the daemon."""

    port: EnginePort
    state: DaemonState
    settings: SettingsAccess
    paths: PathRule
    """Whether a path may be named."""
    in_background: InBackground
    stop: Callable[[], None]
    """Stop the daemon."""
    state_dir: Path
    blocklists: Callable[[], FetchedLists | None] = lambda: None
    """The block lists that are fetched; None while they are not."""
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time


def make_groups(parts: DaemonParts) -> Groups:
    """Return the groups of torrents."""
    rows = parts.state.torrents
    table = parts.state.store.table(TABLE)
    return Groups(parts.port.engine, table, lambda: {row.settings.group for row in rows})


def make_rpc(parts: DaemonParts, session_ids: SessionIds) -> Rpc:
    """Return what answers all methods."""
    facts = _Facts(parts, session_ids)
    kept = parts.state.store.table(TABLE)
    groups = make_groups(parts)
    session = SessionMethods(
        facts.session, kept, lambda values: parts.settings.change(values, BY), parts.paths
    )
    handlers = {
        **_torrent_handlers(parts, facts),
        "session_get": session.get,
        "session_set": session.set,
        "session_stats": Statistics(parts.state).get,
        "group_get": groups.get,
        "group_set": groups.set,
        **_machine_handlers(parts),
    }
    return Rpc(handlers, parts.state.saved)


def _torrent_handlers(parts: DaemonParts, facts: "_Facts") -> dict[str, RpcHandler]:
    port, state = parts.port, parts.state
    actions = TorrentCalls(port, state, parts.clock)
    files = TorrentFiles(port, state, actions.rows, parts.paths, parts.in_background)
    get = TorrentGet(
        port.torrents,
        state.torrents,
        state.shapes,
        facts.general,
        clock=parts.clock,
        wall_clock=parts.wall_clock,
    )
    add = TorrentAdd(
        port, state, facts.defaults, parts.paths, fetches_private=facts.fetches_private
    )
    return {
        "torrent_start": actions.start,
        "torrent_start_now": actions.start_now,
        "torrent_stop": actions.stop,
        "torrent_verify": actions.verify,
        "torrent_reannounce": actions.reannounce,
        "torrent_remove": actions.remove,
        "queue_move_top": actions.move_top,
        "queue_move_up": actions.move_up,
        "queue_move_down": actions.move_down,
        "queue_move_bottom": actions.move_bottom,
        "torrent_get": get.answer,
        "torrent_set": TorrentSet(port, state, actions.rows, facts.general).answer,
        "torrent_add": add.answer,
        "torrent_set_location": files.set_location,
        "torrent_rename_path": files.rename,
    }


def _machine_handlers(parts: DaemonParts) -> dict[str, RpcHandler]:
    settings = parts.settings
    machine = Machine(
        parts.paths,
        parts.port.engine.network,
        PortTest(lambda: settings.now.transmission.port_test_url, parts.port.engine.fetch_list),
        parts.blocklists,
        lambda: parts.stop if settings.now.transmission.can_close else None,
        wall_clock=parts.wall_clock,
    )
    return {
        "free_space": machine.free_space,
        "port_test": machine.port_test,
        "blocklist_update": machine.blocklist_update,
        "session_close": machine.close,
    }


class _Facts:
    """The settings of the daemon as the parts of this interface need them."""

    def __init__(self, parts: DaemonParts, session_ids: SessionIds) -> None:
        self._parts = parts
        self._session_ids = session_ids
        self._free_space = FreeSpace()
        self._defaults = AddDefaults(parts.settings, parts.state.labels)
        self.fetches_private = self._defaults.fetches_private

    def general(self) -> GeneralFacts:
        """Return what fields of torrents depend on."""
        now = self._parts.settings.now
        rules, idle_min = now.seeding, now.seeding.idle_min
        idle_s = None if idle_min is None else idle_min * _MINUTE_S
        copies = now.paths.torrents_copy
        return GeneralFacts(
            SeedRules(ratio=rules.ratio, idle_s=idle_s),
            now.limits.peers_per_torrent,
            str(Path(copies).expanduser()) if copies else "",
        )

    def defaults(self, labels: tuple[str, ...], is_private: bool) -> AddOptions:  # noqa: FBT001
        """Return what counts for a torrent about which a call says nothing.

        It goes to the folder of the category that its first label names.
        """
        return self._defaults.options(labels[0] if labels else "", is_private=is_private)

    async def session(self) -> SessionFacts:
        """Return the facts that fields of the session are told from."""
        parts, now = self._parts, self._parts.settings.now
        download_dir = str(download_folder(now))
        tables = parts.settings.tables
        return SessionFacts(
            values=values_of(now),
            kept=parts.state.store.table(TABLE).get(KEPT_KEY) or {},
            download_dir=download_dir,
            listen_port=parts.port.engine.network().listen_port,
            config_dir=str(parts.state_dir),
            session_id=self._session_ids.present,
            free_space=await self._free_space.of(download_dir),
            blocklist_url=next((each.url for each in tables.blocklist if each.url), ""),
            blocklist_size=rules_in(parts.blocklists()),
            hook_events=frozenset(each.event for each in tables.hook),
            deletes_watched=any(each.delete for each in tables.watch),
        )


def values_of(settings: DaemonSettings) -> dict[str, Any]:
    """Return settings by their keys."""
    sections = ((key, *key.split(".", 1)) for key in SPECS)
    return {key: getattr(getattr(settings, section), name) for key, section, name in sections}
