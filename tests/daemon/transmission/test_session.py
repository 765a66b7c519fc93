"""Fields of the session, statistics, the machine and groups."""

from pathlib import Path
from typing import Any

import pytest

from tests.daemon.transmission.field_types import (
    Check,
    is_bool,
    is_float,
    is_int,
    is_str,
    list_of,
    object_of,
)
from tests.daemon.transmission.rpc_scene import RpcScene
from torrent_engine.daemon.engine_port.facts import EngineState, GroupFacts, NetworkFacts
from torrent_engine.daemon.jobs.blocklist import ListStatus
from torrent_engine.daemon.settings.tables import BlocklistSettings, HookSettings, TableSettings
from torrent_engine.daemon.transmission.assembly import make_groups

pytestmark = pytest.mark.anyio
UNITS_OLD = object_of(
    **dict.fromkeys(("speed-units", "size-units", "memory-units"), list_of(is_str)),
    **dict.fromkeys(("speed-bytes", "size-bytes", "memory-bytes"), is_int),
)
UNITS_NEW = object_of(
    speed_units=list_of(is_str),
    size_units=list_of(is_str),
    memory_units=list_of(is_str),
    speed_bytes=is_int,
    size_bytes=is_int,
    memory_bytes=is_int,
)
TYPES: dict[str, Check] = {
    "alt-speed-down": is_int,
    "alt-speed-enabled": is_bool,
    "alt-speed-time-begin": is_int,
    "alt-speed-time-day": is_int,
    "alt-speed-time-enabled": is_bool,
    "alt-speed-time-end": is_int,
    "alt-speed-up": is_int,
    "anti-brute-force-enabled": is_bool,
    "anti-brute-force-threshold": is_int,
    "blocklist-enabled": is_bool,
    "blocklist-size": is_int,
    "blocklist-url": is_str,
    "cache-size-mb": is_int,
    "config-dir": is_str,
    "default-trackers": is_str,
    "dht-enabled": is_bool,
    "download-dir": is_str,
    "download-dir-free-space": is_int,
    "download-queue-enabled": is_bool,
    "download-queue-size": is_int,
    "encryption": is_str,
    "idle-seeding-limit": is_int,
    "idle-seeding-limit-enabled": is_bool,
    "incomplete-dir": is_str,
    "incomplete-dir-enabled": is_bool,
    "lpd-enabled": is_bool,
    "peer-limit-global": is_int,
    "peer-limit-per-torrent": is_int,
    "peer-port": is_int,
    "peer-port-random-on-start": is_bool,
    "pex-enabled": is_bool,
    "port-forwarding-enabled": is_bool,
    "preferred_transports": list_of(is_str),
    "queue-stalled-enabled": is_bool,
    "queue-stalled-minutes": is_int,
    "rename-partial-files": is_bool,
    "reqq": is_int,
    "rpc-version": is_int,
    "rpc-version-minimum": is_int,
    "rpc-version-semver": is_str,
    "script-torrent-added-enabled": is_bool,
    "script-torrent-added-filename": is_str,
    "script-torrent-done-enabled": is_bool,
    "script-torrent-done-filename": is_str,
    "script-torrent-done-seeding-enabled": is_bool,
    "script-torrent-done-seeding-filename": is_str,
    "seedRatioLimit": is_float,
    "seedRatioLimited": is_bool,
    "seed-queue-enabled": is_bool,
    "seed-queue-size": is_int,
    "sequential_download": is_bool,
    "session-id": is_str,
    "speed-limit-down": is_int,
    "speed-limit-down-enabled": is_bool,
    "speed-limit-up": is_int,
    "speed-limit-up-enabled": is_bool,
    "start-added-torrents": is_bool,
    "tcp-enabled": is_bool,
    "trash-original-torrent-files": is_bool,
    "units": UNITS_OLD,
    "utp-enabled": is_bool,
    "version": is_str,
}
NEWER = {
    "cache-size-mb": "cache_size_mib",
    "seedRatioLimit": "seed_ratio_limit",
    "seedRatioLimited": "seed_ratio_limited",
}


