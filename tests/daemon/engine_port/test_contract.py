"""The port over a manager and the fake of the tests answer alike."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.daemon.fake_port import FakeEngine
from tests.support.managers import manager_config
from tests.support.swarm import seed, until
from tests.support.torrents import make_torrent, payload_of
from tests.support.v2_torrents import hybrid_info, torrent_around, v2_info
from torrent_engine.base.errors import (
    BencodeError,
    ClosedError,
    ConfigError,
    UnknownFileError,
    UnknownTorrentError,
)
from torrent_engine.base.ids import InfoHash, OwnerTie, PeerAddress
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.daemon.engine_port.events import ManagerEvents
from torrent_engine.daemon.engine_port.facts import (
    AddedNotice,
    EngineState,
    GroupFacts,
    JobQuery,
    Limits,
    Notice,
    PeerLimits,
    QueueLimits,
    RemovedNotice,
    SeedRules,
    SwarmFacts,
)
from torrent_engine.daemon.engine_port.general import ManagerControl
from torrent_engine.daemon.engine_port.manager_port import ManagerPort
from torrent_engine.daemon.engine_port.port import EnginePort
from torrent_engine.daemon.engine_port.user_data import UserData
from torrent_engine.net.http.torrent_fetch import FetchOptions
from torrent_engine.service.add_options import AddOptions, Ephemeral, StopAfter

pytestmark = pytest.mark.anyio

FILES = {"a": payload_of(40_000, 1), "sub/b": payload_of(30_000, 2)}
TORRENT, PAYLOAD = make_torrent(FILES, name="two", tiers=[["http://127.0.0.1:1/announce"]])
OTHER, OTHER_PAYLOAD = make_torrent(payload_of(50_000, 3), name="other")
UNKNOWN = InfoHash(bytes(20))


@asynccontextmanager
async def open_port(kind: str, folder: Path) -> AsyncIterator[EnginePort]:
    if kind == "fake":
        yield FakeEngine(save_path=str(folder / "files")).port
    else:
        async with ManagerPort().open(manager_config(folder)) as port:
            yield port


@pytest.fixture(params=["fake", "manager"])
async def port(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EnginePort]:
    async with open_port(request.param, tmp_path) as opened:
        yield opened


async def add(port: EnginePort, **options: object) -> InfoHash:
    added = await port.engine.add(TORRENT, AddOptions(**options))  # type: ignore[arg-type]
    assert added.is_new
    return added.info_hash


def state(port: EnginePort, info_hash: InfoHash) -> EngineState:
    return port.torrents.facts(info_hash).progress.state


async def test_what_is_added_is_there_with_its_facts(port: EnginePort, tmp_path: Path) -> None:
    one = await add(port, priority=3, sequential=True)
    facts = port.torrents.facts(one)
    assert facts.info_hash == one == TORRENT.info_hash
    assert list(port.torrents.hashes()) == [one]
    assert port.torrents.has(one)
    assert (facts.about.name, facts.about.total_bytes) == ("two", 70_000)
    assert (facts.about.piece_count, facts.about.piece_bytes) == (TORRENT.piece_count, 16_384)
    assert (facts.about.file_count, facts.about.has_metadata) == (2, True)
    assert facts.settings.save_path == str(tmp_path / "files")
    assert (facts.settings.priority, facts.settings.is_sequential) == (3, True)
    assert facts.settings.queue_position == 0
    assert facts.settings.trackers == (("http://127.0.0.1:1/announce",),)
    await until(lambda: port.torrents.live(one)[0].wanted_bytes == 70_000)
    assert port.torrents.live(one)[1].peers == 0


@pytest.mark.parametrize("make", [v2_info, hybrid_info])
async def test_bep52_both_info_hashes_are_told(port: EnginePort, make: Any) -> None:
    metainfo = Metainfo.from_bytes(torrent_around(*make({"a": FILES["a"]})))
    key = (await port.engine.add(metainfo, AddOptions(paused=True))).info_hash
    about = port.torrents.facts(key).about
    assert about.info_hash_v1 == metainfo.info_hash_v1
    assert about.info_hash_v2 == metainfo.info_hash_v2
    plain = await add(port, paused=True)
    about = port.torrents.facts(plain).about
    assert (about.info_hash_v1, about.info_hash_v2) == (plain, None)


async def test_a_torrent_that_is_there_is_not_new(port: EnginePort) -> None:
    one = await add(port)
    again = await port.engine.add(TORRENT, AddOptions())
    assert (again.info_hash, again.name, again.is_new) == (one, "two", False)


async def test_an_ephemeral_torrent_that_is_added_again_stays(port: EnginePort) -> None:
    tie = OwnerTie("tab", 1)
    one = await add(port, owner=tie, ephemeral=Ephemeral.STREAM, paused=True)
    again = await port.engine.add(Magnet(one), AddOptions(paused=True))
    assert again.is_new
    facts = port.torrents.facts(one)
    assert (facts.settings.owner, facts.about.file_count) == (None, 2)
    assert UserData.read(dict(facts.settings.user_data)).ephemeral == ""
    assert facts.settings.trackers == (("http://127.0.0.1:1/announce",),)
    port.engine.advance_owner("tab", 2)
    assert list(port.torrents.hashes()) == [one]


@pytest.mark.parametrize("steps", range(5))
@pytest.mark.parametrize("is_preview_first", [True, False])
async def test_a_torrent_that_is_added_while_its_preview_begins_stays(
    port: EnginePort, steps: int, *, is_preview_first: bool
) -> None:
    preview = AddOptions(
        owner=OwnerTie("tab", 1), stop_after=StopAfter.METADATA, ephemeral=Ephemeral.PREVIEW
    )
    told = {}

    async def add_it(options: AddOptions) -> None:
        told[options.ephemeral] = await port.engine.add(Magnet(OTHER.info_hash), options)

    calls = [preview, AddOptions()] if is_preview_first else [AddOptions(), preview]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(add_it, calls[0])
        for _ in range(steps):
            await anyio.lowlevel.checkpoint()
        tasks.start_soon(add_it, calls[1])
    assert told[None].is_new
    settings = port.torrents.facts(OTHER.info_hash).settings
    assert (settings.owner, UserData.read(dict(settings.user_data)).ephemeral) == (None, "")


@pytest.mark.parametrize("names_peers_again", [False, True])
async def test_a_preview_that_is_added_dials_the_peers_of_its_link(
    tmp_path: Path,
    names_peers_again: bool,
) -> None:
    """The seed is known by the link alone; it cannot dial us, and who adds names only the hash."""
    async with (
        seed(tmp_path / "seed", OTHER, OTHER_PAYLOAD) as (_, address),
        open_port("manager", tmp_path) as port,
    ):
        link = Magnet(OTHER.info_hash, peers=(address,))
        preview = AddOptions(
            owner=OwnerTie("tab", 1), stop_after=StopAfter.METADATA, ephemeral=Ephemeral.PREVIEW
        )
        one = (await port.engine.add(link, preview)).info_hash
        await until(lambda: state(port, one) is EngineState.STOPPED)
        assert port.torrents.facts(one).about.has_metadata
        again = link if names_peers_again else Magnet(one)
        assert (await port.engine.add(again, AddOptions())).is_new
        await until(lambda: state(port, one) is EngineState.SEEDING)


async def test_a_job_of_the_daemon_is_recorded(port: EnginePort) -> None:
    job_id = port.jobs.begin("create", "files")
    port.jobs.update(job_id, done_bytes=5, total_bytes=10)
    running = await port.jobs.get(job_id)
    assert running is not None
    assert (running.kind, running.status, running.progress) == ("create", "running", 0.5)
    port.jobs.identify(job_id, TORRENT.info_hash, "two")
    port.jobs.finish(job_id, "failed", error="no disk")
    (ended,) = await port.jobs.list(JobQuery(kinds=frozenset({"create"})))
    assert (ended.info_hash, ended.name) == (TORRENT.info_hash, "two")
    assert (ended.status, ended.error, ended.is_finished) == ("failed", "no disk", True)


async def test_events_of_the_engine_are_told_as_values(port: EnginePort) -> None:
    told: list[Mapping[str, Any]] = []
    cancel = port.events.subscribe_raw(told.append)
    one = await add(port, paused=True)
    if isinstance(port.events, ManagerEvents):
        await until(lambda: any(each["type"] == "torrent.added" for each in told))
        assert {one.hex()} == {each["info_hash"] for each in told if each["info_hash"]}
        json.dumps(told, allow_nan=False)
    cancel()
    cancel_again = port.events.subscribe_raw(told.append)
    cancel_again()


async def test_a_magnet_link_has_a_name_and_no_files(port: EnginePort) -> None:
    link = Magnet.parse(str(Magnet.of(TORRENT)))
    added = await port.engine.add(link, AddOptions())
    facts = port.torrents.facts(added.info_hash)
    assert facts.about.name == "two"
    assert not facts.about.has_metadata
    assert facts.progress.state is EngineState.FETCHING_METADATA
    assert list(await port.torrents.files(added.info_hash)) == []
    assert await port.torrents.metainfo(added.info_hash) is None


async def test_files_are_told_with_their_pieces(port: EnginePort) -> None:
    one = await add(port, paused=True)
    files = await port.torrents.files(one)
    assert [(each.index, each.path, each.size_bytes) for each in files] == [
        (0, "two/a", 40_000),
        (1, "two/sub/b", 30_000),
    ]
    assert [(each.first_piece, each.end_piece) for each in files] == [(0, 3), (2, 5)]
    assert [each.priority for each in files] == [4, 4]


async def test_priorities_of_files_change_what_is_wanted(port: EnginePort) -> None:
    one = await add(port)
    await until(lambda: state(port, one) is EngineState.DOWNLOADING)
    await port.settings.set_file_priorities(one, {0: 0, 1: 7})
    assert [each.priority for each in await port.torrents.files(one)] == [0, 7]
    await until(lambda: port.torrents.facts(one).progress.wanted_bytes < 40_000)


async def test_a_paused_torrent_goes_on_when_it_is_started(port: EnginePort) -> None:
    one = await add(port, paused=True)
    facts = port.torrents.facts(one).progress
    assert (facts.state, facts.is_paused_by_user) == (EngineState.PAUSED, True)
    await port.control.start(one)
    await until(lambda: state(port, one) is EngineState.DOWNLOADING)
    assert not port.torrents.facts(one).progress.is_paused_by_user
    await port.control.pause(one)
    assert state(port, one) is EngineState.PAUSED
    assert one not in list(port.torrents.active())


async def test_a_stopped_torrent_is_started_again(port: EnginePort) -> None:
    one = await add(port)
    await port.control.stop(one)
    facts = port.torrents.facts(one).progress
    assert (facts.state, facts.stop_reason) == (EngineState.STOPPED, "stopped")
    await port.control.start(one)
    await until(lambda: state(port, one) is EngineState.DOWNLOADING)
    assert port.torrents.facts(one).progress.stop_reason == ""


async def test_pausing_what_is_stopped_changes_nothing(port: EnginePort) -> None:
    one = await add(port)
    await port.control.stop(one)
    await port.control.pause(one)
    assert state(port, one) is EngineState.STOPPED


async def test_settings_are_told_as_they_were_set(port: EnginePort) -> None:
    one = await add(port)
    limits = Limits(1_000, 2_000, 300, 400, 50)
    port.settings.set_limits(one, limits)
    port.settings.set_seed_rules(one, SeedRules(2.0, None, float("inf")))
    port.settings.set_sequential(one, is_sequential=True)
    await port.settings.set_first_last_first(one, is_first=True)
    port.control.set_priority(one, -2)
    told = port.torrents.facts(one).settings
    assert (told.limits, told.seed_rules) == (limits, SeedRules(2.0, None, float("inf")))
    assert (told.is_sequential, told.priority) == (True, -2)
    assert told.is_first_last_first is True


async def test_trackers_are_added_and_removed(port: EnginePort) -> None:
    one = await add(port)
    url = "http://127.0.0.1:2/announce"
    assert port.settings.add_tracker(one, url)
    assert not port.settings.add_tracker(one, url)
    assert port.torrents.facts(one).settings.trackers[-1] == (url,)
    assert [each.url for each in port.torrents.trackers(one)][-1] == url
    assert port.settings.remove_tracker(one, url)
    assert not port.settings.remove_tracker(one, url)
    assert len(port.torrents.trackers(one)) == 1


async def test_trackers_are_replaced_with_their_secrets(port: EnginePort) -> None:
    one = await add(port, paused=True)
    tiers = (("http://127.0.0.1:1/0123456789abcdef0123456789abcdef/announce",), ("udp://[::1]:1",))
    port.settings.set_trackers(one, tiers)
    assert port.torrents.facts(one).settings.trackers == tiers
    found = [(each.tier, each.url) for each in port.torrents.trackers(one)]
    assert found == [(tier, url) for tier, urls in enumerate(tiers) for url in urls]
    assert len({each.id for each in port.torrents.trackers(one)}) == 2
    assert port.control.reannounce(one) is None  # it is paused


async def test_what_is_wanted_is_chosen_at_the_start(port: EnginePort) -> None:
    one = await add(port, paused=True, files_wanted=(1,), trackers=("http://127.0.0.1:2/a",))
    assert [each.priority for each in await port.torrents.files(one)] == [0, 4]
    assert port.torrents.facts(one).settings.trackers[-1] == ("http://127.0.0.1:2/a",)


async def test_bytes_are_read_as_torrents(port: EnginePort) -> None:
    assert (await port.engine.read_torrent(TORRENT.source)).info_hash == TORRENT.info_hash
    with pytest.raises(BencodeError):
        await port.engine.read_torrent(b"not one")
    with pytest.raises(ConfigError):
        await port.engine.fetch_torrent("/etc/passwd", FetchOptions())


async def test_web_seeds_are_added_and_removed(port: EnginePort) -> None:
    one = await add(port, paused=True)
    url = "http://127.0.0.1:3/"
    assert port.settings.add_web_seed(one, url)
    assert not port.settings.add_web_seed(one, url)
    assert [each.url for each in port.torrents.web_seeds(one)] == [url]
    assert port.settings.remove_web_seed(one, url)
    assert port.torrents.facts(one).settings.web_seeds == ()


async def test_the_queue_has_an_order(port: EnginePort) -> None:
    one = await add(port)
    two = (await port.engine.add(OTHER, AddOptions())).info_hash
    assert list(port.torrents.hashes()) == [one, two]
    port.control.move_to(two, 0)
    assert list(port.torrents.hashes()) == [two, one]
    places = [port.torrents.facts(each).settings.queue_position for each in (one, two)]
    assert places == [1, 0]


async def test_limits_of_all_are_told_as_they_were_set(port: EnginePort) -> None:
    assert port.engine.rate_limits() == (0, 0)
    port.engine.set_rate_limits(5_000, 0)
    assert port.engine.rate_limits() == (5_000, 0)
    port.engine.set_queue_limits(QueueLimits(1, 2, 3, 4))
    assert port.engine.queue_limits() == QueueLimits(1, 2, 3, 4)
    port.engine.set_peer_limits(PeerLimits(90, 30))
    assert port.engine.peer_limits() == PeerLimits(90, 30)
    port.engine.set_seed_rules(SeedRules(1.5, None, 60.0))
    assert port.engine.seed_rules() == SeedRules(1.5, None, 60.0)


async def test_files_move_to_another_save_path(port: EnginePort, tmp_path: Path) -> None:
    one = await add(port, paused=True)
    await port.control.move(one, str(tmp_path / "elsewhere"))
    told = port.torrents.facts(one).settings
    assert told.save_path == told.current_path == str(tmp_path / "elsewhere")
    assert not port.control.cancel_move(one)


async def test_a_file_gets_another_name(port: EnginePort) -> None:
    one = await add(port, paused=True)
    await port.control.rename_file(one, 0, "two/c")
    assert (await port.torrents.files(one))[0].path == "two/c"
    with pytest.raises(UnknownFileError):
        await port.control.rename_file(one, 9, "two/d")


async def test_a_folder_gets_another_name(port: EnginePort) -> None:
    one = await add(port, paused=True)
    await port.control.rename_folder(one, "two/sub", "two/new/sub")
    assert [each.path for each in await port.torrents.files(one)] == ["two/a", "two/new/sub/b"]
    await port.control.rename_folder(one, "two", "three")
    assert [each.path for each in await port.torrents.files(one)] == ["three/a", "three/new/sub/b"]
    with pytest.raises(UnknownFileError):
        await port.control.rename_folder(one, "two", "four")


async def test_files_are_looked_for_elsewhere(port: EnginePort, tmp_path: Path) -> None:
    one = await add(port, paused=True)
    await port.control.set_save_path(one, str(tmp_path / "elsewhere"))
    assert port.torrents.facts(one).settings.save_path == str(tmp_path / "elsewhere")


async def test_a_torrent_leaves_the_queue_until_it_is_paused(port: EnginePort) -> None:
    one = await add(port, paused=True)
    await port.control.start_now(one)
    await until(lambda: state(port, one) is EngineState.DOWNLOADING)
    assert port.torrents.facts(one).settings.is_forced
    await port.control.pause(one)
    assert not port.torrents.facts(one).settings.is_forced
    port.control.set_forced(one, is_forced=True)
    assert port.torrents.facts(one).settings.is_forced


async def test_nobody_has_a_piece_while_nobody_is_connected(port: EnginePort) -> None:
    one = await add(port)
    await until(lambda: state(port, one) is EngineState.DOWNLOADING)
    assert set(port.torrents.availability(one)) <= {0}
    assert port.torrents.swarm(one) == SwarmFacts(0.0, 0)


async def test_user_data_is_kept_as_it_was_set(port: EnginePort) -> None:
    one = await add(port, category="films", labels=("a", "b"), rename="shown")
    told = UserData.read(dict(port.torrents.facts(one).settings.user_data))
    assert told == UserData("films", ("a", "b"), None, "shown")
    port.settings.set_user_data(one, {"z": "1", "a": "\u00fc"})
    assert port.torrents.facts(one).settings.user_data == (("a", "\u00fc"), ("z", "1"))
    port.settings.set_user_data(one, {})
    assert port.torrents.facts(one).settings.user_data == ()


async def test_dates_are_told_in_seconds_since_1970(port: EnginePort) -> None:
    one = await add(port)
    await until(lambda: state(port, one) is EngineState.DOWNLOADING)
    facts = port.torrents.facts(one)
    assert facts.about.added_at > 1_600_000_000
    assert facts.progress.started_at > 1_600_000_000
    assert facts.progress.completed_at == facts.progress.activity_at == 0.0
    assert facts.settings.file_priorities is None


async def test_addresses_are_banned_and_unbanned(port: EnginePort) -> None:
    port.engine.ban("192.0.2.7")
    assert [(each.host, each.is_by_user) for each in port.engine.bans()] == [("192.0.2.7", True)]
    assert port.engine.unban("192.0.2.7")
    assert not port.engine.unban("192.0.2.7")
    assert port.engine.bans() == []
    with pytest.raises(ConfigError):
        port.engine.ban("host.example")


async def test_the_network_is_told(port: EnginePort) -> None:
    told = port.engine.network()
    assert told.listen_port > 0
    assert told.mapping == ""
    assert (told.incoming_at, told.incoming_by_family) == (0.0, ())


async def test_what_is_removed_is_unknown(port: EnginePort) -> None:
    seen: list[Notice] = []
    port.events.subscribe(seen.append)
    one = await add(port)
    await port.control.remove(one)
    assert not port.torrents.has(one)
    await until(lambda: RemovedNotice(one) in seen)
    assert [each for each in seen if each == AddedNotice(one)] == [AddedNotice(one)]
    about = [each for each in seen if isinstance(each, AddedNotice | RemovedNotice)]
    assert about[-1] == RemovedNotice(one)
    with pytest.raises(UnknownTorrentError):
        port.torrents.facts(one)


async def test_nobody_is_told_after_the_end_of_a_subscription(port: EnginePort) -> None:
    seen: list[Notice] = []
    unsubscribe = port.events.subscribe(seen.append)
    unsubscribe()
    await add(port)
    assert seen == []


@pytest.mark.parametrize(
    "call",
    [
        lambda port: port.control.start(UNKNOWN),
        lambda port: port.control.pause(UNKNOWN),
        lambda port: port.control.remove(UNKNOWN),
        lambda port: port.control.move(UNKNOWN, "/tmp"),
        lambda port: port.torrents.files(UNKNOWN),
        lambda port: port.torrents.metainfo(UNKNOWN),
        lambda port: port.settings.set_file_priorities(UNKNOWN, {0: 1}),
    ],
)
async def test_an_unknown_torrent_is_an_error(port: EnginePort, call: object) -> None:
    with pytest.raises(UnknownTorrentError):
        await call(port)  # type: ignore[operator]


async def test_files_are_read(port: EnginePort) -> None:
    one = await add(port, paused=True)
    async with port.torrents.open(one, "two/sub/b") as reader:
        assert reader.size == 30_000
        assert reader.seek(30_000) == 30_000
        assert await reader.read() == b""
    with pytest.raises(UnknownFileError):
        port.torrents.open(one, 17)


async def test_a_new_generation_of_an_owner_ends_its_torrents(port: EnginePort) -> None:
    assert port.engine.owner_generation("tab") is None
    one = await add(port, owner=OwnerTie("tab", 1))
    assert port.torrents.facts(one).settings.owner == OwnerTie("tab", 1)
    assert port.engine.advance_owner("tab", 2) == 1
    await until(lambda: not port.torrents.has(one))
    assert port.engine.owner_generation("tab") == 2


@pytest.mark.parametrize("kind", ["fake", "manager"])
async def test_a_port_without_a_manager_says_so(kind: str, tmp_path: Path) -> None:
    if kind == "fake":
        engine = FakeEngine()
        engine.is_open = False
        port = engine.port
    else:
        port = ManagerPort().port
    with pytest.raises(ClosedError):
        port.torrents.hashes()
    with pytest.raises(ClosedError):
        await port.control.start(UNKNOWN)
    assert not port.torrents.has(UNKNOWN)


async def test_torrents_share_the_limits_of_a_group(port: EnginePort) -> None:
    one = await add(port)
    port.settings.set_group(one, "slow", honors_session_limits=False)
    settings = port.torrents.facts(one).settings
    assert (settings.group, settings.honors_session_limits) == ("slow", False)
    limited = GroupFacts("slow", 5_000, 0, honors_session_limits=False)
    port.engine.set_group(limited)
    port.engine.set_group(GroupFacts("other", 0, 7_000))
    found = sorted(port.engine.groups(), key=lambda each: each.name)
    assert found == [GroupFacts("other", 0, 7_000), limited]
    port.settings.set_group(one, "", honors_session_limits=True)
    assert port.torrents.facts(one).settings.group == ""


async def test_the_order_of_pieces_begins_where_it_is_told(port: EnginePort) -> None:
    one = await add(port)
    port.settings.set_sequential(one, is_sequential=True, from_piece=2)
    port.settings.set_sequential(one, is_sequential=True)
    settings = port.torrents.facts(one).settings
    assert (settings.is_sequential, settings.sequential_from) == (True, 2)


async def test_encryption_of_new_connections_changes_at_once(port: EnginePort) -> None:
    for policy in ("required", "disabled", "preferred"):
        port.engine.set_encryption(policy)
        if isinstance(port.engine, ManagerControl):
            encryption = port.engine._opened.manager.shared.config.network.encryption
            assert (encryption.incoming, encryption.outgoing) == (policy, policy)


async def test_the_lists_of_addresses_change_at_once(port: EnginePort, tmp_path: Path) -> None:
    refused = tmp_path / "refused.p2p"
    refused.write_text("one:192.0.2.0-192.0.2.9\n")
    address = PeerAddress("192.0.2.1", 6881)
    for paths in ([str(refused)], []):
        await port.engine.reload_ip_filter(paths)
        if isinstance(port.engine, ManagerControl):
            assert port.engine._opened.manager.shared.ip_filter.allows(address) is not bool(paths)


async def test_a_torrent_that_runs_has_no_failure(port: EnginePort) -> None:
    one = await add(port)
    assert port.torrents.failure(one) is None
    with pytest.raises(UnknownTorrentError):
        port.torrents.failure(UNKNOWN)
