"""What Sonarr, Radarr, Prowlarr and autobrr ask in order, and what they read of the answers.

The conversations are written from their sources; that of autobrr from those of its library
go-qbittorrent too, whose decoder refuses a fraction where it expects a whole number.
"""

import base64
from typing import Any

import httpx2
import pytest

from tests.daemon.contexts import TOKEN
from tests.daemon.qbittorrent.web_api_scene import MAGNET, MAGNET_HASH, WebApiScene, torrent_of
from torrent_engine.daemon.engine_port.facts import EngineState

pytestmark = pytest.mark.anyio
BASIC = "Basic " + base64.b64encode(f"torrent:{TOKEN}".encode()).decode()


class ArrClient:
    """Requests as the programs of the *arr family build them: Basic at once, then the cookie."""

    def __init__(self, scene: WebApiScene) -> None:
        self.scene = scene
        self.headers = {"Authorization": BASIC, "User-Agent": "Sonarr/4.0"}

    async def ask(self, method: str, path: str, **options: Any) -> httpx2.Response:
        return await self.scene.ask(method, path, headers=self.headers, **options)

    async def get(self, path: str, **params: str) -> Any:
        answer = await self.ask("GET", path, params=params)
        assert answer.status_code == 200
        return answer.json()

    async def post(self, path: str, **data: str) -> str:
        answer = await self.ask("POST", path, data=data)
        assert answer.status_code == 200
        return str(answer.text)

    async def version(self) -> tuple[int, ...]:
        answer = await self.ask("GET", "app/webapiVersion")
        return tuple(map(int, answer.text.split(".")))


async def is_supported(scene: WebApiScene) -> bool:
    """Ask as they do before anything else; 401 would be an error, 404 an older interface."""
    answer = await scene.ask("GET", "app/webapiVersion")
    return answer.status_code in {200, 403}


async def log_in(scene: WebApiScene) -> None:
    login = {"username": "torrent", "password": TOKEN}
    answer = await scene.ask("POST", "auth/login", data=login, headers={"Authorization": BASIC})
    assert answer.text in {"", "Ok."}
    assert "SID" in scene.client.cookies


@pytest.mark.parametrize("category", ["tv-sonarr", "radarr"])
async def test_sonarr_and_radarr_test_the_client(category: str) -> None:
    async with WebApiScene().open(token=None) as scene:
        assert await is_supported(scene)
        await log_in(scene)
        arr = ArrClient(scene)
        assert await arr.version() >= (2, 8, 1)
        config = await arr.get("app/preferences")
        assert config["max_ratio_act"] not in {1, 3}  # they refuse clients that remove torrents
        for name in ("max_ratio_enabled", "max_seeding_time_enabled", "queueing_enabled", "dht"):
            assert isinstance(config[name], bool)
        assert isinstance(config["save_path"], str)
        assert category not in await arr.get("torrents/categories")
        assert await arr.post("torrents/createCategory", category=category) == ""
        assert (await arr.get("torrents/categories"))[category]["savePath"] == ""
        assert await arr.get("torrents/info", category=category) == []


