"""The library qbittorrent-api 2026.10.1: every method of its client that has a route here."""

import ast
from collections.abc import Callable
from functools import partial
from inspect import isfunction
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.contexts import make_context
from tests.daemon.fake_port import FakeEngine
from tests.support.daemon_process import DaemonProcess
from tests.support.processes import wait_until
from tests.support.torrents import make_torrent, write_files
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.daemon.qbittorrent.web_api import web_api_routes

qbittorrentapi = pytest.importorskip("qbittorrentapi")
from qbittorrentapi import Client  # noqa: E402
from qbittorrentapi.exceptions import (  # noqa: E402
    Conflict409Error,
    Forbidden403Error,
    InvalidRequest400Error,
    LoginFailed,
    NotFound404Error,
    UnsupportedMediaType415Error,
)

pytestmark = pytest.mark.interop
FILES = {"one.txt": b"1" * 40_000, "two.mkv": b"2" * 50_000, "sub/three.txt": b"3" * 9}
TRACKER = "http://127.0.0.1:9/announce"
"""Nothing listens there."""
HASH = "0123456789abcdef0123456789abcdef01234567"
MAGNET = f"magnet:?xt=urn:btih:{HASH}&dn=linked"
DONE = {"stalledUP", "uploading", "queuedUP", "stoppedUP"}
LIMIT_S = 180.0

NEWER = (
    "qBittorrent has it since a later version of its Web API than 2.11.4, which the daemon tells"
)
NO_FEEDS = "the daemon reads no feeds; the lists of them are empty"
NO_SEARCH = "the daemon searches nowhere; the lists of plugins and searches are empty"
NO_CREATOR = "torrents are made by the daemon's own interface, as jobs"
NOT_HERE = {
    "app_deleteAPIKey": NEWER,
    "app_getFreeSpaceAtPath": NEWER,
    "app_processInfo": NEWER,
    "app_rotateAPIKey": NEWER,
    "app_sendTestEmail": "the daemon sends no mail; a hook may",
    "app_setCookies": "cookies come with the link that is fetched, and are not kept",
    "clientdata_load": NEWER,
    "clientdata_store": NEWER,
    "torrents_downloadFile": NEWER,
    "torrents_fetchMetadata": NEWER,
    "torrents_parseMetadata": NEWER,
    "torrents_pieceAvailability": NEWER,
    "torrents_saveMetadata": NEWER,
    "torrents_setComment": NEWER,
    "torrents_setDownloadPath": "the folder of incomplete downloads is one for all torrents",
    "torrents_setSSLParameters": "no torrent has certificates of its own",
    "transfer_getSpeedLimits": NEWER,
    "transfer_pauseSession": NEWER,
    "transfer_resumeSession": NEWER,
    "transfer_setSpeedLimits": NEWER,
    "rss_addFeed": NO_FEEDS,
    "rss_addFolder": NO_FEEDS,
    "rss_cloneRule": NO_FEEDS,
    "rss_exportRules": NO_FEEDS,
    "rss_importRules": NO_FEEDS,
    "rss_markAsRead": NO_FEEDS,
    "rss_matchingArticles": NO_FEEDS,
    "rss_moveItem": NO_FEEDS,
    "rss_refreshItem": NO_FEEDS,
    "rss_removeItem": NO_FEEDS,
    "rss_removeRule": NO_FEEDS,
    "rss_renameRule": NO_FEEDS,
    "rss_setFeedRefreshInterval": NO_FEEDS,
    "rss_setFeedURL": NO_FEEDS,
    "rss_setRule": NO_FEEDS,
    "search_categories": NO_SEARCH,
    "search_delete": NO_SEARCH,
    "search_downloadTorrent": NO_SEARCH,
    "search_enablePlugin": NO_SEARCH,
    "search_installPlugin": NO_SEARCH,
    "search_results": NO_SEARCH,
    "search_start": NO_SEARCH,
    "search_stop": NO_SEARCH,
    "search_uninstallPlugin": NO_SEARCH,
    "search_updatePlugins": NO_SEARCH,
    "torrentcreator_addTask": NO_CREATOR,
    "torrentcreator_deleteTask": NO_CREATOR,
    "torrentcreator_torrentFile": NO_CREATOR,
}
"""Methods without a route, and why; by the name of the route with "_" for the slash."""
OLD_NAMES = {"torrents/pause", "torrents/resume"}
"""Routes that the library asks for only where the version is below 5."""


