"""Conversations of Sonarr, Radarr, Prowlarr, autobrr and tremc, written from their sources.

Sources: Download/Clients/Transmission of Sonarr, Radarr and Prowlarr; internal/action of autobrr
with hekmon/transmissionrpc; tremc. What they decide from an answer is written anew here as rules.
"""

import base64
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.daemon.contexts import TOKEN, URL, client_of, make_context
from tests.daemon.fake_port import FakeEngine
from tests.daemon.transmission.field_types import TYPES, words
from tests.support.torrents import make_torrent
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.daemon.context import DaemonContext
from torrent_engine.daemon.engine_port.facts import EngineState, ErrorKind
from torrent_engine.daemon.security.principals import Scope
from torrent_engine.daemon.settings.model import DaemonSettings

pytestmark = pytest.mark.anyio
E = EngineState
RPC = "/transmission/rpc"
SESSION_ID = "X-Transmission-Session-Id"
DOWNLOADS = "/downloads"
MAGNET_HASH = "0123456789abcdef0123456789abcdef01234567"
POLLED = words("""
id hashString name downloadDir totalSize leftUntilDone isFinished eta status secondsDownloading
secondsSeeding errorString uploadedEver downloadedEver seedRatioLimit seedRatioMode seedIdleLimit
seedIdleMode fileCount file-count labels
""")
"""Fields that Sonarr, Radarr and Prowlarr ask for every minute."""


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def context(engine: FakeEngine) -> DaemonContext:
    plain = DaemonSettings()
    settings = replace(plain, paths=replace(plain.paths, download=DOWNLOADS))
    return make_context(engine, settings, roots=(Path(DOWNLOADS),))


@pytest.fixture
async def http(context: DaemonContext) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(context, token=None) as client:
        yield client


class RefusedError(Exception):
    """A client shows its user this text."""


@dataclass
class Arr:
    """A client of Sonarr's family: it fetches the session id by GET, and insists on 409."""

    http: httpx2.AsyncClient
    password: str = TOKEN
    url_base: str = "/transmission/"
    category: str = ""
    directory: str = ""
    session_id: str = ""
    handshakes: int = 0

    async def _send(self, method: str, **more: Any) -> httpx2.Response:
        base = self.url_base.strip("/")
        url = f"{URL}/{base}/rpc" if base else f"{URL}/rpc"
        auth = ("torrent", self.password)
        return await self.http.request(method, url, auth=auth, follow_redirects=False, **more)

    async def _handshake(self) -> None:
        answer = await self._send("GET", headers={"Accept": "application/json"})
        if answer.status_code != 409:
            raise RefusedError(f"failed to authenticate: {answer.status_code}")
        self.session_id = answer.headers[SESSION_ID]
        self.handshakes += 1

    async def process(self, method: str, arguments: dict[str, Any] | None = None) -> Any:
        """Return the arguments of an answer."""
        body: dict[str, Any] = {"method": method}
        if arguments is not None:
            body["arguments"] = arguments
        if not self.session_id:
            await self._handshake()
        answer = await self._post(body)
        if answer.status_code == 409:
            await self._handshake()
            answer = await self._post(body)
        if answer.status_code == 401:
            raise RefusedError("user authentication failed")
        value = answer.json()
        if value["result"] != "success":
            raise RefusedError(value["result"])
        return value["arguments"]

    async def _post(self, body: dict[str, Any]) -> httpx2.Response:
        headers = {"Accept": "application/json", SESSION_ID: self.session_id}
        return await self._send("POST", json=body, headers=headers)

    async def test_connection(self) -> tuple[int, ...]:
        """Return the version that "Test" finds, and read the list as it does."""
        text = (await self.process("session-get"))["version"]
        found = re.match(r"[\d.]+", text)
        assert found is not None, text
        await self.process("torrent-get", {"fields": POLLED})
        return tuple(map(int, found[0].split(".")))

    async def folder(self) -> str | None:
        """Return where a torrent is to go."""
        if self.directory:
            return self.directory
        if not self.category:
            return None
        base = (await self.process("session-get"))["download-dir"]
        return f"{base.rstrip('/')}/{self.category}"

    async def grab(
        self,
        source: Metainfo | str,
        *,
        ratio: float | None = None,
        seed_minutes: int | None = None,
        is_first: bool = False,
        is_paused: bool = False,
    ) -> str:
        """Add a torrent, set its rules of seeding, and perhaps put it first."""
        arguments: dict[str, Any] = {"paused": is_paused}
        if isinstance(source, str):
            arguments["filename"] = source
            info_hash = source.partition("btih:")[2].partition("&")[0]
        else:
            arguments["metainfo"] = base64.b64encode(source.to_bytes()).decode()
            info_hash = source.info_hash.hex()
        if (folder := await self.folder()) is not None:
            arguments["download-dir"] = folder
        await self.process("torrent-add", arguments)
        rules: dict[str, Any] = {"ids": [info_hash]}
        if ratio is not None:
            rules |= {"seedRatioLimit": ratio, "seedRatioMode": 1}
        if seed_minutes is not None:
            rules |= {"seedIdleLimit": seed_minutes, "seedIdleMode": 1}
        await self.process("torrent-set", rules)  # with no rule at all it is sent all the same
        if is_first:
            await self.process("queue-move-top", {"ids": [info_hash]})
        return info_hash

    async def items(self) -> list["Item"]:
        """Return what the list of downloads shows of the category or folder."""
        config = await self.process("session-get")
        found = await self.process("torrent-get", {"fields": POLLED})
        rows = [row for row in found["torrents"] if row["totalSize"] and self._is_ours(row)]
        return [judge(row, config) for row in rows]

    def _is_ours(self, row: dict[str, Any]) -> bool:
        if self.directory:
            return bool(f"{row['downloadDir']}/".startswith(f"{self.directory}/"))
        return not self.category or self.category in row["downloadDir"].split("/")


