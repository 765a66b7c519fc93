"""More than 200 requests to Debian's transmission-daemon (3.00) and to ours, answered alike."""

import copy
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.daemon.transmission.field_types import words
from tests.daemon.transmission.interop.oracle import Oracle, add, checked, differences, shape
from tests.daemon.transmission.interop.remote import FILES, TRACKER, RemoteDaemon
from tests.daemon.transmission.interop.test_oracle import FIELDS, STATIC
from tests.support.processes import wait_until
from tests.support.torrents import make_torrent, write_files

pytestmark = pytest.mark.interop
COMPLETE, PAYLOAD = make_torrent(FILES, name="payload", tiers=[[TRACKER]])
EMPTY, _ = make_torrent({"x": b"x" * 100_000}, name="empty", is_private=True)
FIRST, SECOND = COMPLETE.info_hash.hex(), EMPTY.info_hash.hex()
UNKNOWN = "f" * 40
DOWNLOADS = "{downloads}"

SESSION_FIELDS = words("""
alt-speed-down alt-speed-enabled alt-speed-time-begin alt-speed-time-day alt-speed-time-enabled
alt-speed-time-end alt-speed-up blocklist-enabled blocklist-size blocklist-url cache-size-mb
config-dir dht-enabled download-dir download-dir-free-space download-queue-enabled
download-queue-size encryption idle-seeding-limit idle-seeding-limit-enabled incomplete-dir
incomplete-dir-enabled lpd-enabled peer-limit-global peer-limit-per-torrent peer-port
peer-port-random-on-start pex-enabled port-forwarding-enabled queue-stalled-enabled
queue-stalled-minutes rename-partial-files rpc-version rpc-version-minimum
script-torrent-done-enabled script-torrent-done-filename seed-queue-enabled seed-queue-size
seedRatioLimit seedRatioLimited session-id speed-limit-down speed-limit-down-enabled
speed-limit-up speed-limit-up-enabled start-added-torrents trash-original-torrent-files units
utp-enabled version
""")
SESSION_CHANGES: list[dict[str, Any]] = [
    {"alt-speed-down": 77},
    {"alt-speed-up": 66},
    {"alt-speed-time-begin": 60},
    {"alt-speed-time-end": 120},
    {"alt-speed-time-day": 62},
    {"alt-speed-time-enabled": False},
    {"cache-size-mb": 8},
    {"download-dir": DOWNLOADS},
    {"download-queue-enabled": True},
    {"download-queue-size": 7},
    {"idle-seeding-limit": 40},
    {"idle-seeding-limit-enabled": False},
    {"incomplete-dir": DOWNLOADS + "/unfinished"},
    {"incomplete-dir-enabled": False},
    {"peer-limit-global": 150},
    {"peer-limit-per-torrent": 40},
    {"queue-stalled-enabled": True},
    {"queue-stalled-minutes": 20},
    {"seed-queue-enabled": False},
    {"seed-queue-size": 9},
    {"seedRatioLimit": 1.5},
    {"seedRatioLimit": 2},
    {"seedRatioLimited": False},
    {"speed-limit-down": 500},
    {"speed-limit-down-enabled": False},
    {"speed-limit-up": 400},
    {"speed-limit-up-enabled": False},
    {"start-added-torrents": True},
    {"speed-limit-up": 300, "speed-limit-down": 301},
    {"unknown-key": 1},
    {},
]
TORRENT_CHANGES: list[dict[str, Any]] = [
    {"bandwidthPriority": 1},
    {"bandwidthPriority": 0},
    {"downloadLimit": 40},
    {"downloadLimited": False},
    {"files-unwanted": [0]},
    {"files-wanted": [0]},
    {"files-wanted": []},
    {"honorsSessionLimits": True},
    {"labels": ["one", "two"]},
    {"labels": []},
    {"peer-limit": 12},
    {"priority-high": [0]},
    {"priority-low": [0]},
    {"priority-normal": [0]},
    {"queuePosition": 0},
    {"seedIdleLimit": 30},
    {"seedIdleMode": 0},
    {"seedRatioLimit": 1.5},
    {"seedRatioMode": 0},
    {"uploadLimit": 30},
    {"uploadLimited": False},
    {"trackerAdd": ["http://127.0.0.1:9/other/announce"]},
    {"unknownKey": 1},
]
ACTIONS = words("""
torrent-stop torrent-reannounce queue-move-top queue-move-up queue-move-down queue-move-bottom
""")
IDS: list[Any] = [[], FIRST, FIRST.upper(), [FIRST, SECOND], [UNKNOWN], [SECOND, UNKNOWN], [99_999]]
WITHOUT_FIELDS: list[dict[str, Any]] = [
    {"fields": []},
    {},
    {"fields": ["noSuchField"], "ids": [FIRST]},
]
"""Arguments that 4.1 refuses; 3.00 names torrents all the same."""
ODD: list[dict[str, Any]] = [
    {"method": "torrent-get", "arguments": {"fields": ["id", "name"], "ids": "recently-active"}},
    {"method": "no-such-method", "arguments": {}},
    {"method": "no-such-method"},
    {"method": 5},
    {"arguments": {}},
    {},
    {"method": "session-get", "tag": 17},
    {"method": "session-get", "arguments": {}, "tag": 0},
    {"method": "session-stats"},
    {"method": "session-stats", "arguments": {"unknown": 1}, "tag": 4},
    {"method": "torrent-add", "arguments": {}},
    {"method": "torrent-add", "arguments": {"metainfo": "bm90aGluZw=="}},
    {"method": "torrent-add", "arguments": {"filename": "/no/such/file.torrent"}},
    {"method": "torrent-add", "arguments": {"filename": f"magnet:?xt=urn:btih:{FIRST}"}},
    {"method": "torrent-set-location", "arguments": {"ids": [FIRST]}},
    {"method": "torrent-set-location", "arguments": {"ids": [FIRST], "location": "relative"}},
    {"method": "torrent-rename-path", "arguments": {"ids": [FIRST, SECOND], "path": "payload"}},
    {"method": "torrent-remove", "arguments": {"ids": [UNKNOWN]}},
    {"method": "torrent-start", "arguments": {"ids": []}},
    {"method": "torrent-verify", "arguments": {"ids": [UNKNOWN]}},
    {"method": "torrent-set", "arguments": {"ids": [FIRST], "files-wanted": [999]}},
    {"method": "torrent-set", "arguments": {"ids": [FIRST], "trackerRemove": [999]}},
    {"method": "torrent-set", "arguments": {"ids": [FIRST], "labels": ["a,b"]}},
    {"method": "torrent-set", "arguments": {"ids": [FIRST], "labels": [""]}},
    {"method": "free-space", "arguments": {"path": DOWNLOADS}},
    {"method": "free-space", "arguments": {}},
    {"method": "free-space", "arguments": {"path": "relative"}},
]