# -- the walk is complete -------------------------------------------------------------------------


def methods() -> dict[str, str]:
    """Return every method of the client by its own name, with the route that it asks for."""
    public = {
        name: member
        for cls in reversed(Client.__mro__)
        for name, member in vars(cls).items()
        if not name.startswith("_") and isfunction(member)
    }
    routes: dict[int, str] = {}
    for name, member in public.items():
        routes[id(member)] = max(routes.get(id(member), name), name, key=_is_camel)
    return {name: routes[id(member)] for name, member in public.items()}


def _is_camel(name: str) -> bool:
    return any(letter.isupper() for letter in name) or name == "app_webapiVersion"


def asked_for() -> set[str]:
    """Return what this file asks of a client, by the routes."""
    tree = ast.parse(Path(__file__).read_text())
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "client"
    }
    return {route for name, route in methods().items() if name in used}


def test_every_method_of_the_client_is_tested_or_has_a_reason() -> None:
    assert asked_for() | set(NOT_HERE) == set(methods().values())
    assert not asked_for() & set(NOT_HERE)


def test_every_route_is_asked_for() -> None:
    ours = {each.path for each in web_api_routes(make_context(FakeEngine()))}
    walked = {name.replace("_", "/", 1) for name in asked_for()}
    walked |= {"torrents/start", "torrents/stop"} & ours  # the library sends these for the older
    walked |= {"transfer/setSpeedLimitsMode", "transfer/toggleSpeedLimitsMode"} & ours
    assert ours - walked == OLD_NAMES


def test_methods_with_a_reason_have_no_route(daemon: DaemonProcess) -> None:
    fields = {"Authorization": f"Bearer {daemon.token}"}
    for name in NOT_HERE:
        path = f"/api/v2/{name.replace('_', '/', 1)}"
        assert daemon.request("POST", path, b"", **fields)[0] == 404, name


# -- torrents that are there ----------------------------------------------------------------------


def put(daemon: DaemonProcess, client: Any, name: str = "payload", **options: Any) -> Metainfo:
    """Add a torrent whose files are there; wait until they are checked."""
    metainfo, payload = make_torrent(FILES, name=name, tiers=[[TRACKER]])
    write_files(metainfo, payload, daemon.downloads)
    client.torrents_add(torrent_files=metainfo.to_bytes(), **options)
    wait_for(client, metainfo, "state", lambda state: state in DONE)
    return metainfo


def one(client: Any, metainfo: Metainfo | str) -> Any:
    key = metainfo if isinstance(metainfo, str) else metainfo.info_hash.hex()
    (found,) = client.torrents_info(torrent_hashes=key)
    return found


def wait_for(client: Any, metainfo: Metainfo, field: str, is_right: Callable[[Any], bool]) -> None:
    wait_until(
        lambda: is_right(one(client, metainfo)[field]),
        timeout_s=LIMIT_S,
        what=f"{field} of {metainfo.name}",
    )


# -- sessions and the application -----------------------------------------------------------------


def test_it_is_used_in_the_version_that_is_meant() -> None:
    from importlib.metadata import version

    assert version("qbittorrent-api") == "2026.10.1"


def test_login_and_logout(daemon: DaemonProcess) -> None:
    host = f"http://127.0.0.1:{daemon.port}"
    client: Any = Client(host=host, username="torrent", password=daemon.token)
    client.auth_log_in()
    assert client.is_logged_in
    client.auth_log_out()
    assert not client.is_logged_in
    with pytest.raises(LoginFailed):
        Client(host=host, username="torrent", password="wrong").auth_log_in()
    key: Any = Client(host=host, EXTRA_HEADERS={"Authorization": f"Bearer {daemon.token}"})
    assert key.app_version() == "v5.1.4"
    with pytest.raises((Forbidden403Error, LoginFailed)):
        Client(host=host).app_version()


def test_versions_and_folders(client: Any, daemon: DaemonProcess) -> None:
    assert client.app_version() == "v5.1.4"
    assert client.app_web_api_version() == "2.11.4"
    assert client.app_build_info()["libtorrent"].startswith("torrent_engine ")
    assert client.app_default_save_path() == str(daemon.downloads)
    assert client.app_cookies() == []
    (daemon.downloads / "folder").mkdir(exist_ok=True)
    assert str(daemon.downloads / "folder") in client.app_get_directory_content(daemon.downloads)