@dataclass(frozen=True)
class Item:
    """What a client of Sonarr's family makes of a torrent."""

    id: str
    path: str
    state: str
    can_be_removed: bool = False
    can_be_moved: bool = False
    message: str = field(default="", compare=False)


def judge(row: dict[str, Any], config: dict[str, Any]) -> Item:
    """Return what a client of Sonarr's family makes of an answer."""
    status, error = row["status"], row["errorString"]
    if error:
        state = "warning"
    elif (row["leftUntilDone"] == 0 and status in {0, 5, 6}) or (
        row["isFinished"] and status not in {1, 2}
    ):
        state = "completed"
    elif status == 3:
        state = "queued"
    else:
        state = "downloading"
    is_done = has_reached_limit(row, config)
    return Item(
        row["hashString"].upper(),
        f"{row['downloadDir']}/{row['name'].replace(':', '_')}",
        state,
        is_done,
        is_done and status == 0,
        error,
    )


def has_reached_limit(row: dict[str, Any], config: dict[str, Any]) -> bool:
    """Return whether a torrent may go; the time of seeding stands in the limit of idleness."""
    is_stopped, is_seeding = row["status"] == 0, row["status"] == 6
    downloaded = row["downloadedEver"]
    ratio = row["uploadedEver"] / downloaded if downloaded > 0 else 0
    limits = {0: config["seedRatioLimit"] if config["seedRatioLimited"] else None}
    limits[1] = row["seedRatioLimit"]
    wanted = limits.get(row["seedRatioMode"])
    if is_stopped and wanted is not None and ratio >= wanted:
        return True
    if row["seedIdleMode"] == 1:
        is_old = bool(row["secondsSeeding"] > row["seedIdleLimit"] * 60)
        return (is_stopped or is_seeding) and is_old
    return row["seedIdleMode"] == 0 and is_stopped and bool(config["idle-seeding-limit-enabled"])


def torrent(name: str = "Show.S01E01") -> Metainfo:
    return make_torrent({"a.mkv": b"1" * 50_000, "b.nfo": b"2" * 10}, name=name)[0]


def change(context: DaemonContext, engine: FakeEngine, key: str, **facts: Any) -> None:
    engine.change(InfoHash(bytes.fromhex(key)), **facts)
    context.state.look(InfoHash(bytes.fromhex(key)))


# -- Sonarr, Radarr, Prowlarr ----------------------------------------------------------------------


@pytest.mark.parametrize("url_base", ["/transmission/", "transmission", "/transmission"])
async def test_the_test_of_a_client_passes(http: httpx2.AsyncClient, url_base: str) -> None:
    arr = Arr(http, url_base=url_base)
    assert await arr.test_connection() == (4, 1, 3)  # 2.40 at least; labels from 4.0 on
    assert arr.handshakes == 1


