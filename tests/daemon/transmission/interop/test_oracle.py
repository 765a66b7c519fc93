"""Debian's transmission-daemon (3.00) beside ours: the same questions, keys and types alike."""

from functools import partial
from typing import Any

import pytest

from tests.daemon.transmission.field_types import TYPES
from tests.daemon.transmission.interop.oracle import Oracle, add, checked, differences, shape
from tests.daemon.transmission.interop.remote import FILES, TRACKER, RemoteDaemon
from tests.support.processes import wait_until
from tests.support.torrents import make_torrent, write_files

pytestmark = pytest.mark.interop
NEWER = {
    "availability",
    "bytesCompleted",
    "file-count",
    "group",
    "percentComplete",
    "primary-mime-type",
    "sequential_download",
    "sequential_download_from_piece",
    "source",
    "trackerList",
    "webseeds_ex",
}
"""Fields that 3.00 does not know; it tells 0 for some of them."""
FIELDS = [older for older, _ in TYPES.values() if older not in NEWER]
STATIC = [
    "comment",
    "creator",
    "dateCreated",
    "downloadLimited",
    "uploadLimited",
    "error",
    "errorString",
    "haveUnchecked",
    "honorsSessionLimits",
    "hashString",
    "haveValid",
    "isFinished",
    "isPrivate",
    "leftUntilDone",
    "metadataPercentComplete",
    "name",
    "percentDone",
    "pieceCount",
    "pieceSize",
    "pieces",
    "priorities",
    "recheckProgress",
    "seedIdleMode",
    "seedRatioMode",
    "sizeWhenDone",
    "status",
    "totalSize",
    "wanted",
    "webseeds",
    "peers",
    "rateDownload",
    "rateUpload",
    "manualAnnounceTime",
    "bandwidthPriority",
    "labels",
]
"""Fields whose values must be the same."""


@pytest.fixture(scope="module")
def both(shared: RemoteDaemon, oracle: Oracle) -> dict[str, dict[str, Any]]:
    """All fields of the same torrents, complete and stopped, and without files, of both daemons."""
    complete, payload = make_torrent(FILES, name="payload", tiers=[[TRACKER]])
    empty, _ = make_torrent({"x": b"x" * 100_000}, name="empty", is_private=True)
    write_files(complete, payload, shared.downloads)
    write_files(complete, payload, oracle.downloads)
    found = {}
    for name, daemon in (("ours", shared), ("theirs", oracle)):
        for metainfo in (complete, empty):
            add(daemon, metainfo)
        wait_until(partial(checked, daemon), timeout_s=30, what="both are checked")
        told = daemon.ask("torrent-get", fields=FIELDS)["torrents"]
        found[name] = {each["name"]: each for each in told}
    return found


@pytest.mark.parametrize("name", ["payload", "empty"])
def test_fields_of_torrents_have_their_keys_and_types(
    both: dict[str, dict[str, Any]], name: str
) -> None:
    theirs, ours = both["theirs"][name], both["ours"][name]
    assert len(theirs) > 60
    assert differences(shape(theirs), shape(ours)) == []


@pytest.mark.parametrize("name", ["payload", "empty"])
def test_whole_numbers_are_whole_where_theirs_are(
    both: dict[str, dict[str, Any]], name: str
) -> None:
    theirs, ours = both["theirs"][name], both["ours"][name]
    floats = [
        field
        for field in theirs
        if type(theirs[field]) is int
        and type(ours[field]) is float
        and not ours[field].is_integer()
    ]
    assert floats == []


@pytest.mark.parametrize("field", STATIC)
@pytest.mark.parametrize("name", ["payload", "empty"])
def test_values_that_are_given_are_the_same(
    both: dict[str, dict[str, Any]], name: str, field: str
) -> None:
    assert both["ours"][name][field] == both["theirs"][name][field]


def test_files_are_told_the_same(both: dict[str, dict[str, Any]]) -> None:
    for name in ("payload", "empty"):
        theirs, ours = both["theirs"][name], both["ours"][name]
        kept = [{key: each[key] for key in theirs["files"][0]} for each in ours["files"]]
        assert kept == theirs["files"]
        assert ours["fileStats"] == theirs["fileStats"]


def test_trackers_are_told_the_same(both: dict[str, dict[str, Any]]) -> None:
    theirs, ours = both["theirs"]["payload"], both["ours"]["payload"]
    keys = {"announce", "scrape", "tier"}
    for field in ("trackers", "trackerStats"):
        assert [{key: each[key] for key in keys} for each in ours[field]] == [
            {key: each[key] for key in keys} for each in theirs[field]
        ]


def test_the_session_has_their_keys_and_types(shared: RemoteDaemon, oracle: Oracle) -> None:
    theirs, ours = oracle.ask("session-get"), shared.ask("session-get")
    assert len(theirs) >= 50
    assert differences(shape(theirs), shape(ours)) == []


def test_statistics_have_their_keys_and_types(shared: RemoteDaemon, oracle: Oracle) -> None:
    theirs, ours = oracle.ask("session-stats"), shared.ask("session-stats")
    assert shape(ours) == shape(theirs)


def test_free_space_has_their_keys_and_types(shared: RemoteDaemon, oracle: Oracle) -> None:
    theirs = oracle.ask("free-space", path=str(oracle.downloads))
    ours = shared.ask("free-space", path=str(shared.downloads))
    assert differences(shape(theirs), shape(ours)) == []


def test_a_table_is_told_the_same(shared: RemoteDaemon, oracle: Oracle) -> None:
    found = []
    metainfo, _ = make_torrent({"t": b"t"}, name="table")
    for daemon in (shared, oracle):
        add(daemon, metainfo)
        asked = {"fields": ["name", "totalSize"], "ids": [metainfo.info_hash.hex()]}
        found.append(daemon.ask("torrent-get", format="table", **asked))
        daemon.ask("torrent-remove", ids=[metainfo.info_hash.hex()])
    assert found[0] == found[1] == {"torrents": [["name", "totalSize"], ["table", 1]]}