async def test_every_field_has_its_type_in_the_older_dialect(scene: RpcScene) -> None:
    told = await scene.ask("session-get")
    assert told.keys() == TYPES.keys()
    assert {name: told[name] for name, check in TYPES.items() if not check(told[name])} == {}
    assert told["encryption"] == "preferred"


async def test_every_field_has_its_type_in_the_newer_dialect(scene: RpcScene) -> None:
    told = await scene.call("session_get")
    types = {NEWER.get(name, name.replace("-", "_")): check for name, check in TYPES.items()}
    types["units"] = UNITS_NEW
    assert told.keys() == types.keys()
    assert {name: told[name] for name, check in types.items() if not check(told[name])} == {}


async def test_versions_are_those_that_clients_accept(scene: RpcScene) -> None:
    told = await scene.call("session_get")
    assert (told["rpc_version"], told["rpc_version_minimum"]) == (19, 14)
    assert told["rpc_version_semver"] == "6.0.1"
    assert told["version"].startswith("4.1.3 (torrent_engine ")


async def test_chosen_fields_are_told_and_unknown_ones_left_out(scene: RpcScene) -> None:
    told = await scene.ask("session-get", fields=["version", "rpc_version", "nothing", 5])
    assert told.keys() == {"version", "rpc-version"}
    assert await scene.call("session_get", fields=["rpc-version", "version"]) == {
        "version": told["version"]
    }
    assert await scene.call("session_get", fields=[]) == {}


LIVE: dict[str, Any] = {
    "alt_speed_down": 10,
    "alt_speed_up": 11,
    "alt_speed_enabled": True,
    "alt_speed_time_enabled": True,
    "alt_speed_time_begin": 60,
    "alt_speed_time_end": 120,
    "alt_speed_time_day": 65,
    "default_trackers": "https://a.example/announce\n\nudp://b.example:1/announce",
    "dht_enabled": False,
    "download_dir": "/downloads/new",
    "encryption": "required",
    "incomplete_dir": "/downloads/incomplete",
    "incomplete_dir_enabled": True,
    "lpd_enabled": False,
    "peer_limit_global": 99,
    "peer_limit_per_torrent": 9,
    "peer_port": 50_000,
    "pex_enabled": False,
    "port_forwarding_enabled": False,
    "preferred_transports": ["tcp"],
    "queue_stalled_minutes": 7,
    "queue_stalled_enabled": False,
    "sequential_download": True,
    "start_added_torrents": False,
}
SWITCHED = {
    "speed_limit_down_enabled": ("speed_limit_down", 123),
    "speed_limit_up_enabled": ("speed_limit_up", 45),
    "download_queue_enabled": ("download_queue_size", 3),
    "seed_queue_enabled": ("seed_queue_size", 4),
    "idle_seeding_limit_enabled": ("idle_seeding_limit", 15),
    "seed_ratio_limited": ("seed_ratio_limit", 1.5),
}


@pytest.mark.parametrize(("name", "value"), LIVE.items())
async def test_what_is_set_is_told(scene: RpcScene, name: str, value: object) -> None:
    assert await scene.call("session_set", **{name: value}) == {}
    assert (await scene.call("session_get", fields=[name]))[name] == value


@pytest.mark.parametrize(("switch", "case"), SWITCHED.items())
async def test_a_number_is_kept_while_its_switch_is_off(
    scene: RpcScene, switch: str, case: tuple[str, float]
) -> None:
    name, number = case
    for is_on in (True, False, True):
        await scene.call("session_set", **{switch: is_on, name: number})
        told = await scene.call("session_get", fields=[switch, name])
        assert told == {switch: is_on, name: number}
    await scene.call("session_set", **{switch: False})
    told = await scene.call("session_get", fields=[switch, name])
    assert told == {switch: False, name: number}
    await scene.call("session_set", **{switch: True})
    assert await scene.call("session_get", fields=[switch, name]) == {switch: True, name: number}


async def test_speeds_count_by_a_thousand(scene: RpcScene) -> None:
    await scene.ask("session-set", speed_limit_down=100, speed_limit_down_enabled=True)
    assert scene.settings.now.limits.download_kb_s == 100
    assert (await scene.ask("session-get"))["units"]["speed-bytes"] == 1000


