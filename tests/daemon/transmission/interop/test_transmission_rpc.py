"""The library transmission-rpc 7.0.12: every method of its client."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.daemon.transmission.interop.remote import FILES, TRACKER, RemoteDaemon
from tests.support.processes import wait_until
from tests.support.torrents import make_torrent

transmission_rpc = pytest.importorskip("transmission_rpc")
from transmission_rpc import Client, Torrent, TransmissionError  # noqa: E402
from transmission_rpc.error import TransmissionAuthError  # noqa: E402

pytestmark = [
    pytest.mark.interop,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # older names are asked for too
]
HASH = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def client(daemon: RemoteDaemon) -> Iterator[Client]:
    with Client(
        host="127.0.0.1", port=daemon.port, username="torrent", password=daemon.token
    ) as opened:
        yield opened


@pytest.fixture
def torrent(daemon: RemoteDaemon, client: Client) -> Torrent:
    """A complete torrent that seeds."""
    return client.get_torrent(daemon.add().info_hash.hex())


def test_it_is_used_in_the_version_that_is_meant() -> None:
    from importlib.metadata import version

    assert version("transmission-rpc") == "7.0.12"


def test_the_client_finds_versions_and_the_session_id(client: Client) -> None:
    assert client.rpc_version == 19
    assert client.semver_version is not None
    assert client.server_version.startswith("4.1.3 (torrent_engine")
    assert len(client.session_id) == 48
    assert client.url.endswith("/transmission/rpc")
    assert client.timeout


def test_wrong_credentials_are_told(daemon: RemoteDaemon) -> None:
    with pytest.raises(TransmissionAuthError):
        Client(host="127.0.0.1", port=daemon.port, username="torrent", password="wrong")


def test_a_torrent_is_added_by_bytes_file_path_and_link(
    client: Client, daemon: RemoteDaemon, tmp_path: Path
) -> None:
    metainfo, _ = make_torrent({"a": b"x"}, name="bytes")
    added = client.add_torrent(
        metainfo.to_bytes(),
        download_dir=str(daemon.downloads / "sub"),
        paused=True,
        peer_limit=9,
        bandwidthPriority=1,
        labels=["one"],
        files_unwanted=[0],
    )
    assert added.hashString == metainfo.info_hash.hex()
    told = client.get_torrent(added.id)
    assert told.download_dir == str(daemon.downloads / "sub")
    assert (told.status, told.peer_limit, told.bandwidth_priority) == ("stopped", 9, 1)
    assert list(told.labels) == ["one"]
    path = tmp_path / "file.torrent"
    path.write_bytes(make_torrent({"a": b"y"}, name="file")[0].to_bytes())
    assert client.add_torrent(path).name == "file"
    with path.open("rb") as opened:
        assert client.add_torrent(opened).name == "file"  # a duplicate
    assert client.add_torrent(f"magnet:?xt=urn:btih:{HASH}").hashString == HASH


def test_what_is_no_torrent_is_refused(client: Client) -> None:
    with pytest.raises(TransmissionError, match="corrupt"):
        client.add_torrent(b"nothing")


def test_all_properties_of_a_torrent_can_be_read(torrent: Torrent) -> None:
    names = [
        name
        for name, member in vars(Torrent).items()
        if isinstance(member, property) and not name.startswith("_")
    ]
    read = {name: getattr(torrent, name) for name in names}
    assert len(read) > 60
    assert read["name"] == "payload"
    assert read["status"] == "seeding"
    assert read["total_size"] == sum(map(len, FILES.values()))
    assert read["percent_done"] == 1
    assert read["is_private"] is False
    assert [file.name for file in torrent.get_files()] == [f"payload/{name}" for name in FILES]
    assert torrent.tracker_stats[0].announce == TRACKER
    assert torrent.format_eta()


def test_torrents_are_started_stopped_verified_and_announced(
    client: Client, torrent: Torrent
) -> None:
    def status() -> str:
        return str(client.get_torrent(torrent.id).status)

    client.stop_torrent(torrent.id)
    assert status() == "stopped"
    client.start_torrent([torrent.hashString])
    assert status() == "seeding"
    client.stop_torrent(torrent.id)
    client.start_torrent_now(torrent.id)
    assert status() == "seeding"
    client.stop_torrent(torrent.id)
    client.start_all()
    assert status() == "seeding"
    client.verify_torrent(torrent.id)
    wait_until(lambda: status() == "seeding", timeout_s=30, what="it was verified")
    client.reannounce_torrent(torrent.id)


def test_torrents_are_listed(client: Client, torrent: Torrent) -> None:
    client.add_torrent(f"magnet:?xt=urn:btih:{HASH}", paused=True)
    assert {each.hashString for each in client.get_torrents()} == {torrent.hashString, HASH}
    assert [each.name for each in client.get_torrents([torrent.id])] == ["payload"]
    only = client.get_torrents(arguments=["id", "name"])
    assert {each.name for each in only} == {"payload", HASH}
    client.remove_torrent(HASH)
    active, removed = client.get_recently_active_torrents()
    assert [each.name for each in active] == ["payload"]
    assert len(removed) >= 1
    with pytest.raises(KeyError):
        client.get_torrent(HASH)


CHANGES = {
    "bandwidth_priority": (1, "bandwidth_priority"),
    "download_limit": (50, "download_limit"),
    "download_limited": (True, "download_limited"),
    "upload_limit": (60, "upload_limit"),
    "upload_limited": (True, "upload_limited"),
    "group": ("slow", "group"),
    "honors_session_limits": (False, "honors_session_limits"),
    "labels": (["a", "b"], "labels"),
    "peer_limit": (12, "peer_limit"),
    "queue_position": (0, "queue_position"),
    "seed_idle_limit": (77, "seed_idle_limit"),
    "seed_idle_mode": (1, "seed_idle_mode"),
    "seed_ratio_limit": (1.5, "seed_ratio_limit"),
    "seed_ratio_mode": (1, "seed_ratio_mode"),
}


@pytest.mark.parametrize(("name", "case"), CHANGES.items())
def test_torrents_are_changed(
    client: Client, torrent: Torrent, name: str, case: tuple[object, str]
) -> None:
    value, told = case
    client.change_torrent(torrent.id, **{name: value})  # type: ignore[arg-type]
    assert getattr(client.get_torrent(torrent.id), told) == value


def test_files_and_trackers_are_changed(client: Client, torrent: Torrent) -> None:
    client.change_torrent(torrent.id, files_unwanted=[1], priority_high=[0])
    files = client.get_torrent(torrent.id).get_files()
    assert [file.selected for file in files] == [True, False, True]
    assert files[0].priority == 1
    lists = [["http://127.0.0.1:9/one/announce"], ["udp://127.0.0.1:9/two"]]
    client.change_torrent(torrent.id, tracker_list=lists)
    told = client.get_torrent(torrent.id)
    assert [each for each in told.tracker_list if each] == [url for tier in lists for url in tier]


def test_files_are_moved_found_and_renamed(
    client: Client, daemon: RemoteDaemon, torrent: Torrent, other_folder: Path
) -> None:
    client.move_torrent_data(torrent.id, str(other_folder))
    daemon.wait_field("downloadDir", str(other_folder))
    path, name = client.rename_torrent_path(torrent.id, "payload/one.txt", "eins.txt")
    assert (path, name) == ("payload/one.txt", "eins.txt")
    assert client.get_torrent(torrent.id).get_files()[0].name == "payload/eins.txt"
    wait_until((other_folder / "payload" / "eins.txt").exists, timeout_s=30, what="it is renamed")


def test_the_queue_is_ordered(client: Client, daemon: RemoteDaemon) -> None:
    ids = [client.get_torrent(daemon.add(name, paused=True).info_hash.hex()).id for name in "abc"]

    def order() -> str:
        found = sorted(client.get_torrents(), key=lambda each: each.queue_position)
        return "".join(each.name for each in found)

    client.queue_top(ids[2])
    assert order() == "cab"
    client.queue_bottom(ids[0])
    assert order() == "cba"
    client.queue_up(ids[0])
    assert order() == "cab"
    client.queue_down(ids[2])
    assert order() == "acb"


def test_torrents_are_removed_with_their_files(
    client: Client, daemon: RemoteDaemon, torrent: Torrent
) -> None:
    client.remove_torrent(torrent.id, delete_data=True)
    assert client.get_torrents() == []
    wait_until(
        lambda: not (daemon.downloads / "payload" / "one.txt").exists(),
        timeout_s=60,
        what="the files are gone",
    )


def test_all_properties_of_the_session_can_be_read(client: Client, daemon: RemoteDaemon) -> None:
    session = client.get_session()
    names = [
        name
        for name, member in vars(type(session)).items()
        if isinstance(member, property) and not name.startswith("_")
    ]
    read = {name: getattr(session, name) for name in names}
    assert len(read) > 45
    assert read["download_dir"] == str(daemon.downloads)
    assert read["rpc_version"] == 19
    assert session.units.speed_bytes == 1000


def test_the_session_is_changed(client: Client) -> None:
    client.set_session(speed_limit_down=321, speed_limit_down_enabled=True)
    session = client.get_session()
    assert (session.speed_limit_down, session.speed_limit_down_enabled) == (321, True)
    client.set_session(
        alt_speed_time_begin=60, start_added_torrents=True, speed_limit_down_enabled=False
    )
    assert client.get_session().alt_speed_time_begin == 60
    assert client.get_session().speed_limit_down_enabled is False


def test_statistics_space_and_ports_are_told(client: Client, daemon: RemoteDaemon) -> None:
    stats = client.session_stats()
    assert stats.torrent_count == 0
    assert stats.cumulative_stats.session_count == 1
    assert stats.current_stats.seconds_active >= 0
    free = client.free_space(str(daemon.downloads))
    assert free is not None
    assert free > 0
    with pytest.raises(TransmissionError, match="no test service is configured"):
        client.port_test()
    with pytest.raises(TransmissionError, match="none is configured"):
        client.blocklist_update()
    assert client.raw_session


def test_groups_are_made_and_told(client: Client) -> None:
    client.set_group("slow", speed_limit_down=50, speed_limit_down_enabled=True)
    group = client.get_group("slow")
    assert group is not None
    assert (group.speed_limit_down, group.speed_limit_down_enabled) == (50, True)
    assert "slow" in client.get_groups()
    assert client.get_group("nothing") is None


def test_a_request_has_its_time_limit(daemon: RemoteDaemon) -> None:
    with Client(
        host="127.0.0.1",
        port=daemon.port,
        username="torrent",
        password=daemon.token,
        timeout=timedelta(seconds=20).total_seconds(),
    ) as client:
        assert client.timeout == 20


TESTED = {
    "url", "torrent_get_arguments", "raw_session", "session_id", "server_version", "timeout",
    "semver_version", "rpc_version", "add_torrent", "remove_torrent", "start_torrent",
    "start_torrent_now", "start_all", "stop_torrent", "verify_torrent", "reannounce_torrent",
    "get_torrent", "get_torrents", "get_recently_active_torrents", "change_torrent",
    "move_torrent_data", "rename_torrent_path", "queue_top", "queue_bottom", "queue_up",
    "queue_down", "get_session", "set_session", "blocklist_update", "port_test", "free_space",
    "session_stats", "set_group", "get_group", "get_groups",
}  # fmt: skip


def test_every_method_of_the_client_is_tested() -> None:
    public = {name for name in vars(Client) if not name.startswith("_")}
    assert public - TESTED <= {"logger"}
