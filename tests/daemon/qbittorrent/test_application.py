"""Versions, preferences, rates, the log and folders."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.qbittorrent.web_api_scene import WebApiScene
from torrent_engine.daemon.engine_port.facts import NetworkFacts
from torrent_engine.daemon.qbittorrent.preferences import PREFERENCES

pytestmark = pytest.mark.anyio


async def test_versions(scene: WebApiScene) -> None:
    assert await scene.text("app/version") == "v5.1.4"
    assert await scene.text("app/webapiVersion") == "2.11.4"
    assert await scene.text("app/defaultSavePath") == "/downloads"
    told = await scene.get("app/buildInfo")
    assert told["libtorrent"].startswith("torrent_engine ")
    assert told["bitness"] in {32, 64}


async def test_tabs_that_are_not_there_are_empty(scene: WebApiScene) -> None:
    assert await scene.get("rss/items") == {}
    assert await scene.get("rss/rules") == {}
    for path in ("search/plugins", "search/status", "torrentcreator/status", "app/cookies"):
        assert await scene.get(path) == []


async def test_shutdown_stops_the_daemon(scene: WebApiScene) -> None:
    assert await scene.post("app/shutdown") == ""
    assert scene.context.life.phase == "stopping"


async def test_interfaces_of_the_network(scene: WebApiScene) -> None:
    names = [each["value"] for each in await scene.get("app/networkInterfaceList")]
    every = await scene.get("app/networkInterfaceAddressList")
    assert "127.0.0.1" in every
    one = await scene.get("app/networkInterfaceAddressList", iface=names[0])
    assert set(one) <= set(every)
    assert await scene.get("app/networkInterfaceAddressList", iface="none such") == []


async def test_folders_below_allowed_ones_are_listed(tmp_path: Path) -> None:
    scene = WebApiScene()
    scene.context.paths._roots = lambda: [tmp_path / "in"]
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "file").touch()
    (tmp_path / "out").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "out")
    async with scene.open():
        folder = tmp_path / "in"

        async def names(mode: str) -> set[str]:
            path = str(folder)
            found = await scene.get("app/getDirectoryContent", dirPath=path, mode=mode)
            return {Path(each).name for each in found}

        assert await names("all") == {"sub", "file", "link"}
        assert await names("dirs") == {"sub", "link"}
        assert await names("files") == {"file"}
        for path in (tmp_path / "out", folder / "link", folder / "none", folder / "file"):
            answer = await scene.ask("GET", "app/getDirectoryContent", params={"dirPath": path})
            assert (answer.status_code, answer.text) == (404, "Directory does not exist")
        for params in ({}, {"dirPath": "sub"}, {"dirPath": str(folder), "mode": "x"}):
            answer = await scene.ask("GET", "app/getDirectoryContent", params=params)
            assert answer.status_code == 400


# -- preferences ----------------------------------------------------------------------------------


async def change(scene: WebApiScene, **values: Any) -> dict[str, Any]:
    await scene.post("app/setPreferences", json=json.dumps(values))
    return dict(await scene.get("app/preferences"))


async def test_what_is_told_can_be_written_back_and_changes_nothing(scene: WebApiScene) -> None:
    told = await scene.get("app/preferences")
    assert await change(scene, **told) == told
    assert scene.context.settings_store.revision == 1


CHANGES: dict[str, Any] = {
    "dl_limit": 5_000,
    "up_limit": 7_000,
    "alt_dl_limit": 1_000,
    "alt_up_limit": 2_000,
    "dht": False,
    "pex": False,
    "lsd": False,
    "upnp": False,
    "ip_filter_enabled": False,
    "encryption": 1,
    "listen_port": 12_345,
    "random_port": True,
    "max_connec": 300,
    "max_connec_per_torrent": 70,
    "max_active_downloads": 9,
    "max_active_uploads": 8,
    "max_active_torrents": 17,
    "queueing_enabled": False,
    "dont_count_slow_torrents": False,
    "max_ratio": 1.5,
    "max_seeding_time": 60,
    "max_inactive_seeding_time": 30,
    "max_ratio_act": 3,
    "scheduler_enabled": True,
    "scheduler_days": 2,
    "schedule_from_hour": 22,
    "schedule_from_min": 15,
    "schedule_to_hour": 6,
    "schedule_to_min": 45,
    "save_path": "/other/downloads",
    "temp_path_enabled": True,
    "add_stopped_enabled": True,
}


@pytest.mark.parametrize("name", CHANGES)
async def test_preferences_are_changed(scene: WebApiScene, name: str) -> None:
    assert (await change(scene, **{name: CHANGES[name]}))[name] == CHANGES[name]


async def test_all_changes_at_once(scene: WebApiScene) -> None:
    values = {name: value for name, value in CHANGES.items() if name != "random_port"}
    values["queueing_enabled"] = True
    told = await change(scene, **values)
    assert {name: told[name] for name in values} == values


@pytest.mark.parametrize("rule", ["max_ratio", "max_seeding_time", "max_inactive_seeding_time"])
async def test_a_switch_decides_over_the_number_of_a_rule(scene: WebApiScene, rule: str) -> None:
    told = await change(scene, **{f"{rule}_enabled": True, rule: 2})
    assert (told[rule], told[f"{rule}_enabled"]) == (2, True)
    told = await change(scene, **{rule: 3, f"{rule}_enabled": False})
    assert (told[rule], told[f"{rule}_enabled"]) == (-1, False)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{",
        '{"dht": 1}',
        '{"dl_limit": "5"}',
        '{"dl_limit": true}',
        '{"encryption": 7}',
        '{"max_ratio_act": -1}',
        '{"schedule_from_hour": 24}',
        '{"listen_port": 70000}',
        '{"max_connec": 0}',
        '{"save_path": 5}',
        "[" * 100_000,
        '{"dl_limit": 1e400}',
    ],
)
async def test_wrong_preferences_change_nothing(scene: WebApiScene, text: str) -> None:
    before = await scene.get("app/preferences")
    assert await scene.refused("app/setPreferences", json=text) == 400
    assert await scene.get("app/preferences") == before


async def test_a_folder_that_is_not_allowed_is_a_conflict(scene: WebApiScene) -> None:
    text = json.dumps({"save_path": "/etc", "dht": False})
    assert await scene.refused("app/setPreferences", json=text) == 409
    assert (await scene.get("app/preferences"))["dht"] is True


async def test_unknown_preferences_and_those_told_only_are_ignored(scene: WebApiScene) -> None:
    told = await change(scene, web_ui_port=1, no_such_key=[1], locale="de")
    assert (told["web_ui_port"], told["locale"]) == (9091, "en")
    assert len(PREFERENCES) > 45


# -- rates and bans -------------------------------------------------------------------------------


async def test_transfer_info(scene: WebApiScene) -> None:
    scene.engine.engine.network_facts = NetworkFacts(
        listen_port=6881,
        dht_nodes=40,
        external_addresses=("192.0.2.9", "2001:db8::9"),
        internet_incoming_at=1.0,
    )
    told = await scene.get("transfer/info")
    assert (told["connection_status"], told["dht_nodes"]) == ("connected", 40)
    assert told["last_external_address_v6"] == "2001:db8::9"
    scene.engine.engine.network_facts = NetworkFacts(listen_port=6881)
    assert (await scene.get("transfer/info"))["connection_status"] == "firewalled"
    scene.engine.engine.network_facts = NetworkFacts()
    assert (await scene.get("transfer/info"))["connection_status"] == "disconnected"


async def test_rates_of_all_torrents(scene: WebApiScene) -> None:
    await scene.post("transfer/setDownloadLimit", limit="5001")
    await scene.post("transfer/setUploadLimit", limit="1000")
    assert await scene.text("transfer/downloadLimit") == "6000"
    assert await scene.text("transfer/uploadLimit") == "1000"
    assert await scene.text("transfer/speedLimitsMode") == "0"
    await scene.post("transfer/toggleSpeedLimitsMode")
    assert await scene.text("transfer/speedLimitsMode") == "1"
    assert await scene.text("transfer/downloadLimit") == "50000"
    await scene.post("transfer/setDownloadLimit", limit="9000")
    assert await scene.text("transfer/downloadLimit") == "9000"
    await scene.post("transfer/setSpeedLimitsMode", mode="0")
    assert await scene.text("transfer/downloadLimit") == "6000"
    assert await scene.refused("transfer/setSpeedLimitsMode", mode="2") == 400
    assert await scene.refused("transfer/setUploadLimit", limit="x") == 400


async def test_banned_peers_are_in_the_log_of_peers(scene: WebApiScene) -> None:
    await scene.post("transfer/banPeers", peers="192.0.2.1:6881|[2001:db8::1]:1|nonsense")
    told = await scene.get("log/peers")
    assert [each["ip"] for each in told] == ["192.0.2.1", "2001:db8::1"]
    assert [each["blocked"] for each in told] == [True, True]
    assert len(await scene.get("log/peers", last_known_id=told[0]["id"])) == 1


async def test_log(scene: WebApiScene) -> None:
    with scene.context.log.attached():
        logger = logging.getLogger("torrent_engine.test")
        before = await scene.get("log/main")
        last = before[-1]["id"] if before else -1
        logger.warning("this is %s", "one")
        logger.error("two")
        told = await scene.get("log/main", last_known_id=last)
        assert [each["message"] for each in told] == ["this is one", "two"]
        assert [each["type"] for each in told] == [4, 8]
        only = await scene.get("log/main", last_known_id=last, critical="false")
        assert [each["message"] for each in only] == ["this is one"]