def test_network_interfaces(client: Any) -> None:
    names = [each.value for each in client.app_network_interface_list()]
    assert "lo" in names
    assert "127.0.0.1" in client.app_network_interface_address_list("lo")


def test_preferences(client: Any) -> None:
    before = client.app_preferences()
    assert before.web_ui_username == "torrent"
    client.app_set_preferences({"dl_limit": 5_000, "max_ratio_enabled": True, "max_ratio": 2.5})
    now = client.app_preferences()
    assert (now.dl_limit, now.max_ratio_enabled, now.max_ratio) == (5_000, True, 2.5)
    client.app_set_preferences({"dl_limit": 0, "max_ratio_enabled": False})
    assert client.app_preferences() == before


def test_log_and_bans(client: Any) -> None:
    records = client.log_main(normal=True, info=True, warning=True, critical=True)
    assert [each.id for each in records] == sorted(each.id for each in records)
    client.transfer_ban_peers(peers=["192.0.2.7:6881"])
    (ban,) = client.log_peers()
    assert (ban.ip, ban.blocked) == ("192.0.2.7", True)


def test_tabs_that_stay_empty(client: Any) -> None:
    assert client.rss_items() == {}
    assert client.rss_rules() == {}
    assert client.search_plugins() == []
    assert client.search_status() == []
    assert client.torrentcreator_status() == []


# -- torrents -------------------------------------------------------------------------------------


def test_torrents_are_added_listed_and_deleted(client: Any, daemon: DaemonProcess) -> None:
    metainfo = put(
        daemon, client, tags=["one", "two"], category="films", upload_limit=7_000, rename="shown"
    )
    torrent = one(client, metainfo)
    assert (torrent.name, torrent.tags, torrent.category) == ("shown", "one, two", "films")
    assert (torrent.progress, torrent.up_limit) == (1, 7_000)
    assert client.torrents_count() == 1
    assert client.torrents_info(status_filter="completed", category="films", sort="name")
    assert client.torrents_info(status_filter="downloading") == []
    assert client.torrents_add(torrent_files=metainfo.to_bytes()) == "Fails."
    assert client.torrents_add(urls=MAGNET, is_stopped=True) == "Ok."
    assert one(client, HASH).has_metadata is False
    with pytest.raises(UnsupportedMediaType415Error):
        client.torrents_add(torrent_files=b"nothing")
    client.torrents_delete(delete_files=True, torrent_hashes=metainfo.info_hash.hex())
    wait_until(
        lambda: not (daemon.downloads / "payload" / "one.txt").exists(),
        timeout_s=LIMIT_S,
        what="the files are gone",
    )
    client.torrents_delete(delete_files=False, torrent_hashes=HASH)
    assert client.torrents_count() == 0


def test_details_of_a_torrent(client: Any, daemon: DaemonProcess) -> None:
    metainfo = put(daemon, client)
    key = metainfo.info_hash.hex()
    properties = client.torrents_properties(key)
    assert (properties.pieces_have, properties.save_path) == (6, str(daemon.downloads))
    files = client.torrents_files(key)
    assert [each.name for each in files] == [f"payload/{name}" for name in FILES]
    assert [each.progress for each in files] == [1, 1, 1]
    urls = [each.url for each in client.torrents_trackers(key)]
    assert urls == ["** [DHT] **", "** [PeX] **", "** [LSD] **", TRACKER]
    assert client.torrents_piece_states(key) == [2] * 6
    assert client.torrents_piece_hashes(key)[0] == metainfo.piece_hash(0).hex()
    assert client.torrents_export(key) == metainfo.to_bytes()
    with pytest.raises(NotFound404Error):
        client.torrents_ssl_parameters(key)
    with pytest.raises(NotFound404Error):
        client.torrents_properties(HASH)


def test_torrents_are_stopped_started_forced_and_checked(
    client: Any, daemon: DaemonProcess
) -> None:
    metainfo = put(daemon, client)
    key = metainfo.info_hash.hex()
    client.torrents_stop(key)
    wait_for(client, metainfo, "state", lambda state: state == "stoppedUP")
    client.torrents_start(key)
    wait_for(client, metainfo, "state", lambda state: state == "stalledUP")
    client.torrents_set_force_start(enable=True, torrent_hashes=key)
    wait_for(client, metainfo, "state", lambda state: state == "forcedUP")
    client.torrents_set_force_start(enable=False, torrent_hashes=key)
    wait_for(client, metainfo, "force_start", lambda is_forced: is_forced is False)
    client.torrents_recheck(key)
    wait_for(client, metainfo, "state", lambda state: state == "stalledUP")
    client.torrents_reannounce(key)
    assert one(client, metainfo).progress == 1


