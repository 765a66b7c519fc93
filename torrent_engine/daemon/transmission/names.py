"""Names of the protocol: snake_case, and the older spelling of each.

The older dialect has camelCase in torrents and statistics, and kebab-case in methods, session and
added torrents, with exceptions. Source: Transmission 4.1, docs/rpc-spec.md.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


METHODS: Final = _words(
    """
    torrent_start torrent_start_now torrent_stop torrent_verify torrent_reannounce torrent_set
    torrent_get torrent_add torrent_remove torrent_set_location torrent_rename_path session_get
    session_set session_stats session_close blocklist_update port_test queue_move_top
    queue_move_up queue_move_down queue_move_bottom free_space group_set group_get
    """
)
TORRENT_FIELDS: Final = _words(
    """
    activity_date added_date availability bandwidth_priority bytes_completed comment corrupt_ever
    creator date_created desired_available done_date download_dir download_limit download_limited
    downloaded_ever edit_date error error_string eta eta_idle file_count file_stats files group
    hash_string have_unchecked have_valid honors_session_limits id is_finished is_private
    is_stalled labels left_until_done magnet_link manual_announce_time max_connected_peers
    metadata_percent_complete name peer_limit peers peers_connected peers_from
    peers_getting_from_us peers_sending_to_us percent_complete percent_done piece_count piece_size
    pieces primary_mime_type priorities queue_position rate_download rate_upload recheck_progress
    seconds_downloading seconds_seeding seed_idle_limit seed_idle_mode seed_ratio_limit
    seed_ratio_mode sequential_download sequential_download_from_piece size_when_done source
    start_date status torrent_file total_size tracker_list tracker_stats trackers upload_limit
    upload_limited upload_ratio uploaded_ever wanted webseeds webseeds_ex webseeds_sending_to_us
    """
)
"""Everything that torrent_get can be asked for."""
_NESTED: Final = _words(
    """
    address announce announce_state begin_piece bytes_to_client bytes_to_peer client_is_choked
    client_is_interested client_name download_bytes_per_second download_count downloader_count
    end_piece flag_str from_cache from_dht from_incoming from_lpd from_ltep from_pex from_tracker
    has_announced has_scraped host is_backup is_downloading is_downloading_from is_encrypted
    is_incoming is_uploading_to is_utp last_announce_peer_count last_announce_result
    last_announce_start_time last_announce_succeeded last_announce_time last_announce_timed_out
    last_scrape_result last_scrape_start_time last_scrape_succeeded last_scrape_time
    last_scrape_timed_out leecher_count length next_announce_time next_scrape_time
    peer_id peer_is_choked peer_is_interested port priority progress rate_to_client rate_to_peer
    scrape scrape_state seeder_count sitename tier url
    """
)
"""Names inside files, peers, trackers and web seeds."""
_TORRENT_CHANGES: Final = _words(
    """
    ids fields format torrents removed location path move delete_local_data tracker_add
    tracker_remove tracker_replace
    """
)
_STATISTICS: Final = _words(
    """
    active_torrent_count cumulative_stats current_stats download_speed downloaded_bytes
    files_added paused_torrent_count seconds_active session_count torrent_count upload_speed
    uploaded_bytes
    """
)
_SESSION: Final = _words(
    """
    alt_speed_down alt_speed_enabled alt_speed_time_begin alt_speed_time_day
    alt_speed_time_enabled alt_speed_time_end alt_speed_up anti_brute_force_enabled
    anti_brute_force_threshold blocklist_enabled blocklist_size blocklist_url cache_size_mib
    config_dir default_trackers dht_enabled download_dir download_dir_free_space
    download_queue_enabled download_queue_size encryption idle_seeding_limit
    idle_seeding_limit_enabled incomplete_dir incomplete_dir_enabled lpd_enabled memory_bytes
    memory_units peer_limit_global peer_limit_per_torrent peer_port peer_port_random_on_start
    pex_enabled port_forwarding_enabled port_is_open preferred_transports queue_stalled_enabled
    queue_stalled_minutes rename_partial_files reqq rpc_version rpc_version_minimum
    rpc_version_semver script_torrent_added_enabled script_torrent_added_filename
    script_torrent_done_enabled script_torrent_done_filename script_torrent_done_seeding_enabled
    script_torrent_done_seeding_filename seed_queue_enabled seed_queue_size seed_ratio_limit
    seed_ratio_limited sequential_download session_id size_bytes size_units speed_bytes
    speed_limit_down speed_limit_down_enabled speed_limit_up speed_limit_up_enabled speed_units
    start_added_torrents tcp_enabled trash_original_torrent_files units utp_enabled version
    """
)
_ADDING: Final = _words(
    """
    bandwidth_priority cookies download_dir filename files_unwanted files_wanted hash_string id
    labels metainfo name paused peer_limit priority_high priority_low priority_normal
    sequential_download sequential_download_from_piece torrent_added torrent_duplicate group
    honors_session_limits ip_protocol path total_size
    """
)
_SAME: Final = _words(
    """
    begin_piece bytes_to_client bytes_to_peer download_bytes_per_second downloader_count end_piece
    ip_protocol is_downloading peer_id preferred_transports reqq sequential_download
    sequential_download_from_piece webseeds_ex
    """
)
"""Names without an older spelling."""
_KEBAB_IN_TORRENTS: Final = _words(
    """
    delete_local_data file_count files_unwanted files_wanted peer_limit primary_mime_type
    priority_high priority_low priority_normal
    """
)
_CAMEL_IN_SESSION: Final = _words(
    "bandwidth_priority hash_string honors_session_limits seed_ratio_limit seed_ratio_limited"
)
_ODD: Final = {"is_utp": "isUTP", "cache_size_mib": "cache-size-mb"}


def camel(name: str) -> str:
    """Return a snake_case name in camelCase."""
    return re.sub("_([a-z])", lambda match: match[1].upper(), name)


def kebab(name: str) -> str:
    """Return a snake_case name in kebab-case."""
    return name.replace("_", "-")


def _in_torrents(name: str) -> str:
    return kebab(name) if name in _KEBAB_IN_TORRENTS else camel(name)


def _in_session(name: str) -> str:
    return camel(name) if name in _CAMEL_IN_SESSION else kebab(name)


def _table(names: Iterable[str], older: Mapping[str, str]) -> dict[str, str]:
    return {name: _ODD.get(name, name if name in _SAME else older[name]) for name in names}


_TORRENT_NAMES: Final = (*TORRENT_FIELDS, *_NESTED, *_TORRENT_CHANGES)
TORRENT: Final = _table(_TORRENT_NAMES, {name: _in_torrents(name) for name in _TORRENT_NAMES})
"""Names in torrent_get and torrent_set, with their older spelling."""
SESSION: Final = _table(
    (*_SESSION, *_ADDING), {name: _in_session(name) for name in (*_SESSION, *_ADDING)}
) | {"total_size": "total_size"}
"""Names in everything else."""
STATISTICS: Final = {name: camel(name) for name in _STATISTICS} | {
    "cumulative_stats": "cumulative-stats",
    "current_stats": "current-stats",
}
"""Names in session_stats."""
METHOD_NAMES: Final = {name: kebab(name) for name in METHODS}


def _spellings() -> dict[str, str]:
    found: dict[str, str] = {}
    for table in (TORRENT, SESSION, STATISTICS, METHOD_NAMES):
        for name, older in table.items():
            found |= dict.fromkeys((name, older, camel(name), kebab(name)), name)
    return found


SPELLINGS: Final = _spellings()
"""Every spelling that the older dialect may use, with the snake_case name."""


def renamed(value: object, names: Mapping[str, str]) -> object:
    """Return a result with its names, and those inside it, replaced by a table."""
    if isinstance(value, dict):
        return {names.get(key, key): renamed(each, names) for key, each in value.items()}
    if isinstance(value, list):
        return [renamed(each, names) for each in value]
    return value
