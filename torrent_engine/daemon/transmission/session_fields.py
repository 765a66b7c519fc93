"""Every field of the session, in one table."""

from collections.abc import Iterable
from typing import Any, Final

from torrent_engine import __version__
from torrent_engine.daemon.transmission import errors
from torrent_engine.daemon.transmission.errors import invalid
from torrent_engine.daemon.transmission.params import Params
from torrent_engine.daemon.transmission.session_entries import (
    FileOnly,
    Plain,
    ReadOnly,
    Special,
    Switched,
    checked,
    read_path,
)
from torrent_engine.daemon.transmission.session_facts import (
    SessionChanges,
    SessionEntry,
    SessionFacts,
)
from torrent_engine.daemon.transmission.tracker_changes import read_tracker_list

RPC_VERSION_MINIMUM: Final = 14
RPC_SEMVER: Final = "6.0.1"
VERSION: Final = f"4.1.3 (torrent_engine {__version__})"
LOCKED_OUT_AFTER: Final = 5
WRITE_QUEUE_MIB: Final = 32
REQUESTS: Final = 2_000
_KILO, _KIBI = 1000, 1024
UNITS: Final = {
    "memory_bytes": _KIBI,
    "memory_units": ["KiB", "MiB", "GiB", "TiB", "PiB"],
    "size_bytes": _KILO,
    "size_units": ["kB", "MB", "GB", "TB", "PB"],
    "speed_bytes": _KILO,
    "speed_units": ["kB/s", "MB/s", "GB/s", "TB/s", "PB/s"],
}
_SCRIPTS: Final = {
    "script_torrent_added": "torrent_added",
    "script_torrent_done": "torrent_completed",
    "script_torrent_done_seeding": "seeding_finished",
}
_ENCRYPTIONS: Final = {"tolerated": "allowed", "disabled": "allowed"}


# -- fields with rules of their own ---------------------------------------------------------------


def _tell_encryption(facts: SessionFacts) -> dict[str, Any]:
    policy = facts.values["network.encryption"]
    return {"encryption": _ENCRYPTIONS.get(policy, policy)}


def _change_encryption(params: Params, facts: SessionFacts, changes: SessionChanges) -> None:
    name = params.text("encryption")
    policy = None if name is None else _ENCRYPTIONS.get(name, name)
    if policy is not None and policy != _tell_encryption(facts)["encryption"]:
        changes.settings["network.encryption"] = checked("network.encryption", "encryption", policy)


def _tell_port(facts: SessionFacts) -> dict[str, Any]:
    is_random = facts.values["network.port"] == 0
    port = facts.listen_port if is_random else facts.values["network.port"]
    return {"peer_port": port, "peer_port_random_on_start": is_random}


def _change_port(params: Params, facts: SessionFacts, changes: SessionChanges) -> None:
    port = params.bounded("peer_port", 0, 65_535)
    is_random = params.flag("peer_port_random_on_start")
    told = _tell_port(facts)
    if is_random is None:  # who names a port wants that one
        is_random = told["peer_port_random_on_start"] if port is None else port == 0
    port = told["peer_port"] if port is None else port
    if {"peer_port": port, "peer_port_random_on_start": is_random} != told:
        changes.settings["network.port"] = 0 if is_random else port


def _tell_stalled(facts: SessionFacts) -> dict[str, Any]:
    return {
        "queue_stalled_enabled": not facts.values["queue.count_slow"],
        "queue_stalled_minutes": max(round(facts.values["queue.slow_after_s"] / 60), 1),
    }


def _change_stalled(params: Params, facts: SessionFacts, changes: SessionChanges) -> None:
    is_on, minutes = params.flag("queue_stalled_enabled"), params.integer("queue_stalled_minutes")
    told = _tell_stalled(facts)
    if is_on is not None and is_on is not told["queue_stalled_enabled"]:
        changes.settings["queue.count_slow"] = not is_on
    if minutes is not None and minutes != told["queue_stalled_minutes"]:
        key = "queue.slow_after_s"
        changes.settings[key] = checked(key, "queue_stalled_minutes", minutes * 60)