def test_limits_and_switches(client: Any, daemon: DaemonProcess) -> None:
    metainfo = put(daemon, client)
    key = metainfo.info_hash.hex()
    client.torrents_set_download_limit(limit=2_000, torrent_hashes=key)
    client.torrents_set_upload_limit(limit=3_000, torrent_hashes=key)
    assert client.torrents_download_limit(key) == {key: 2_000}
    assert client.torrents_upload_limit(key) == {key: 3_000}
    client.torrents_set_share_limits(
        ratio_limit=1.5,
        seeding_time_limit=90,
        inactive_seeding_time_limit=-1,
        torrent_hashes=key,
    )
    torrent = one(client, metainfo)
    assert (torrent.ratio_limit, torrent.seeding_time_limit) == (1.5, 90)
    assert torrent.inactive_seeding_time_limit == -1
    client.torrents_toggle_sequential_download(key)
    client.torrents_toggle_first_last_piece_priority(key)
    client.torrents_set_super_seeding(enable=True, torrent_hashes=key)
    client.torrents_set_auto_management(enable=True, torrent_hashes=key)
    torrent = one(client, metainfo)
    assert (torrent.seq_dl, torrent.f_l_piece_prio) == (True, True)
    assert (torrent.super_seeding, torrent.auto_tmm) == (True, True)


def test_files_are_chosen_renamed_and_moved(client: Any, daemon: DaemonProcess) -> None:
    metainfo = put(daemon, client)
    key = metainfo.info_hash.hex()
    client.torrents_file_priority(key, file_ids=[0, 1], priority=7)
    assert [each.priority for each in client.torrents_files(key)] == [7, 7, 1]
    client.torrents_rename_file(key, old_path="payload/one.txt", new_path="payload/1.txt")
    client.torrents_rename_folder(key, old_path="payload/sub", new_path="payload/below")
    names = [each.name for each in client.torrents_files(key)]
    assert names == ["payload/1.txt", "payload/two.mkv", "payload/below/three.txt"]
    client.torrents_rename(key, new_torrent_name="other")
    assert one(client, metainfo).name == "other"
    for folder, move in (
        ("moved", client.torrents_set_location),
        ("saved", client.torrents_set_save_path),
    ):
        (daemon.downloads / folder).mkdir(exist_ok=True)
        path = str(daemon.downloads / folder)
        if folder == "moved":
            move(location=path, torrent_hashes=key)
        else:
            move(save_path=path, torrent_hashes=key)
        wait_for(client, metainfo, "save_path", partial(str.__eq__, path))
        assert (daemon.downloads / folder / "payload" / "below" / "three.txt").exists()
    with pytest.raises(Conflict409Error):
        client.torrents_set_location(location="/nowhere", torrent_hashes=key)


def test_categories_and_tags(client: Any, daemon: DaemonProcess) -> None:
    metainfo = put(daemon, client)
    key = metainfo.info_hash.hex()
    path = str(daemon.downloads / "series")
    client.torrents_create_category(name="series", save_path=path)
    assert client.torrents_categories()["series"].savePath == path
    with pytest.raises(Conflict409Error):
        client.torrents_create_category(name="series")
    client.torrents_edit_category(name="series", save_path="")
    client.torrents_set_category(category="series", torrent_hashes=key)
    assert one(client, metainfo).category == "series"
    client.torrents_remove_categories(categories=["series"])
    assert "series" not in client.torrents_categories()
    client.torrents_create_tags(tags=["a", "b"])
    client.torrents_add_tags(tags=["a", "c"], torrent_hashes=key)
    client.torrents_remove_tags(tags="a", torrent_hashes=key)
    assert one(client, metainfo).tags == "c"
    client.torrents_set_tags(tags=["d"], torrent_hashes=key)
    assert one(client, metainfo).tags == "d"
    assert {"a", "b", "c", "d"} <= set(client.torrents_tags())
    client.torrents_delete_tags(tags=["a", "b", "c", "d"])
    assert not {"a", "b", "c", "d"} & set(client.torrents_tags())