async def test_a_wrong_password_is_said_at_the_handshake(http: httpx2.AsyncClient) -> None:
    with pytest.raises(RefusedError, match="failed to authenticate: 401"):
        await Arr(http, password="wrong").test_connection()


async def test_a_token_that_reads_adds_and_controls_is_enough(
    http: httpx2.AsyncClient, context: DaemonContext
) -> None:
    scopes = [Scope.READ, Scope.ADD, Scope.CONTROL]
    _, secret = context.authenticator.tokens.make("sonarr", scopes)
    arr = Arr(http, password=secret, category="tv")
    await arr.test_connection()
    key = await arr.grab(torrent(), ratio=1.5, seed_minutes=60, is_first=True)
    assert [item.id for item in await arr.items()] == [key.upper()]
    await arr.process("torrent-remove", {"ids": [key], "delete-local-data": True})
    assert await arr.items() == []


@pytest.mark.parametrize("url_base", ["", "/torrents/"])
async def test_another_url_base_is_no_success(http: httpx2.AsyncClient, url_base: str) -> None:
    with pytest.raises(RefusedError, match="failed to authenticate: 40"):
        await Arr(http, url_base=url_base).test_connection()


async def test_an_old_session_id_is_replaced(http: httpx2.AsyncClient) -> None:
    arr = Arr(http, session_id="0" * 48)
    assert await arr.test_connection() == (4, 1, 3)
    assert arr.handshakes == 1


async def test_a_grab_goes_into_the_folder_of_its_category(http: httpx2.AsyncClient) -> None:
    arr = Arr(http, category="tv-sonarr")
    key = await arr.grab(torrent(), ratio=1.5, seed_minutes=2880, is_first=True)
    fields = ["downloadDir", "seedRatioLimit", "seedRatioMode", "seedIdleLimit", "seedIdleMode"]
    told = (await arr.process("torrent-get", {"fields": fields}))["torrents"][0]
    assert told == dict(zip(fields, [f"{DOWNLOADS}/tv-sonarr", 1.5, 1, 2880, 1], strict=True))
    assert [item.id for item in await arr.items()] == [key.upper()]
    assert await Arr(http, category="radarr").items() == []
    assert len(await Arr(http).items()) == 1


async def test_a_grab_without_rules_or_category_goes_to_the_folder_of_downloads(
    http: httpx2.AsyncClient,
) -> None:
    arr = Arr(http)
    await arr.grab(torrent(), is_paused=True)
    fields = ["downloadDir", "status", "seedRatioMode", "seedIdleMode"]
    told = (await arr.process("torrent-get", {"fields": fields}))["torrents"][0]
    assert list(told.values()) == [DOWNLOADS, 0, 0, 0]


async def test_a_folder_of_its_own_is_used_if_it_is_allowed(http: httpx2.AsyncClient) -> None:
    arr = Arr(http, directory=f"{DOWNLOADS}/films")
    await arr.grab(torrent())
    assert [item.path for item in await arr.items()] == [f"{DOWNLOADS}/films/Show.S01E01"]
    with pytest.raises(RefusedError, match="path is outside the allowed folders"):
        await Arr(http, directory="/elsewhere").grab(torrent("other"))


async def test_a_link_is_no_item_until_its_size_is_known(http: httpx2.AsyncClient) -> None:
    arr = Arr(http, category="tv")
    link = f"magnet:?xt=urn:btih:{MAGNET_HASH}&dn=Show&tr=http%3A%2F%2Fa.example%2Fannounce"
    assert await arr.grab(link, ratio=2.0) == MAGNET_HASH
    assert await arr.items() == []


async def test_the_same_grab_again_is_a_success(http: httpx2.AsyncClient) -> None:
    arr = Arr(http)
    assert await arr.grab(torrent()) == await arr.grab(torrent())
    assert len(await arr.items()) == 1