async def test_a_client_may_write_back_all_that_it_read(scene: RpcScene) -> None:
    told = await scene.ask("session-get")
    answer = await scene.send({"method": "session-set", "arguments": told})
    assert answer["result"] == "success"
    assert scene.settings.changes == []
    told = await scene.call("session_get")
    assert await scene.call("session_set", **told) == {}
    assert scene.settings.changes == []


READ_ONLY: dict[str, Any] = {
    "anti_brute_force_threshold": 9,
    "blocklist_size": 9,
    "config_dir": "/x",
    "rpc_version": 1,
    "session_id": "x",
    "units": {},
    "version": "x",
    "cache_size_mib": 1,
}


@pytest.mark.parametrize(("name", "value"), READ_ONLY.items())
async def test_what_is_told_only_is_ignored(scene: RpcScene, name: str, value: object) -> None:
    before = await scene.call("session_get", fields=[name])
    assert await scene.call("session_set", **{name: value}) == {}
    assert await scene.call("session_get", fields=[name]) == before


FILE_ONLY: dict[str, Any] = {
    "blocklist_url": "https://x.example/",
    "rename_partial_files": True,
    "script_torrent_added_enabled": True,
    "script_torrent_done_enabled": True,
    "script_torrent_done_filename": "/bin/sh",
    "script_torrent_done_seeding_filename": "/bin/sh",
    "trash_original_torrent_files": True,
}


@pytest.mark.parametrize(("name", "value"), FILE_ONLY.items())
async def test_programs_and_the_like_are_of_the_file_only(
    scene: RpcScene, name: str, value: object
) -> None:
    error = await scene.error("session_set", speed_limit_up_enabled=True, **{name: value})
    text = f"can only be set in the configuration file: {name}"
    assert error["data"]["error_string"] == text
    assert scene.settings.changes == []


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "relative": ({"download_dir": "x"}, "download directory path is not absolute"),
    "relative_incomplete": (
        {"incomplete_dir": "x"},
        "incomplete torrents directory path is not absolute",
    ),
    "outside": ({"download_dir": "/etc"}, "path is outside the allowed folders"),
    "encryption": ({"encryption": "sometimes"}, "encryption"),
    "port": ({"peer_port": 70_000}, "peer_port"),
    "no_transport": ({"preferred_transports": []}, "preferred_transports"),
    "transport": ({"preferred_transports": ["quic"]}, "preferred_transports"),
    "twice": ({"preferred_transports": ["tcp", "tcp"]}, "preferred_transports"),
    "day": ({"alt_speed_time_day": 128}, "alt_speed_time_day"),
    "minute": ({"alt_speed_time_begin": 1440}, "alt_speed_time_begin"),
    "text": ({"speed_limit_down": "fast"}, "speed_limit_down"),
    "unlimited": (
        {"speed_limit_down": 0, "speed_limit_down_enabled": True},
        "speed_limit_down: more than 0 is needed",
    ),
    "tracker": ({"default_trackers": "nonsense"}, ""),
}


@pytest.mark.parametrize(("asked", "text"), WRONG.values(), ids=WRONG)
async def test_a_wrong_value_changes_nothing(
    scene: RpcScene, asked: dict[str, Any], text: str
) -> None:
    error = await scene.error("session_set", dht_enabled=False, **asked)
    assert error.get("data", {}).get("error_string", "").startswith(text)
    assert scene.settings.changes == []


async def test_a_value_of_the_environment_cannot_be_changed(scene: RpcScene) -> None:
    scene.settings.pinned.add("network.dht")
    text = await scene.refused("session-set", dht_enabled=False, lpd_enabled=False)
    assert text == "network.dht: is given by the environment"
    assert scene.settings.now.network.lsd


async def test_encryption_has_two_words_for_one_thing(scene: RpcScene) -> None:
    await scene.ask("session-set", encryption="tolerated")
    assert scene.settings.now.network.encryption == "allowed"
    assert (await scene.ask("session-get"))["encryption"] == "tolerated"
    assert (await scene.call("session_get"))["encryption"] == "allowed"