async def test_sonarr_adds_a_file_and_follows_it_to_the_import() -> None:
    async with WebApiScene().open(token=None) as scene:
        await log_in(scene)
        arr = ArrClient(scene)
        torrent = torrent_of("Show.S01E01")
        key = str(torrent.info_hash)
        answer = await arr.ask(
            "POST",
            "torrents/add",
            files={"torrents": ("Show.S01E01.torrent", torrent.to_bytes())},
            data={
                "category": "tv-sonarr",
                "stopped": "False",
                "contentLayout": "Original",
                "ratioLimit": "1.5",
                "seedingTimeLimit": "600",
            },
        )
        assert answer.text != "Fails."
        assert (await arr.ask("GET", f"torrents/properties?hash={key}")).status_code == 200
        await arr.post("torrents/topPrio", hashes=key)
        await arr.post("torrents/setForceStart", hashes=key, value="true")
        await arr.post("torrents/addTags", hashes=key, tags="a,b")
        (item,) = await arr.get("torrents/info", category="tv-sonarr")
        assert (item["hash"], item["name"], item["category"]) == (key, "Show.S01E01", "tv-sonarr")
        assert (item["state"], item["eta"], item["progress"]) == ("forcedDL", 8_640_000, 0.0)
        assert (item["ratio_limit"], item["seeding_time_limit"]) == (1.5, 600)
        info_hash = torrent.info_hash
        total = torrent.total_bytes
        scene.engine.change(
            info_hash, state=EngineState.STOPPED, completed_bytes=total, stop_reason="ratio"
        )
        (item,) = await arr.get("torrents/info", category="tv-sonarr")
        assert item["state"] in {"pausedUP", "stoppedUP"}
        assert item["content_path"] == "/downloads/Show.S01E01"
        assert item["content_path"] != item["save_path"]
        files = await arr.get("torrents/files", hash=key)
        assert files[0]["name"].startswith("Show.S01E01/")
        assert (await arr.get("torrents/properties", hash=key))["save_path"] == "/downloads"
        await arr.post("torrents/createCategory", category="imported")
        await arr.post("torrents/setCategory", hashes=key, category="imported")
        await arr.post("torrents/delete", hashes=key)  # without deleteFiles: they stay
        assert scene.engine.removed[info_hash].is_deleted is False


async def test_radarr_adds_a_link_with_its_limits_and_removes_it() -> None:
    """The library of films: limits come with the link since 2.8.1 of the API, not afterwards."""
    async with WebApiScene().open(token=None) as scene:
        assert await is_supported(scene)
        await log_in(scene)
        arr = ArrClient(scene)
        assert await arr.version() >= (2, 8, 1)
        assert (await arr.get("app/preferences"))["dht"] is True  # else links need a tracker
        options = {
            "category": "radarr",
            "paused": "False",
            "sequentialDownload": "True",
            "firstLastPiecePrio": "True",
            "ratioLimit": "1.5",
            "seedingTimeLimit": "1440",
        }
        assert await arr.post("torrents/add", urls=MAGNET, **options) != "Fails."
        properties = f"torrents/properties?hash={MAGNET_HASH}"
        assert (await arr.ask("GET", properties)).status_code == 200  # asked until it is loaded
        assert (await arr.ask("POST", "torrents/topPrio", data={"hashes": MAGNET_HASH})).is_success
        await arr.post("torrents/setForceStart", hashes=MAGNET_HASH, value="true")
        (item,) = await arr.get("torrents/info", category="radarr")
        assert (item["ratio_limit"], item["seeding_time_limit"]) == (1.5, 1_440)
        assert (item["state"], item["eta"]) == ("forcedMetaDL", 8_640_000)
        assert (item["seq_dl"], item["f_l_piece_prio"]) == (True, True)
        await arr.post("torrents/delete", hashes=MAGNET_HASH, deleteFiles="true")
        assert await arr.get("torrents/info", category="radarr") == []
        assert (await arr.ask("GET", properties)).status_code == 404


async def test_older_versions_set_limits_afterwards() -> None:
    async with WebApiScene().open(token=None) as scene:
        await log_in(scene)
        arr = ArrClient(scene)
        assert await arr.post("torrents/add", urls=MAGNET, category="radarr", paused="False")
        limits = {"ratioLimit": "2", "seedingTimeLimit": "-2"}
        await arr.post("torrents/setShareLimits", hashes=MAGNET_HASH, **limits)
        (item,) = await arr.get("torrents/info", category="radarr")
        assert (item["ratio_limit"], item["seeding_time_limit"]) == (2, -2)


async def test_a_cookie_that_is_no_more_makes_them_log_in_again() -> None:
    async with WebApiScene().open(token=None) as scene:
        answer = await scene.ask("GET", "app/preferences", headers={"Cookie": "SID=old"})
        assert answer.status_code == 403
        await log_in(scene)
        assert (await scene.ask("GET", "app/preferences")).status_code == 200