SEEDED = {"completed_bytes": 50_010, "have_bytes": 50_010}
STATES: dict[str, tuple[dict[str, Any], tuple[str, bool, bool]]] = {
    "downloading": ({"state": E.DOWNLOADING}, ("downloading", False, False)),
    "checking": ({"state": E.CHECKING}, ("downloading", False, False)),
    "queued": (
        {"state": E.PAUSED, "paused_state": E.DOWNLOADING, "is_held": True},
        ("queued", False, False),
    ),
    "paused": (
        {"state": E.PAUSED, "paused_state": E.DOWNLOADING, "is_paused_by_user": True},
        ("downloading", False, False),
    ),
    "no space": (
        {"state": E.ERROR, "error": "no space left", "error_kind": ErrorKind.DISK},
        ("warning", False, False),
    ),
    "seeding": ({"state": E.SEEDING, **SEEDED}, ("completed", False, False)),
    "seeding long enough": (
        {"state": E.SEEDING, **SEEDED, "seeding_s": 3_601.0},
        ("completed", True, False),
    ),
    "stopped by its ratio": (
        {
            "state": E.STOPPED,
            "stop_reason": "ratio",
            **SEEDED,
            "all_downloaded_bytes": 50_010,
            "all_uploaded_bytes": 75_100,
        },
        ("completed", True, True),
    ),
    "stopped by the user": ({"state": E.STOPPED, **SEEDED}, ("completed", False, False)),
}


@pytest.mark.parametrize("name", STATES)
async def test_states_are_taken_for_what_they_are(
    http: httpx2.AsyncClient, context: DaemonContext, engine: FakeEngine, name: str
) -> None:
    facts, (state, can_be_removed, can_be_moved) = STATES[name]
    arr = Arr(http, category="tv")
    key = await arr.grab(torrent(), ratio=1.5, seed_minutes=60)
    change(context, engine, key, **facts)
    path = f"{DOWNLOADS}/tv/Show.S01E01"
    assert await arr.items() == [Item(key.upper(), path, state, can_be_removed, can_be_moved)]


async def test_an_imported_download_is_removed_with_its_files(
    http: httpx2.AsyncClient, engine: FakeEngine
) -> None:
    arr = Arr(http)
    key = await arr.grab(torrent())
    await arr.process("torrent-remove", {"ids": [key], "delete-local-data": True})
    assert await arr.items() == []
    assert engine.removed[InfoHash(bytes.fromhex(key))].is_deleted


async def test_the_label_of_imported_downloads_replaces_that_of_the_category(
    http: httpx2.AsyncClient,
) -> None:
    arr = Arr(http)
    key = await arr.grab(torrent())
    asked = {"fields": POLLED, "ids": [key]}
    for labels in (["tv"], ["tv-imported"]):
        await arr.process("torrent-set", {"ids": [key], "labels": labels})
        told = (await arr.process("torrent-get", asked))["torrents"]
        assert [row["labels"] for row in told] == [labels]


# -- autobrr ---------------------------------------------------------------------------------------

STRICT = {older: checks[1] for older, checks in TYPES.values()}
"""What a client that is written in Go accepts as the value of a field."""


@dataclass
class Autobrr:
    """It posts at once, takes the id from 409, and insists on its tag of 63 bits in the answer."""

    http: httpx2.AsyncClient
    session_id: str = ""
    tag: int = 2**62 + 12_345

    async def call(self, method: str, arguments: dict[str, Any] | None = None) -> Any:
        self.tag += 1
        body = {"method": method, "tag": self.tag}
        if arguments is not None:
            body["arguments"] = arguments
        for _ in range(2):
            headers = {SESSION_ID: self.session_id, "User-Agent": "hekmon/transmissionrpc"}
            answer = await self.http.post(RPC, json=body, headers=headers, auth=("", TOKEN))
            if answer.status_code != 409:
                break
            self.session_id = answer.headers[SESSION_ID]
        assert answer.status_code == 200
        value = answer.json()
        assert value["tag"] == self.tag
        assert value["result"] == "success"
        return value["arguments"]


async def test_autobrr_counts_downloads_adds_and_limits(http: httpx2.AsyncClient) -> None:
    client = Autobrr(http)
    assert (await client.call("torrent-get", {"fields": ["status"]}))["torrents"] == []
    encoded = base64.b64encode(torrent().to_bytes()).decode()
    payload = {"metainfo": encoded, "download-dir": f"{DOWNLOADS}/race", "paused": False}
    added = (await client.call("torrent-add", payload))["torrent-added"]
    assert added.keys() == {"id", "name", "hashString"}
    changes = {
        "ids": [added["id"]],
        "labels": ["race", "hd"],
        "uploadLimit": 5_000,
        "uploadLimited": True,
        "downloadLimit": 6_000,
        "downloadLimited": True,
        "seedRatioLimit": 2.0,
        "seedRatioMode": 1,
        "seedIdleLimit": 600,
        "seedIdleMode": 1,
    }
    await client.call("torrent-set", changes)
    told = (await client.call("torrent-get", {"fields": list(changes)[1:]}))["torrents"][0]
    assert {**told, "ids": [added["id"]]} == changes
    downloads = await client.call("torrent-get", {"fields": ["status"]})
    assert [each["status"] for each in downloads["torrents"]] == [4]