async def test_hooks_and_lists_are_shown(scene: RpcScene) -> None:
    scene.settings.tables = TableSettings(
        hook=(HookSettings("torrent_completed", ("/bin/true",)),),
        blocklist=(BlocklistSettings("https://lists.example/one"),),
    )
    told = await scene.call("session_get")
    assert told["script_torrent_done_enabled"] is True
    assert told["script_torrent_added_enabled"] is False
    assert (told["blocklist_enabled"], told["blocklist_url"]) == (True, "https://lists.example/one")


async def test_the_lists_are_switched_off_and_on(scene: RpcScene) -> None:
    for is_on in (False, True):
        assert await scene.ask("session-set", **{"blocklist-enabled": is_on}) == {}
        assert scene.settings.now.network.ip_filter_enabled is is_on
        assert (await scene.ask("session-get"))["blocklist-enabled"] is is_on


async def test_a_random_port_is_told_as_it_is_now(scene: RpcScene) -> None:
    scene.engine.engine.network_facts = NetworkFacts(listen_port=43_210)
    await scene.call("session_set", peer_port_random_on_start=True)
    told = await scene.call("session_get")
    assert (told["peer_port"], told["peer_port_random_on_start"]) == (43_210, True)
    await scene.call("session_set", peer_port=51_413, peer_port_random_on_start=False)
    assert scene.settings.now.network.port == 51_413


# -- numbers --------------------------------------------------------------------------------------


async def test_statistics_count_torrents_and_rates(scene: RpcScene) -> None:
    running: dict[str, Any] = {
        "state": EngineState.DOWNLOADING,
        "total_bytes": 9,
        "download_bytes_per_s": 700,
    }
    scene.put(name="a", **running, upload_bytes_per_s=5)
    scene.put(name="b", **running)
    scene.put(name="c")
    told = await scene.ask("session-stats")
    totals = {
        "uploadedBytes": 0,
        "downloadedBytes": 0,
        "filesAdded": 0,
        "secondsActive": 0,
        "sessionCount": 1,
    }
    assert told == {
        "activeTorrentCount": 2,
        "pausedTorrentCount": 1,
        "torrentCount": 3,
        "downloadSpeed": 1_400,
        "uploadSpeed": 5,
        "cumulative-stats": totals,
        "current-stats": totals,
    }


async def test_free_space_of_allowed_folders_is_told(scene: RpcScene, tmp_path: Path) -> None:
    scene.roots.append(str(tmp_path))
    told = await scene.ask("free-space", path=str(tmp_path))
    assert told.keys() == {"path", "size-bytes", "total_size"}
    assert told["path"] == str(tmp_path)
    assert 0 < told["size-bytes"] <= told["total_size"]


SPACES = {
    "directory path argument is missing": {},
    "directory path is not absolute": {"path": "x"},
    "path is outside the allowed folders": {"path": "/etc"},
    "No such file or directory": {"path": "/downloads/not/there"},
}


@pytest.mark.parametrize(("text", "arguments"), SPACES.items())
async def test_space_elsewhere_is_not_told(
    scene: RpcScene, text: str, arguments: dict[str, str]
) -> None:
    assert await scene.refused("free-space", **arguments) == text


async def test_a_port_is_open_if_peers_came_or_it_is_mapped(scene: RpcScene) -> None:
    text = "Couldn't test port: no test service is configured"
    assert await scene.refused("port-test") == text
    now = scene.engine.now_at
    scene.engine.engine.network_facts = NetworkFacts(incoming_at=now - 60)
    assert await scene.ask("port-test") == {"port-is-open": True}
    scene.engine.engine.network_facts = NetworkFacts(incoming_at=now - 3_600)
    assert (await scene.error("port_test"))["code"] == 8
    scene.engine.engine.network_facts = NetworkFacts(mapping="mapped")
    told = await scene.call("port_test", ip_protocol="ipv6")
    assert told == {"port_is_open": True, "ip_protocol": "ipv6"}
    assert (await scene.error("port_test", ip_protocol="ipx"))["data"]["error_string"] == (
        "invalid ip protocol string"
    )


