"""Debian's qbittorrent-nox (4.5.2) beside ours: the same questions, keys and JSON types alike.

It tells version 2.8.19 of the Web API and we 2.11.4: what came between is listed here, and so is
what only means something there. A key that appears or disappears on either side fails.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.daemon.qbittorrent.interop.oracle import (
    CATEGORY,
    BothPrograms,
    fractions,
    kind,
    whole_doubles,
    wrong_types,
)
from tests.support.daemon_process import DaemonProcess
from tests.support.netns import LOOPBACK
from tests.support.processes import free_port
from tests.support.qbittorrent_client import QBittorrentClient

pytestmark = pytest.mark.interop
LATER = {
    "torrents/info": {
        "comment",
        "has_metadata",
        "inactive_seeding_time_limit",
        "max_inactive_seeding_time",
        "popularity",
        "private",
        "reannounce",
        "root_path",
    },
    "torrents/properties": {"has_metadata", "popularity", "private", "progress"},
    "app/buildInfo": {"platform"},
    "transfer/info": {"last_external_address_v4", "last_external_address_v6"},
}
"""Keys that came after 2.8.19, by the question."""
IN_DELTAS = {"has_other_announce_error", "has_tracker_error", "has_tracker_warning"}
LATER_PREFERENCES = {
    "add_stopped_enabled",
    "max_inactive_seeding_time",
    "max_inactive_seeding_time_enabled",
}


WITHOUT_MEANING = {
    "is a setting of libtorrent or of its disk cache": (
        "announce_ip announce_to_all_ async_io_threads checking_memory_use connection_speed"
        " disk_ enable_coalesce enable_multi enable_piece enable_upload file_pool_size"
        " hashing_threads idn_support limit_ max_concurrent_http max_uploads memory_working_set"
        " outgoing_ports peer_t reannounce_when request_queue_size send_buffer socket_backlog"
        " stop_tracker_timeout upload_ upnp_lease utp_tcp validate_https block_peers"
        " bittorrent_protocol performance_warning"
    ),
    "is a feature that the daemon does not have": (
        "add_trackers alternative_webui auto_delete_mode auto_tmm dyndns embedded_tracker"
        " enable_embedded excluded_file_names mail_notification max_active_checking"
        " recheck_completed resolve_peer rss_ category_changed save_path_changed"
        " torrent_changed use_category_paths torrent_content torrent_stop incomplete_files_ext"
    ),
    "is in the configuration file only": (
        "autorun banned_IPs bypass_ current_ export_dir ip_filter_ proxy_ ssrf use_https web_ui_"
    ),
    "is the interface's own or the way of storing": (
        "refresh_interval resume_data save_resume slow_torrent"
    ),
}
"""Why the daemon does not tell a preference, with beginnings of names."""


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BothPrograms]:
    folder = tmp_path_factory.mktemp("both")
    settings = ["qbittorrent.enabled=true", "network.dht=false", "network.lsd=false"]
    with (
        DaemonProcess(folder / "daemon", settings=settings) as daemon,
        QBittorrentClient(
            LOOPBACK, folder / "oracle", port=free_port(), changes={"limit_lan_peers": True}
        ) as oracle,
    ):
        daemon.wait_ready()
        programs = BothPrograms(folder, daemon, oracle)
        programs.fill()
        yield programs


def ask_both(both: BothPrograms, path: str) -> tuple[Any, Any]:
    key = both.whole.info_hash.hex()
    asked = path.format(hash=key, large=both.large.info_hash.hex())
    return both.theirs(asked), both.ours(asked)


def same(theirs: Mapping[str, Any], ours: Mapping[str, Any], later: set[str]) -> None:
    """Compare keys and types."""
    assert ours.keys() - theirs.keys() == later
    assert theirs.keys() - ours.keys() == set()
    assert wrong_types(kind(theirs), kind(ours)) == []


def test_it_is_the_version_that_is_meant(both: BothPrograms) -> None:
    assert both.oracle.version().startswith("4.5.")
    assert both.theirs("app/webapiVersion").startswith("2.8.")


def test_fields_of_torrents_in_lists(both: BothPrograms) -> None:
    for payload in (both.whole, both.large):
        theirs = both.torrent(both.theirs, payload)
        ours = both.torrent(both.ours, payload)
        assert len(theirs) > 45
        same(theirs, ours, LATER["torrents/info"])
        assert fractions(theirs, ours) <= {"availability", "progress", "ratio"}


STATIC = (
    "amount_left category completed dl_limit download_path f_l_piece_prio force_start hash"
    " infohash_v1 infohash_v2 max_ratio max_seeding_time name progress ratio_limit"
    " seeding_time_limit seq_dl size super_seeding tags total_size tracker trackers_count up_limit"
)


@pytest.mark.parametrize("name", STATIC.split())
def test_values_that_are_given_are_the_same(both: BothPrograms, name: str) -> None:
    theirs, ours = both.torrent(both.theirs, both.whole), both.torrent(both.ours, both.whole)
    assert ours[name] == theirs[name]


WITH_DOUBLES = (
    "torrents/info",
    "torrents/properties?hash={hash}",
    "torrents/files?hash={hash}",
    "sync/maindata",
    "sync/torrentPeers?hash={large}",
    "app/preferences",
)


@pytest.mark.parametrize("path", WITH_DOUBLES)
def test_doubles_that_are_whole_have_no_fraction(both: BothPrograms, path: str) -> None:
    for told in ask_both(both, path):
        assert whole_doubles(told) == []


def test_properties(both: BothPrograms) -> None:
    for name in ("hash", "large"):
        theirs, ours = ask_both(both, f"torrents/properties?hash={{{name}}}")
        same(theirs, ours, LATER["torrents/properties"])
        assert fractions(theirs, ours) <= {"share_ratio"}
    assert (ours["pieces_num"], ours["piece_size"]) == (theirs["pieces_num"], theirs["piece_size"])


def test_files(both: BothPrograms) -> None:
    theirs, ours = ask_both(both, "torrents/files?hash={hash}")
    assert [each.keys() for each in ours] == [each.keys() for each in theirs]
    assert wrong_types(kind(theirs), kind(ours)) == []
    keys = {"index", "name", "size", "progress", "priority", "piece_range"}
    kept = [[{key: each[key] for key in keys} for each in told] for told in (theirs, ours)]
    assert kept[0] == kept[1]


def test_trackers(both: BothPrograms) -> None:
    theirs, ours = ask_both(both, "torrents/trackers?hash={hash}")
    assert [each.keys() for each in ours] == [each.keys() for each in theirs]
    assert [kind(each) for each in ours] == [kind(each) for each in theirs]
    assert [each["url"] for each in ours] == [each["url"] for each in theirs]
    assert [each["tier"] for each in ours] == [each["tier"] for each in theirs]


def test_peers(both: BothPrograms) -> None:
    theirs, ours = ask_both(both, "sync/torrentPeers?hash={large}")
    assert ours.keys() == theirs.keys()
    (their_peer,), (our_peer,) = theirs["peers"].values(), ours["peers"].values()
    same(their_peer, our_peer, set())
    assert their_peer["client"].startswith("torrent_engine")
    assert our_peer["client"].startswith("qBittorrent")


def test_pieces_categories_and_tags_are_the_same(both: BothPrograms) -> None:
    for path in ("pieceStates", "pieceHashes", "webseeds"):
        theirs, ours = ask_both(both, f"torrents/{path}?hash={{hash}}")
        assert ours == theirs
    theirs, ours = ask_both(both, "torrents/categories")
    assert ours == theirs == {CATEGORY: {"name": CATEGORY, "savePath": ""}}
    theirs, ours = ask_both(both, "torrents/tags")
    assert ours == theirs == ["one"]


def test_everything_at_once(both: BothPrograms) -> None:
    theirs, ours = ask_both(both, "sync/maindata")
    later = {"use_subcategories", *LATER["transfer/info"]}
    same(theirs["server_state"], ours["server_state"], later)
    assert ours.keys() == theirs.keys()
    key = both.whole.info_hash.hex()
    same(theirs["torrents"][key], ours["torrents"][key], LATER["torrents/info"] | IN_DELTAS)
    for name in ("categories", "trackers", "tags"):
        assert ours[name] == theirs[name]


def test_rates(both: BothPrograms) -> None:
    theirs, ours = ask_both(both, "transfer/info")
    same(theirs, ours, LATER["transfer/info"])
    for path in ("speedLimitsMode", "uploadLimit", "downloadLimit"):
        theirs, ours = ask_both(both, f"transfer/{path}")
        assert ours == theirs == 0
    theirs, ours = ask_both(both, "torrents/uploadLimit?hashes={hash}")
    assert ours == theirs


def test_the_application(both: BothPrograms) -> None:
    theirs, ours = ask_both(both, "app/buildInfo")
    same(theirs, ours, LATER["app/buildInfo"])
    for path in ("app/networkInterfaceList", "app/networkInterfaceAddressList?iface="):
        theirs, ours = ask_both(both, path)
        assert kind(ours) == kind(theirs)
    theirs, ours = ask_both(both, "app/networkInterfaceList")
    assert ours == theirs
    theirs, ours = ask_both(both, "app/defaultSavePath")
    assert isinstance(ours, str)
    assert isinstance(theirs, str)


def test_the_log(both: BothPrograms) -> None:
    theirs, ours = ask_both(both, "log/main")
    assert kind(ours) == kind(theirs)
    assert both.ours("log/peers") == both.theirs("log/peers") == []


@pytest.mark.parametrize("path", ["rss/items", "rss/rules", "search/plugins", "search/status"])
def test_tabs_that_stay_empty(both: BothPrograms, path: str) -> None:
    theirs, ours = ask_both(both, path)
    assert ours == theirs


def test_preferences_have_their_types(both: BothPrograms) -> None:
    theirs, ours = ask_both(both, "app/preferences")
    assert len(theirs) > 150
    assert ours.keys() - theirs.keys() == LATER_PREFERENCES
    known = tuple(" ".join(WITHOUT_MEANING.values()).split())
    assert [name for name in theirs.keys() - ours.keys() if not name.startswith(known)] == []
    assert wrong_types(kind(theirs), kind(ours)) == []
    assert fractions(theirs, ours) == set()