async def test_autobrr_announces_until_there_are_peers_and_gives_up(
    http: httpx2.AsyncClient,
) -> None:
    client = Autobrr(http)
    link = f"magnet:?xt=urn:btih:{MAGNET_HASH}&tr=http%3A%2F%2Fa.example%2Fannounce"
    added = (await client.call("torrent-add", {"filename": link}))["torrent-added"]
    ids = {"ids": [added["id"]]}
    told = await client.call("torrent-get", {"fields": ["trackerStats"], **ids})
    for tracker in told["torrents"][0]["trackerStats"]:
        assert {"isBackup", "lastAnnounceResult", "seederCount", "leecherCount"} <= tracker.keys()
    await client.call("torrent-reannounce", ids)
    await client.call("torrent-remove", {**ids, "delete-local-data": False})
    assert (await client.call("torrent-get", {"fields": ["id"]}))["torrents"] == []


async def test_autobrr_reads_every_field_strictly(http: httpx2.AsyncClient) -> None:
    client = Autobrr(http)
    encoded = base64.b64encode(torrent().to_bytes()).decode()
    await client.call("torrent-add", {"metainfo": encoded})
    row = (await client.call("torrent-get", {"fields": list(STRICT)}))["torrents"][0]
    assert {name: row[name] for name, check in STRICT.items() if not check(row[name])} == {}


# -- tremc -----------------------------------------------------------------------------------------

LIST_TAG, STATS_TAG, SESSION_TAG = 7, 21, 22
LISTED = words("""
id name downloadDir status trackerStats desiredAvailable rateDownload rateUpload eta uploadRatio
sizeWhenDone haveValid haveUnchecked addedDate uploadedEver errorString recheckProgress
peersConnected uploadLimit downloadLimit uploadLimited downloadLimited bandwidthPriority
peersSendingToUs peersGettingFromUs seedRatioLimit seedRatioMode isPrivate magnetLink
honorsSessionLimits metadataPercentComplete queuePosition labels
""")
DETAILED = words("""
files priorities wanted peers trackers activityDate dateCreated startDate doneDate totalSize
leftUntilDone comment creator hashString pieceCount pieceSize pieces downloadedEver corruptEver
peersFrom
""")


async def tremc(http: httpx2.AsyncClient, method: str, tag: int, arguments: Any = None) -> Any:
    """Return an answer as tremc fetches it: the session id comes from the text of a refusal."""
    body = {"method": method, "tag": tag}
    if arguments:
        body["arguments"] = arguments
    auth = ("torrent", TOKEN)
    refused = await http.post(RPC, json=body, auth=auth)
    text = re.sub("<[^>]*>", "", refused.text.replace("</p>", " "))
    found = re.search(r"X-Transmission-Session-Id:\s*(\w+)", text)
    assert found is not None
    answer = await http.post(RPC, json=body, auth=auth, headers={SESSION_ID: found[1]})
    value = answer.json()
    assert (value["result"], value["tag"]) == ("success", tag)
    return value["arguments"]


async def test_tremc_starts(http: httpx2.AsyncClient) -> None:
    session = await tremc(http, "session-get", SESSION_TAG)
    assert 14 <= session["rpc-version"] <= 19
    assert session["version"].split()[0] == "4.1.3"
    stats = await tremc(http, "session-stats", STATS_TAG, 21)  # a number instead of an object
    assert stats["torrentCount"] == 0


async def test_tremc_finds_every_field_that_it_asks_for(http: httpx2.AsyncClient) -> None:
    await Arr(http).grab(torrent())
    for fields in (LISTED, DETAILED + LISTED):
        told = await tremc(http, "torrent-get", LIST_TAG, {"fields": fields})
        row = told["torrents"][0]
        assert row.keys() == set(fields)
        assert {name: row[name] for name in fields if not STRICT[name](row[name])} == {}
