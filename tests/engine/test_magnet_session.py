"""A Session of a magnet link: metadata first, then as any other (BEP 9, rows B2, B3, B10)."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from tests.support.swarm import (
    content,
    finish,
    kinds,
    open_descriptors,
    reach,
    record,
    resources,
    seed,
    state_of,
    until,
)
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.base.config import MetadataConfig, SessionConfig
from torrent_engine.base.errors import (
    ConfigError,
    MetainfoError,
    SessionError,
    StateTransitionError,
)
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.events import MetadataReceived, PeerConnected, PeerDisconnected
from torrent_engine.engine.extensions.metadata_upload import MetadataUpload
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.engine.swarm.peer import Peer

pytestmark = pytest.mark.anyio

METAINFO, PAYLOAD = make_torrent(payload_of(300_000), piece_bytes=32 * 1024)
MAGNET = Magnet(METAINFO.info_hash)
NOISE = ("stats.update", "check.progress", "piece.completed", "peer.connected", "dht.peers")


def link(metainfo: Metainfo, *peers: tuple[str, int]) -> Magnet:
    """Return a link that names nothing but some peers."""
    return Magnet(metainfo.info_hash, peers=peers)


async def magnet_session(
    shared: SharedResources, magnet: Magnet, save_path: Path, **settings: object
) -> Session:
    """Return a Session that stops when it is complete."""
    config = replace(SessionConfig(seed_time_s=0.0), **settings)  # type: ignore[arg-type]
    return await Session.create(magnet, shared, save_path=save_path, config=config)


async def test_bep9_a_small_limit_of_uploads_is_for_metadata_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paid, pay = list[int](), MetadataUpload._pay

    def noted(uploads: MetadataUpload, peer: Peer, length_bytes: int) -> bool:
        assert uploads.upload_throttle is not None
        assert peer.link.upload_throttle is not None
        is_paid = pay(uploads, peer, length_bytes)
        paid.append(length_bytes if is_paid else 0)
        return is_paid

    monkeypatch.setattr(MetadataUpload, "_pay", noted)
    metainfo, payload = make_torrent(payload_of(6_000 * 1_024), piece_bytes=1_024)
    config = SessionConfig(max_upload_bytes_per_s=200 * 1024)
    async with (
        seed(tmp_path / "seed", metainfo, payload, config=config) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        magnet = link(metainfo, address)
        async with await magnet_session(shared, magnet, tmp_path / "out") as session:
            with anyio.fail_after(30):
                await until(lambda: session.metainfo is not None)
    assert sum(paid) >= len(metainfo.info_bytes)


async def test_bep9_a_magnet_link_is_downloaded_over_one_connection(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (seeding, address),
        resources(tmp_path / "leech") as shared,
    ):
        seen_by_seed = record(seeding)
        session = await magnet_session(shared, link(METAINFO, address), tmp_path / "out")
        events = record(session)
        assert session.metainfo is None
        assert session.name == METAINFO.info_hash.hex()
        async with session:
            assert state_of(session) is State.FETCHING_METADATA
            with anyio.fail_after(30):
                assert await session.wait_stopped() == "time"
        assert session.metainfo is not None
        assert session.metainfo.info_bytes == METAINFO.info_bytes
        assert session.name == "payload"
        await until(lambda: any(isinstance(each, PeerDisconnected) for each in seen_by_seed))
    assert content(METAINFO, tmp_path / "out") == PAYLOAD
    assert kinds(events, *NOISE, "peer.disconnected") == [
        "session.started",
        "metadata.received",
        "file.completed",
        "session.completed",
        "download.finished",
        "session.stopped",
    ]
    received = next(each for each in events if isinstance(each, MetadataReceived))
    assert (received.name, received.total_bytes, received.piece_count, received.file_count) == (
        "payload",
        300_000,
        METAINFO.piece_count,
        1,
    )
    joined = [each for each in (*seen_by_seed, *events) if isinstance(each, PeerConnected)]
    assert len(joined) == 2, "the link was not kept over the change to payload"


async def test_bep9_who_had_the_metadata_from_a_magnet_link_serves_it(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path / "first") as first,
        resources(tmp_path / "second") as second,
    ):
        middle = await magnet_session(
            first, link(METAINFO, address), tmp_path / "a", seed_time_s=None
        )
        async with middle:
            await reach(middle, State.SEEDING)
            last = await magnet_session(
                second, link(METAINFO, ("127.0.0.1", first.listen_port)), tmp_path / "b"
            )
            await finish(last)
    assert content(METAINFO, tmp_path / "b") == PAYLOAD


async def test_bep9_an_incoming_peer_gives_the_metadata_too(tmp_path: Path) -> None:
    async with resources(tmp_path / "leech") as shared:
        session = await magnet_session(shared, MAGNET, tmp_path / "out")
        async with session:
            config = SessionConfig(peers=(("127.0.0.1", shared.listen_port),))
            async with seed(tmp_path / "seed", METAINFO, PAYLOAD, config=config):
                with anyio.fail_after(30):
                    await session.wait_stopped()
    assert content(METAINFO, tmp_path / "out") == PAYLOAD


async def test_bep9_metadata_that_came_once_is_not_fetched_again(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        session = await magnet_session(shared, link(METAINFO, address), tmp_path / "out")
        await finish(session)
    async with resources(tmp_path / "leech") as shared:  # and nobody to ask
        again = await magnet_session(shared, MAGNET, tmp_path / "out")
        events = record(again)
        async with again:
            assert again.metainfo is not None
            with anyio.fail_after(30):
                assert await again.wait_stopped() == "time"
    assert "metadata.received" not in kinds(events)


async def test_bep9_trackers_and_web_seeds_of_a_link_are_added_to_kept_metadata(
    tmp_path: Path,
) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        session = await magnet_session(shared, link(METAINFO, address), tmp_path / "out")
        await finish(session)
        more = replace(MAGNET, trackers=("http://127.0.0.1:9/announce",))
        again = await magnet_session(shared, more, tmp_path / "out", paused=True)
        async with again:
            assert again.metainfo is not None
            assert again.metainfo.tiers == (("http://127.0.0.1:9/announce",),)


async def test_bep9_metadata_only_stops_when_it_has_it(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        session = await magnet_session(
            shared, link(METAINFO, address), tmp_path / "out", metadata_only=True
        )
        assert await finish(session) == "metadata"
    assert session.metainfo is not None
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("end", ["stop", "close", "cancel"])
async def test_a_search_for_metadata_can_be_ended(tmp_path: Path, end: str) -> None:
    before = open_descriptors()
    async with resources(tmp_path) as shared:
        session = await magnet_session(shared, MAGNET, tmp_path / "out")
        async with session:
            await anyio.wait_all_tasks_blocked()
            with anyio.fail_after(30):
                await getattr(session, end)()
            assert state_of(session) is State.STOPPED
    assert open_descriptors() == before


async def test_a_search_for_metadata_can_be_paused(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        session = await magnet_session(
            shared, link(METAINFO, address), tmp_path / "out", paused=True
        )
        async with session:
            assert state_of(session) is State.PAUSED
            await anyio.sleep(0.3)  # time in which it would have come
            assert session.metainfo is None
            await session.resume()
            assert state_of(session) is State.FETCHING_METADATA
            await session.pause()
            await session.resume()
            with anyio.fail_after(30):
                await session.wait_stopped()
    assert content(METAINFO, tmp_path / "out") == PAYLOAD


async def test_a_search_for_metadata_is_told_of_peers_meanwhile(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        session = await magnet_session(shared, MAGNET, tmp_path / "out")
        async with session:
            await until(lambda: session._core.fetch is not None)
            assert session.stats().pieces_total == 0
            assert session.add_tracker("http://127.0.0.1:9/announce")
            assert not session.add_tracker("http://127.0.0.1:9/announce")
            assert len(session.trackers()) == 1
            with pytest.raises(StateTransitionError):
                await session.set_file_priorities([4])
            await session.add_peer(*address)
            with anyio.fail_after(30):
                await session.wait_stopped()
    assert content(METAINFO, tmp_path / "out") == PAYLOAD


MANY, MANY_PAYLOAD = make_torrent(
    {f"d/{name}": payload_of(70_000, number) for number, name in enumerate("abc")}
)


@pytest.mark.parametrize(
    ("selected", "priorities", "expected"),
    [
        (None, None, "abc"),
        ((1,), None, "b"),
        ((7, 9), None, "abc"),
        ((1,), (4, 0, 4), "ac"),
        ((1,), lambda metainfo: (0, 0, len(metainfo.files)), "c"),
    ],
)
async def test_bep53_files_are_chosen_when_it_is_known_which_there_are(
    tmp_path: Path, selected: Sequence[int] | None, priorities: object, expected: str
) -> None:
    settings: dict[str, object] = {"file_priorities": priorities}
    if callable(priorities):
        settings = {"file_priorities_of": priorities}
    async with (
        seed(tmp_path / "seed", MANY, MANY_PAYLOAD) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        magnet = replace(
            link(MANY, address), selected_files=None if selected is None else tuple(selected)
        )
        session = await magnet_session(shared, magnet, tmp_path / "out", **settings)
        await finish(session)
    folder = tmp_path / "out" / "payload" / "d"
    assert "".join(sorted(path.name for path in folder.iterdir())) == expected


async def test_a_choice_that_does_not_fit_is_an_error_of_the_session(tmp_path: Path) -> None:
    def refuse(_metainfo: object) -> tuple[int, ...]:
        raise ConfigError("no such file")

    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        before = shared.connection_slots.used
        session = await magnet_session(
            shared, link(METAINFO, address), tmp_path / "out", file_priorities_of=refuse
        )
        async with session:
            with anyio.fail_after(30), pytest.raises(SessionError, match="no such file"):
                await session.wait_stopped()
            await until(lambda: shared.connection_slots.used == before)


async def test_metadata_that_is_no_torrent_for_us_is_an_error_of_the_session(
    tmp_path: Path,
) -> None:
    async with resources(tmp_path) as shared:
        session = await magnet_session(shared, MAGNET, tmp_path / "out")
        async with session:
            await until(lambda: session._core.fetch is not None)
            assert session._core.fetch is not None
            session._core.fetch._on_metadata(b"d4:name1:xe")
            with anyio.fail_after(30), pytest.raises(SessionError) as caught:
                await session.wait_stopped()
            assert isinstance(caught.value.__cause__, MetainfoError)


async def test_b10_a_private_torrent_forgets_whom_no_tracker_named(tmp_path: Path) -> None:
    private, payload = make_torrent(payload_of(100_000), is_private=True)
    async with (
        seed(tmp_path / "seed", private, payload, metadata=MetadataConfig(serve_private=True)) as (
            _,
            address,
        ),
        resources(tmp_path / "leech") as shared,
    ):
        session = await magnet_session(shared, link(private, address), tmp_path / "out")
        async with session:
            with anyio.fail_after(30):
                await session.wait_stopped()
            assert session._core.run is not None
            assert session._core.run.transfer.swarm_parts.pex is None
    assert content(private, tmp_path / "out") == payload


async def test_data_that_is_there_already_is_announced_over_the_kept_link(tmp_path: Path) -> None:
    # The leech finds half of the data on its disk: the seed must hear of it, by "have".
    half = METAINFO.piece_count // 2 * METAINFO.geometry.piece_bytes
    write_files(METAINFO, PAYLOAD[:half] + bytes(len(PAYLOAD) - half), tmp_path / "out")
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (seeding, address),
        resources(tmp_path / "leech") as shared,
    ):
        session = await magnet_session(shared, link(METAINFO, address), tmp_path / "out")
        await finish(session)
        assert 0 < session.totals.downloaded_bytes <= len(PAYLOAD) - half
        assert seeding.totals.uploaded_bytes == session.totals.downloaded_bytes
    assert content(METAINFO, tmp_path / "out") == PAYLOAD
