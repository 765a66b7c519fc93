"""Statistics, categories, labels, health, network and folders, over a fake engine."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.daemon.contexts import client_of, make_context
from tests.daemon.fake_port import FakeEngine
from tests.daemon.qbittorrent.web_api_scene import torrent_of
from torrent_engine.daemon.context import DaemonContext
from torrent_engine.daemon.settings.model import DaemonSettings, PathSettings

pytestmark = pytest.mark.anyio
URL = "/api/v1"


@pytest.fixture
def context(engine: FakeEngine, tmp_path: Path) -> DaemonContext:
    settings = DaemonSettings(paths=PathSettings(download=str(tmp_path)))
    return make_context(engine, settings, roots=[tmp_path])


async def test_every_link_of_the_overview_leads_somewhere(client: httpx2.AsyncClient) -> None:
    links = (await client.get(URL)).json()["links"]
    answers = {name: (await client.get(path)).status_code for name, path in links.items()}
    session = answers.pop("session")  # a browser's, and this client has a token
    assert set(answers.values()) == {200}
    assert session in {200, 401}
    assert len(links) > 10


async def test_statistics_are_told(
    engine: FakeEngine, context: DaemonContext, client: httpx2.AsyncClient
) -> None:
    engine.put(name="a", download_bytes_per_s=5, peers=2)
    await context.state.tick()
    told = (await client.get(f"{URL}/stats")).json()
    assert (told["download_bytes_per_s"], told["peers"]) == (5, 2)
    assert set(told["ever"]) == {"downloaded_bytes", "uploaded_bytes", "seconds"}


async def test_rates_of_the_past_are_told(
    context: DaemonContext, client: httpx2.AsyncClient
) -> None:
    for second in range(4):
        context.state.history.add(1_000.0 + second, 10.0 * second, 1.0)
    told = (await client.get(f"{URL}/stats/history")).json()
    assert told == {"step_s": 1, "samples": [[1000, 0, 1], [1001, 10, 1], [1002, 20, 1]]}
    query = {"from": "1970-01-01T00:16:42Z"}
    told = (await client.get(f"{URL}/stats/history", params=query)).json()
    assert told["samples"] == [[1002, 20, 1]]
    assert (await client.get(f"{URL}/stats/history?step=7")).status_code == 422


@pytest.mark.parametrize("when", ["0001-01-01T00:00:00", "9999-12-31T23:59:59", "1970-01-01"])
async def test_the_ends_of_the_calendar_are_times(client: httpx2.AsyncClient, when: str) -> None:
    assert (await client.get(f"{URL}/stats/history", params={"from": when})).is_success
    assert (await client.delete(f"{URL}/jobs", params={"before": when})).is_success


async def test_a_category_lives(client: httpx2.AsyncClient, tmp_path: Path) -> None:
    url = f"{URL}/categories/films/new"
    body: dict[str, Any] = {"save_path": "films", "seed_rules": {"ratio": "never", "idle_s": 60}}
    assert (await client.put(url, json=body)).status_code == 201
    assert (await client.put(url, json=body)).status_code == 200
    await client.patch(url, json={"upload_bytes_per_s": 5, "seed_rules": {"idle_s": None}})
    told = (await client.get(url)).json()
    assert told == {
        "name": "films/new",
        "save_path": "films",
        "download_bytes_per_s": None,
        "upload_bytes_per_s": 5,
        "seed_rules": {"ratio": "never", "time_s": None, "idle_s": None},
        "torrents": 0,
    }
    assert (await client.get(f"{URL}/categories")).json()["items"] == [told]
    assert (await client.delete(url)).status_code == 204
    assert (await client.get(url)).json()["code"] == "not_found"
    assert (await client.patch(url, json={})).status_code == 404
    assert (await client.delete(url)).status_code == 404


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"save_path": "../.."}, "path_not_allowed"),
        ({"save_path": "/etc"}, "path_not_allowed"),
        ({"seed_rules": {"ratio": -1}}, "setting_invalid"),
        ({"upload_bytes_per_s": -1}, "input_invalid"),
        ({"color": "red"}, "input_invalid"),
    ],
)
async def test_a_category_that_cannot_be_is_a_problem(
    client: httpx2.AsyncClient, body: dict[str, Any], code: str
) -> None:
    assert (await client.put(f"{URL}/categories/x", json=body)).json()["code"] == code
    assert (await client.get(f"{URL}/categories")).json()["items"] == []


async def test_labels_live(
    engine: FakeEngine, context: DaemonContext, client: httpx2.AsyncClient
) -> None:
    key = engine.put(name="a")
    context.state.labels.set_labels(key, ["x"])
    assert (await client.put(f"{URL}/labels/y")).status_code == 201
    assert (await client.put(f"{URL}/labels/y")).status_code == 204
    told = (await client.get(f"{URL}/labels")).json()["items"]
    assert told == [{"name": "x", "torrents": 1}, {"name": "y", "torrents": 0}]
    assert (await client.delete(f"{URL}/labels/x")).status_code == 204
    assert (await client.delete(f"{URL}/labels/x")).status_code == 404
    row = context.state.torrents.get(key)
    assert row is not None
    assert row.user.labels == ()
    assert (await client.put(f"{URL}/labels/a,b")).json()["code"] == "setting_invalid"


async def test_the_network_is_told(engine: FakeEngine, client: httpx2.AsyncClient) -> None:
    told = (await client.get(f"{URL}/network")).json()
    assert (told["listen_port"], told["port"], told["incoming_at"]) == (6881, "unknown", None)
    engine.engine.network_facts = replace(engine.engine.network_facts, mapping="mapped")
    assert (await client.get(f"{URL}/network")).json()["port"] == "likely"
    engine.engine.network_facts = replace(engine.engine.network_facts, incoming_at=1.0)
    assert (await client.get(f"{URL}/network")).json()["port"] == "open"


async def test_health_names_the_part_that_fails(
    context: DaemonContext, client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    told = (await client.get(f"{URL}/health")).json()
    assert (told["state"], [each["name"] for each in told["parts"]]) == (
        "ok",
        ["engine", "database"],
    )
    (disk,) = told["disks"]
    assert disk["path"] == str(tmp_path)
    assert 0 < disk["free_bytes"] <= disk["total_bytes"]
    context.state.store.problem = "the disk is full"
    told = (await client.get(f"{URL}/health")).json()
    assert (told["state"], told["parts"][1]["error"]) == ("degraded", "the disk is full")


async def test_orphans_are_told_and_removed_on_command(engine: FakeEngine, tmp_path: Path) -> None:
    """Partial files of torrents, whatever they are called now, and hidden ones are none."""
    folder = tmp_path / "incomplete"
    for name in ("left", "whole", "renamed", "series", ".hidden", "below"):
        (folder / name / "sub").mkdir(parents=True)
        (folder / name / "sub" / "file").write_bytes(b"12345")
    (folder / "film.mkv").write_bytes(b"123")
    (folder / "link").symlink_to(tmp_path)
    paths = PathSettings(
        download=str(tmp_path), incomplete=str(folder), allowed=(str(folder / "series" / "sub"),)
    )
    context = make_context(engine, DaemonSettings(paths=paths), roots=[tmp_path])
    engine.put(name="whole", current_path=str(tmp_path))
    engine.put(metainfo=torrent_of("renamed"), name="other", current_path=str(folder))
    engine.put(name="x", current_path=str(folder / "below"))

    async with client_of(context) as client:

        async def told() -> dict[str, int]:
            orphans = (await client.get(f"{URL}/health")).json()["orphans"]
            assert all(each["path"] == str(folder / each["name"]) for each in orphans)
            return {each["name"]: each["size_bytes"] for each in orphans}

        first = await told()
        assert first.keys() == {"left", "film.mkv", "link"}
        assert (first["left"], first["film.mkv"]) == (5, 3)
        path = f"{URL}/health/orphans"
        for name in ("whole", "../left", ".hidden", "no"):
            assert (await client.delete(path, params={"name": name})).status_code == 404
        assert (await client.delete(path)).status_code == 422
        removed = await client.delete(path, params={"name": ["left", "link", "whole"]})
        assert removed.json() == {"removed": ["left", "link"]}
        assert (await told()).keys() == {"film.mkv"}
    assert (tmp_path / "incomplete" / "whole" / "sub" / "file").exists()
    assert not (folder / "left").exists()


@pytest.mark.parametrize("incomplete", ["", "downloads", "missing"])
async def test_a_folder_of_downloads_has_no_orphans(
    engine: FakeEngine, tmp_path: Path, incomplete: str
) -> None:
    (tmp_path / "downloads" / "film").mkdir(parents=True)
    paths = PathSettings(
        download=str(tmp_path / "downloads"),
        incomplete=str(tmp_path / incomplete) if incomplete else "",
    )
    context = make_context(engine, DaemonSettings(paths=paths), roots=[tmp_path])
    async with client_of(context) as client:
        assert (await client.get(f"{URL}/health")).json()["orphans"] == []


async def test_folders_are_told_below_allowed_ones_only(
    client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    for name in ("b", "A", "A/deep"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "out").symlink_to("/etc")
    assert (await client.get(f"{URL}/paths")).json() == {"roots": [str(tmp_path)]}
    told = (await client.get(f"{URL}/paths", params={"path": str(tmp_path)})).json()
    assert [each["name"] for each in told["folders"]] == ["A", "b"]
    assert told["parent"] is None
    told = (await client.get(f"{URL}/paths", params={"path": str(tmp_path / "A")})).json()
    assert (told["parent"], told["folders"][0]["name"]) == (str(tmp_path), "deep")
    for path, code in (
        ("/etc", "path_not_allowed"),
        (str(tmp_path / "file"), "file_not_found"),
        (str(tmp_path / "none"), "file_not_found"),
    ):
        answer = await client.get(f"{URL}/paths", params={"path": path})
        assert answer.json()["code"] == code