def test_trackers_peers_and_web_seeds(client: Any, daemon: DaemonProcess) -> None:
    metainfo = put(daemon, client)
    key = metainfo.info_hash.hex()
    other, third = "http://127.0.0.1:9/other", "http://127.0.0.1:9/third"

    def urls() -> list[str]:
        return [each.url for each in client.torrents_trackers(key) if each.tier >= 0]

    client.torrents_add_trackers(key, urls=[other])
    assert urls() == [TRACKER, other]
    client.torrents_edit_tracker(key, original_url=other, new_url=third)
    assert urls() == [TRACKER, third]
    client.torrents_remove_trackers(key, urls=[third])
    assert urls() == [TRACKER]
    added = client.torrents_add_peers(peers=["127.0.0.1:9"], torrent_hashes=key)
    assert added[key].added == 1
    assert client.sync_torrent_peers(key).full_update is True
    seed, new = "http://127.0.0.1:9/files/", "http://127.0.0.1:9/new/"
    client.torrents_add_webseeds(key, urls=[seed])
    assert [each.url for each in client.torrents_webseeds(key)] == [seed]
    client.torrents_edit_webseed(key, orig_url=seed, new_url=new)
    assert [each.url for each in client.torrents_webseeds(key)] == [new]
    client.torrents_remove_webseeds(key, urls=[new])
    assert client.torrents_webseeds(key) == []


def test_the_queue_is_ordered(client: Any, daemon: DaemonProcess) -> None:
    keys = {}
    for name in "abc":
        metainfo, _ = make_torrent({"x": name.encode() * 99_999}, name=name)
        client.torrents_add(torrent_files=metainfo.to_bytes(), is_stopped=True)
        keys[name] = metainfo.info_hash.hex()

    def order() -> str:
        return "".join(each.name for each in client.torrents_info(sort="priority"))

    client.torrents_top_priority(keys["c"])
    assert order() == "cab"
    client.torrents_bottom_priority(keys["a"])
    assert order() == "cba"
    client.torrents_increase_priority(keys["a"])
    assert order() == "cab"
    client.torrents_decrease_priority(keys["c"])
    assert order() == "acb"


# -- everything together --------------------------------------------------------------------------


def test_rates_and_their_alternatives(client: Any) -> None:
    assert client.transfer_info().connection_status in {"connected", "firewalled", "disconnected"}
    client.transfer_set_download_limit(limit=9_000)
    client.transfer_set_upload_limit(limit=8_000)
    assert (client.transfer_download_limit(), client.transfer_upload_limit()) == (9_000, 8_000)
    assert client.transfer_speed_limits_mode() == "0"
    client.transfer_set_speed_limits_mode(intended_state=True)
    assert client.transfer_speed_limits_mode() == "1"
    client.transfer_toggle_speed_limits_mode()
    assert client.transfer_speed_limits_mode() == "0"
    client.transfer_set_download_limit(limit=0)
    client.transfer_set_upload_limit(limit=0)


def test_changes_are_told_once(client: Any, daemon: DaemonProcess) -> None:
    first = client.sync_maindata(rid=0)
    assert first.full_update is True
    metainfo = put(daemon, client)
    key = metainfo.info_hash.hex()
    changed = client.sync_maindata(rid=first.rid)
    assert "full_update" not in changed
    assert changed.torrents[key].name == "payload"
    client.torrents_delete(delete_files=False, torrent_hashes=key)
    wait_until(
        lambda: key in client.sync_maindata(rid=changed.rid).get("torrents_removed", []),
        timeout_s=LIMIT_S,
        what="the removal is told",
    )


def test_what_is_missing_is_told(client: Any) -> None:
    with pytest.raises(InvalidRequest400Error):
        client.torrents_add()
    with pytest.raises(NotFound404Error):
        client.torrents_files(HASH)


def test_the_daemon_is_stopped_and_says_so(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path, settings=["qbittorrent.enabled=true"]) as daemon:
        daemon.wait_ready()
        client: Any = Client(
            host=f"http://127.0.0.1:{daemon.port}", username="torrent", password=daemon.token
        )
        client.auth_log_in()
        client.app_shutdown()  # raises where no answer comes
        assert daemon.wait(LIMIT_S) == 0