def _tell_transports(facts: SessionFacts) -> dict[str, Any]:
    names = [name for name in ("utp", "tcp") if facts.values[f"network.{name}"]]
    return {
        "preferred_transports": names,
        "tcp_enabled": facts.values["network.tcp"],
        "utp_enabled": facts.values["network.utp"],
    }


def _change_transports(params: Params, facts: SessionFacts, changes: SessionChanges) -> None:
    """Read which transports are used; uTP is tried before TCP whatever their order."""
    told = _tell_transports(facts)
    is_on = params.flag("utp_enabled")
    if is_on is not None and is_on is not told["utp_enabled"]:
        changes.settings["network.utp"] = is_on
    names = params.texts("preferred_transports")
    if names is None or sorted(names) == sorted(told["preferred_transports"]):
        return
    if not names or set(names) - {"utp", "tcp"} or len(set(names)) != len(names):
        raise invalid("preferred_transports: utp and tcp, each once")
    changes.settings |= {"network.utp": "utp" in names, "network.tcp": "tcp" in names}


def _tell_download_dir(facts: SessionFacts) -> dict[str, Any]:
    return {"download_dir": facts.download_dir}


def _change_download_dir(params: Params, facts: SessionFacts, changes: SessionChanges) -> None:
    path = read_path(params, "download_dir", errors.DOWNLOAD_DIR_NOT_ABSOLUTE)
    if path and path != facts.download_dir:
        changes.settings["paths.download"] = path


def _tell_incomplete(facts: SessionFacts) -> dict[str, Any]:
    path = facts.values["paths.incomplete"]
    kept = facts.kept.get("incomplete_dir", facts.download_dir)
    return {"incomplete_dir": path or kept, "incomplete_dir_enabled": bool(path)}


def _change_incomplete(params: Params, facts: SessionFacts, changes: SessionChanges) -> None:
    path = read_path(params, "incomplete_dir", errors.INCOMPLETE_DIR_NOT_ABSOLUTE)
    is_on = params.flag("incomplete_dir_enabled")
    told = _tell_incomplete(facts)
    is_on = told["incomplete_dir_enabled"] if is_on is None else is_on
    chosen = path or told["incomplete_dir"]
    if {"incomplete_dir": chosen, "incomplete_dir_enabled": is_on} == told:
        return
    changes.settings["paths.incomplete"] = chosen if is_on else ""
    if not is_on:
        changes.kept["incomplete_dir"] = chosen


def _tell_default_trackers(facts: SessionFacts) -> dict[str, Any]:
    return {"default_trackers": "\n\n".join(facts.values["adding.trackers"])}


def _change_default_trackers(params: Params, facts: SessionFacts, changes: SessionChanges) -> None:
    text = params.text("default_trackers")
    if text is None:
        return
    urls = tuple(url for tier in read_tracker_list(text) for url in tier)
    if urls != tuple(facts.values["adding.trackers"]):
        changes.settings["adding.trackers"] = urls


def _tell_started(facts: SessionFacts) -> dict[str, Any]:
    return {"start_added_torrents": not facts.values["adding.paused"]}


def _change_started(params: Params, facts: SessionFacts, changes: SessionChanges) -> None:
    is_on = params.flag("start_added_torrents")
    if is_on is not None and is_on is facts.values["adding.paused"]:
        changes.settings["adding.paused"] = not is_on


# -- the table ------------------------------------------------------------------------------------