def requests() -> Iterator[dict[str, Any]]:
    """Yield requests; none of them depends on another."""
    both: dict[str, Any] = {"ids": [FIRST, SECOND]}
    for field in FIELDS:
        yield {"method": "torrent-get", "arguments": {"fields": [field], **both}}
    table = ["name", "totalSize", "isPrivate", "percentDone", "trackers", "files", "wanted", "id"]
    for field in table:
        asked = {"fields": ["hashString", field], "format": "table", **both}
        yield {"method": "torrent-get", "arguments": asked}
    for ids in IDS:
        yield {"method": "torrent-get", "arguments": {"fields": ["name", "status"], "ids": ids}}
    for key in SESSION_FIELDS:
        yield {"method": "session-get", "arguments": {"fields": [key]}}
    yield {"method": "session-get"}
    for change in SESSION_CHANGES:
        yield {"method": "session-set", "arguments": change}
    for change in TORRENT_CHANGES:
        yield {"method": "torrent-set", "arguments": {"ids": [SECOND], **change}}
    for method in ACTIONS:
        yield {"method": method, "arguments": {"ids": [SECOND]}}
    yield from ODD


REQUESTS = [json.dumps(each) for each in requests()]


@pytest.fixture(scope="module")
def pair(shared: RemoteDaemon, oracle: Oracle) -> tuple[RemoteDaemon, Oracle]:
    """Both daemons, each with a complete torrent and one without files."""
    for daemon in (shared, oracle):
        write_files(COMPLETE, PAYLOAD, daemon.downloads)
        add(daemon, COMPLETE)
        add(daemon, EMPTY)
        wait_until(partial(checked, daemon), timeout_s=60, what="both are checked")
    return shared, oracle


def ordered(answer: Any) -> Any:
    """Return an answer with torrents in the order of their names or hashes, if it has these."""
    found = copy.deepcopy(answer)
    torrents = found.get("arguments", {}).get("torrents")
    if isinstance(torrents, list) and torrents and isinstance(torrents[0], dict):
        torrents.sort(key=lambda each: json.dumps(each, sort_keys=True))
    return found


def static_values(answer: Any) -> list[Any]:
    """Return what an answer tells of torrents that must be the same everywhere."""
    told = answer.get("arguments", {}).get("torrents", [])
    rows = [each for each in told if isinstance(each, dict)]
    kept = [{key: row[key] for key in row if key in STATIC and key not in CHANGED} for row in rows]
    return sorted(kept, key=lambda each: json.dumps(each, sort_keys=True))


CHANGED = {"labels", "priorities", "wanted", "error", "errorString", "bandwidthPriority", "status"}
"""Fields that other requests change, or a tracker that does not answer."""


def test_there_are_two_hundred() -> None:
    assert len(REQUESTS) >= 200
    assert len(set(REQUESTS)) == len(REQUESTS)


@pytest.mark.parametrize("arguments", WITHOUT_FIELDS)
def test_fields_must_be_named_as_since_4_1(
    pair: tuple[RemoteDaemon, Oracle], arguments: dict[str, Any]
) -> None:
    ours = pair[0].post({"method": "torrent-get", "arguments": arguments})
    assert ours == {"result": "no fields specified", "arguments": {}}
    theirs = pair[1].post({"method": "torrent-get", "arguments": arguments})
    assert "torrents" in theirs["arguments"]


@pytest.mark.parametrize("request_text", REQUESTS)
def test_both_answer_alike(pair: tuple[RemoteDaemon, Oracle], request_text: str) -> None:
    ours, theirs = (
        ordered(daemon.post(json.loads(request_text.replace(DOWNLOADS, str(daemon.downloads)))))
        for daemon in pair
    )
    assert (ours["result"] == "success") == (theirs["result"] == "success"), (ours, theirs)
    assert ours.get("tag") == theirs.get("tag")
    assert differences(shape(theirs), shape(ours)) == []
    assert static_values(ours) == static_values(theirs)