async def test_an_api_key_is_a_bearer_token() -> None:
    async with WebApiScene().open(token=None) as scene:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        assert (await scene.ask("GET", "app/webapiVersion", headers=headers)).text == "2.11.4"


async def test_prowlarr_tests_the_client_and_sends_a_release() -> None:
    async with WebApiScene().open(token=None) as scene:
        await log_in(scene)
        arr = ArrClient(scene)
        assert await arr.version() >= (2, 0)
        assert await arr.get("torrents/categories") == {}
        for name in ("prowlarr", "tv"):
            await arr.post("torrents/createCategory", category=name)
            assert name in await arr.get("torrents/categories")
        assert (await arr.get("app/preferences"))["queueing_enabled"] is True
        assert await arr.get("torrents/info", category="prowlarr") == []
        assert await arr.post("torrents/add", urls=MAGNET, category="prowlarr") == "Ok."
        await arr.get("torrents/properties", hash=MAGNET_HASH)
        await arr.post("torrents/topPrio", hashes=MAGNET_HASH)


WHOLE_NUMBERS = (
    "added_on amount_left completed completion_on dl_limit downloaded downloaded_session eta"
    " last_activity max_seeding_time num_complete num_incomplete num_leechs num_seeds priority"
    " seeding_time seeding_time_limit seen_complete size time_active total_size up_limit uploaded"
    " uploaded_session upspeed dlspeed trackers_count"
)
"""Fields of torrents that autobrr's library decodes as whole numbers."""


async def test_autobrr_looks_at_its_rules_and_adds_a_file() -> None:
    async with WebApiScene().open(token=None) as scene:
        await log_in(scene)
        assert (await scene.text("app/webapiVersion")).startswith("2.")  # for names of filters
        assert await scene.get("torrents/info", filter="downloading") == []
        info = await scene.get("transfer/info")
        assert all(type(info[name]) is int for name in ("dl_info_speed", "up_info_speed"))
        torrent = torrent_of("Race")
        options = {
            "paused": "false",
            "stopped": "false",
            "skip_checking": "true",
            "root_folder": "true",
            "contentLayout": "Subfolder",
            "savepath": "/downloads/race",
            "autoTMM": "false",
            "category": "race",
            "tags": "auto,cross",
            "upLimit": str(1_000 * 1_024),
            "ratioLimit": "2.00",
            "seedingTimeLimit": "1440",
            "firstLastPiecePrio": "true",
        }
        files = {"torrents": ("kqWvEzQJmRTdYLaN", torrent.to_bytes())}  # a name by chance
        answer = await scene.ask("POST", "torrents/add", data=options, files=files)
        assert (answer.status_code, answer.text) == (200, "Ok.")
        key = str(torrent.info_hash)
        assert (await scene.get("app/preferences"))["queueing_enabled"] is True
        await scene.post("app/setPreferences", json='{"queueing_enabled":true}')
        await scene.post("torrents/topPrio", hashes=key)
        trackers = await scene.get("torrents/trackers", hash=key)
        assert {each["status"] for each in trackers} <= {0, 1, 2, 3, 4}
        for name in ("num_peers", "num_seeds", "num_leeches", "num_downloaded"):
            assert all(type(each[name]) is int for each in trackers)
        await scene.post("torrents/reannounce", hashes=key)
        (item,) = await scene.get("torrents/info", hashes=key)
        assert (item["tags"], item["up_limit"]) == ("auto, cross", 1_024_000)
        assert (item["save_path"], item["f_l_piece_prio"]) == ("/downloads/race", True)
        assert [name for name in WHOLE_NUMBERS.split() if type(item[name]) is not int] == []
        await scene.post("torrents/delete", hashes=key, deleteFiles="false")  # no tracker took it
        assert await scene.get("torrents/info") == []


async def test_autobrr_logs_in_again_where_its_session_is_over() -> None:
    async with WebApiScene().open(token=None) as scene:
        await log_in(scene)
        await scene.post("auth/logout")
        assert (await scene.ask("GET", "torrents/info")).status_code == 403
        await log_in(scene)
        assert await scene.get("torrents/info") == []