async def test_no_list_is_fetched_without_one(scene: RpcScene) -> None:
    text = await scene.refused("blocklist-update")
    assert text == "Couldn't fetch blocklist: none is configured"


class ListsInMemory:
    """Block lists that are there once they were fetched."""

    def __init__(self, error: str = "") -> None:
        self.statuses = {"https://a": ListStatus(), "https://b": ListStatus(error=error)}

    async def update(self, *, is_forced: bool = False) -> bool:
        assert is_forced
        self.statuses["https://a"].ranges = 812
        self.statuses["https://b"].ranges = 5
        return True


async def test_lists_are_fetched(scene: RpcScene) -> None:
    lists = ListsInMemory()
    scene.again(blocklists=lambda: lists)
    assert (await scene.ask("session-get"))["blocklist-size"] == 0
    assert await scene.ask("blocklist-update") == {"blocklist-size": 817}
    assert (await scene.ask("session-get"))["blocklist-size"] == 817


async def test_a_list_that_cannot_be_fetched_tells_why(scene: RpcScene) -> None:
    lists = ListsInMemory("HTTP status 404")
    text = await scene.again(blocklists=lambda: lists).refused("blocklist-update")
    assert text == "Couldn't fetch blocklist: HTTP status 404"


async def test_the_daemon_is_stopped_only_if_that_is_allowed(scene: RpcScene) -> None:
    assert "can_close" in await scene.refused("session-close")
    assert scene.stops == 0
    scene.settings.change({"transmission.can_close": True}, "test")
    assert await scene.ask("session-close") == {}
    assert scene.stops == 1


# -- groups ---------------------------------------------------------------------------------------


GROUP = {
    "honorsSessionLimits": True,
    "name": "a",
    "speed-limit-down": 0,
    "speed-limit-down-enabled": False,
    "speed-limit-up": 0,
    "speed-limit-up-enabled": False,
}


async def test_groups_are_made_by_their_name(scene: RpcScene) -> None:
    assert await scene.ask("group-get") == {"group": []}
    await scene.ask("group-set", name="b")
    key = scene.put(name="x")
    await scene.ask("torrent-set", ids=[1], group="a")
    told = await scene.ask("group-get")
    assert told == {"group": [GROUP, {**GROUP, "name": "b"}]}
    assert await scene.ask("group-get", group="a") == {"group": [GROUP]}
    assert await scene.ask("group-get", group=["a", "c"]) == {"group": [GROUP]}
    assert await scene.field("group", key) == "a"
    await scene.ask("torrent-set", ids=[1], group="")
    assert await scene.field("group", key) == ""


async def test_groups_have_limits_that_are_kept_while_they_are_off(scene: RpcScene) -> None:
    limit = {"speed_limit_down": 50, "speed_limit_down_enabled": True}
    await scene.ask("group-set", name="a", honorsSessionLimits=False, **limit)
    group = {**GROUP, "honorsSessionLimits": False, "speed-limit-down": 50}
    assert await scene.ask("group-get") == {"group": [{**group, "speed-limit-down-enabled": True}]}
    facts = GroupFacts("a", 50_000, 0, honors_session_limits=False)
    assert scene.engine.engine.group_facts == {"a": facts}
    await scene.ask("group-set", name="a", speed_limit_down_enabled=False)
    assert await scene.ask("group-get") == {"group": [group]}
    assert scene.engine.engine.group_facts["a"].download_bytes_per_s == 0


async def test_groups_are_told_to_an_engine_that_is_opened_again(scene: RpcScene) -> None:
    await scene.ask("group-set", name="a", speed_limit_up=7, speed_limit_up_enabled=True)
    scene.engine.engine.group_facts.clear()
    make_groups(scene.parts).apply()
    assert scene.engine.engine.group_facts == {"a": GroupFacts("a", 0, 7_000)}


async def test_a_group_needs_a_name(scene: RpcScene) -> None:
    assert await scene.refused("group-set") == "No group name given"
    assert await scene.refused("group-set", name=" ") == "No group name given"
    assert "at most 256" in await scene.refused("group-set", name="x" * 257)