_SPECIAL: Final = (
    Special(("encryption",), _tell_encryption, _change_encryption),
    Special(("peer_port", "peer_port_random_on_start"), _tell_port, _change_port),
    Special(("queue_stalled_enabled", "queue_stalled_minutes"), _tell_stalled, _change_stalled),
    Special(
        ("preferred_transports", "tcp_enabled", "utp_enabled"), _tell_transports, _change_transports
    ),
    Special(("download_dir",), _tell_download_dir, _change_download_dir),
    Special(("incomplete_dir", "incomplete_dir_enabled"), _tell_incomplete, _change_incomplete),
    Special(("default_trackers",), _tell_default_trackers, _change_default_trackers),
    Special(("start_added_torrents",), _tell_started, _change_started),
)
_PLAIN: Final = (
    Plain("alt_speed_down", "limits.alt_download_kb_s"),
    Plain("alt_speed_up", "limits.alt_upload_kb_s"),
    Plain("alt_speed_enabled", "limits.alt_enabled"),
    Plain("alt_speed_time_enabled", "limits.alt_schedule"),
    Plain("alt_speed_time_begin", "limits.alt_begin_min"),
    Plain("alt_speed_time_end", "limits.alt_end_min"),
    Plain("alt_speed_time_day", "limits.alt_days"),
    Plain("blocklist_enabled", "network.ip_filter_enabled"),
    Plain("dht_enabled", "network.dht"),
    Plain("pex_enabled", "network.pex"),
    Plain("lpd_enabled", "network.lsd"),
    Plain("port_forwarding_enabled", "network.port_mapping"),
    Plain("peer_limit_global", "limits.peers"),
    Plain("peer_limit_per_torrent", "limits.peers_per_torrent"),
    Plain("sequential_download", "adding.sequential"),
)
_SWITCHED: Final = (
    Switched("speed_limit_down_enabled", "speed_limit_down", "limits.download_kb_s", 0, 100),
    Switched("speed_limit_up_enabled", "speed_limit_up", "limits.upload_kb_s", 0, 100),
    Switched("download_queue_enabled", "download_queue_size", "queue.downloads", 0, 5),
    Switched("seed_queue_enabled", "seed_queue_size", "queue.seeds", 0, 10),
    Switched("idle_seeding_limit_enabled", "idle_seeding_limit", "seeding.idle_min", None, 30),
    Switched("seed_ratio_limited", "seed_ratio_limit", "seeding.ratio", None, 2.0),
)
_READ_ONLY: Final = (
    ReadOnly("anti_brute_force_enabled", lambda _: True),
    ReadOnly("anti_brute_force_threshold", lambda _: LOCKED_OUT_AFTER),
    ReadOnly("blocklist_size", lambda facts: facts.blocklist_size),
    ReadOnly("cache_size_mib", lambda _: WRITE_QUEUE_MIB),
    ReadOnly("config_dir", lambda facts: facts.config_dir),
    ReadOnly("download_dir_free_space", lambda facts: facts.free_space),
    ReadOnly("reqq", lambda _: REQUESTS),
    ReadOnly("rpc_version", lambda facts: facts.values["transmission.rpc_version"]),
    ReadOnly("rpc_version_minimum", lambda _: RPC_VERSION_MINIMUM),
    ReadOnly("rpc_version_semver", lambda _: RPC_SEMVER),
    ReadOnly("session_id", lambda facts: facts.session_id),
    ReadOnly("units", lambda _: UNITS),
    ReadOnly("version", lambda _: VERSION),
)


def _script_enabled(prefix: str) -> FileOnly:
    event = _SCRIPTS[prefix]
    return FileOnly(f"{prefix}_enabled", lambda facts: event in facts.hook_events)


ENTRIES: Final[tuple[SessionEntry, ...]] = (
    *_SPECIAL,
    *_PLAIN,
    *_SWITCHED,
    *_READ_ONLY,
    *(_script_enabled(prefix) for prefix in _SCRIPTS),
    *(FileOnly(f"{prefix}_filename", lambda _: "") for prefix in _SCRIPTS),
    FileOnly("blocklist_url", lambda facts: facts.blocklist_url),
    FileOnly("rename_partial_files", lambda _: False),
    FileOnly("trash_original_torrent_files", lambda facts: facts.deletes_watched),
)
NAMES: Final = frozenset(name for entry in ENTRIES for name in entry.names)


def tell_session(facts: SessionFacts, names: Iterable[str] = NAMES) -> dict[str, Any]:
    """Return chosen fields; unknown ones are left out."""
    wanted = set(names)
    told: dict[str, Any] = {}
    for entry in ENTRIES:
        if not wanted.isdisjoint(entry.names):
            told |= entry.tell(facts)
    return {name: told[name] for name in sorted(wanted & told.keys())}


def read_changes(params: Params, facts: SessionFacts) -> SessionChanges:
    """Return what a call changes. Raises RpcError if anything of it cannot be."""
    changes = SessionChanges()
    for entry in ENTRIES:
        entry.change(params, facts, changes)
    return changes
