"""Every field of a torrent has its type in every state, dialect and format."""

from dataclasses import replace
from typing import Any

import pytest

from tests.daemon.transmission.field_types import TYPES
from tests.daemon.transmission.rpc_scene import JSON_RPC, LEGACY, RpcScene
from tests.support.torrents import make_torrent
from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.engine_port.facts import (
    EngineState,
    ErrorKind,
    Limits,
    PeerFacts,
    SeedRules,
    TrackerFacts,
    TrackerRequestFacts,
    WebSeedFacts,
)

pytestmark = pytest.mark.anyio
E = EngineState
STATES: dict[str, dict[str, Any]] = {
    "stopped": {"state": E.STOPPED},
    "paused": {"state": E.PAUSED, "paused_state": E.DOWNLOADING, "is_paused_by_user": True},
    "check_queued": {"state": E.PAUSED, "paused_state": E.CHECKING, "is_held": True},
    "checking": {"state": E.CHECKING, "checked_fraction": 0.25},
    "download_queued": {"state": E.PAUSED, "paused_state": E.DOWNLOADING, "is_held": True},
    "downloading": {
        "state": E.DOWNLOADING,
        "download_bytes_per_s": 5_000,
        "eta_s": 12,
        "peers": 2,
        "sending_to_us": 1,
    },
    "stalled": {"state": E.DOWNLOADING, "eta_s": None},
    "seed_queued": {"state": E.PAUSED, "paused_state": E.SEEDING, "is_held": True},
    "seeding": {
        "state": E.SEEDING,
        "completed_bytes": 100_000,
        "have_bytes": 100_000,
        "upload_bytes_per_s": 77,
        "seed_rules": SeedRules(2.5, None, 600.0),
    },
    "resting": {"state": E.SEEDING, "is_resting": True, "completed_bytes": 100_000},
    "finished": {"state": E.STOPPED, "stop_reason": "ratio", "have_bytes": 100_000},
    "error": {"state": E.ERROR, "error": "no space left", "error_kind": ErrorKind.DISK},
}
PEERS = [
    PeerFacts("127.0.0.2", 6881, "qBittorrent 5", b"-qB5000-" + bytes(12), "dht", "utp", "rc4"),
    PeerFacts("::1", 1, "", is_seed=True, progress=1.0, download_bytes_per_s=99.5),
]
TRACKERS = [
    TrackerFacts(
        3,
        "https://tracker.example.org/announce?passkey=secret",
        0,
        state="working",
        peers=7,
        seeds=1,
        leeches=2,
        downloads=3,
        next_announce_at=1_700_000_900.5,
        last_announce=TrackerRequestFacts(1_700_000_000.5, 1_700_000_000.9, peers=7),
        last_scrape=TrackerRequestFacts(1_700_000_000.5, 1_700_000_000.9),
    ),
    TrackerFacts(4, "udp://tracker.example.net:6969", 1),
]


def put(scene: RpcScene, state: str) -> InfoHash:
    files = {"film.mkv": bytes(60_000), "notes.txt": bytes(40_000)}
    metainfo, _ = make_torrent(files, name="a film")
    facts = {"limits": Limits(50_000, 0), "activity_at": 1_699_999_000.5, **STATES[state]}
    key = scene.put(metainfo=metainfo, **facts)
    torrent = scene.engine.torrents[key]
    torrent.peers, torrent.trackers = PEERS, TRACKERS
    torrent.web_seeds = [WebSeedFacts("http://seed.example/", download_bytes_per_s=1.5)]
    torrent.availability = [2] * metainfo.piece_count
    return key


def put_magnet(scene: RpcScene) -> InfoHash:
    return scene.put(state=E.FETCHING_METADATA, name="soon", magnet="magnet:?xt=urn:btih:00")


async def ask(scene: RpcScene, dialect: str, form: str) -> list[dict[str, Any]]:
    """Return all fields of all torrents, however they are told."""
    if dialect == JSON_RPC:
        names = list(TYPES)
        result = await scene.call("torrent_get", fields=names, format=form)
    else:
        names = [older for older, _ in TYPES.values()]
        result = await scene.ask("torrent-get", fields=names, format=form)
    if form == "objects":
        found: list[dict[str, Any]] = result["torrents"]
        return found
    first, *rows = result["torrents"]
    assert first == names
    return [dict(zip(first, row, strict=True)) for row in rows]


def check(values: dict[str, Any], dialect: str) -> None:
    side = 0 if dialect == JSON_RPC else 1
    names = [name if dialect == JSON_RPC else older for name, (older, _) in TYPES.items()]
    assert values.keys() == set(names)
    wrong = {
        name: values[name]
        for name, (_, checks) in zip(names, TYPES.values(), strict=True)
        if not checks[side](values[name])
    }
    assert wrong == {}


@pytest.mark.parametrize("form", ["objects", "table"])
@pytest.mark.parametrize("dialect", [LEGACY, JSON_RPC])
@pytest.mark.parametrize("state", [*STATES, "metadata"])
async def test_every_field_has_its_type(
    scene: RpcScene, state: str, dialect: str, form: str
) -> None:
    if state == "metadata":
        put_magnet(scene)
    else:
        put(scene, state)
    found = await ask(scene, dialect, form)
    assert len(found) == 1
    check(found[0], dialect)


@pytest.mark.parametrize("form", ["objects", "table"])
@pytest.mark.parametrize("dialect", [LEGACY, JSON_RPC])
async def test_many_torrents_are_told_from_what_was_kept_as_each_alone(
    scene: RpcScene, dialect: str, form: str
) -> None:
    for number in range(60):
        scene.put(name=f"torrent {number}", total_bytes=1_000 * number, state=E.DOWNLOADING)
    first = await ask(scene, dialect, form)
    again = await ask(scene, dialect, form)
    assert first == again
    assert [row["name"] for row in first] == [f"torrent {number}" for number in range(60)]
    for row in first:
        check(row, dialect)


def test_the_table_has_all_fields_of_the_specification() -> None:
    assert len(TYPES) == 81


STATUSES = {
    "stopped": 0,
    "paused": 0,
    "check_queued": 1,
    "checking": 2,
    "download_queued": 3,
    "downloading": 4,
    "stalled": 4,
    "seed_queued": 5,
    "seeding": 6,
    "resting": 6,
    "finished": 0,
    "error": 0,
}


@pytest.mark.parametrize(("state", "number"), STATUSES.items())
async def test_status_is_a_number_from_0_to_6(scene: RpcScene, state: str, number: int) -> None:
    assert await scene.field("status", put(scene, state)) == number


async def test_a_torrent_that_fetches_metadata_downloads(scene: RpcScene) -> None:
    key = put_magnet(scene)
    assert await scene.field("status", key) == 4
    assert await scene.field("metadata_percent_complete", key) == 0
    assert await scene.field("size_when_done", key) == 0


async def test_errors_are_told_by_kind(scene: RpcScene) -> None:
    key = put(scene, "error")
    assert await scene.field("error", key) == 3
    assert await scene.field("error_string", key) == "no space left"
    other = put_magnet(scene)
    tracker = scene.engine.torrents[other].facts.progress.tracker
    for kind, number in ((ErrorKind.TRACKER_WARNING, 1), (ErrorKind.TRACKER_ERROR, 2)):
        scene.engine.change(other, tracker=replace(tracker, kind=kind, message="unregistered"))
        assert await scene.field("error", other) == number
        assert await scene.field("error_string", other) == "unregistered"
