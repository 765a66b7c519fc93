"""Debian's transmission-daemon (3.00) beside ours: the same questions, keys and types alike."""

import base64
import http.client
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.transmission.field_types import TYPES
from tests.daemon.transmission.interop.remote import FILES, TRACKER, RemoteDaemon
from tests.support.netns import LOOPBACK
from tests.support.processes import Program, free_port, require_program, wait_until
from tests.support.torrents import make_torrent, write_files
from torrent_engine.codec.metainfo import Metainfo

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
SETTINGS = {
    "dht-enabled": False,
    "lpd-enabled": False,
    "utp-enabled": False,
    "pex-enabled": False,
    "port-forwarding-enabled": False,
    "rpc-bind-address": "127.0.0.1",
    "rpc-whitelist-enabled": False,
    "rpc-host-whitelist-enabled": False,
    "rpc-authentication-required": False,
    "bind-address-ipv4": "127.0.0.1",
}
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


class Oracle(Program):
    """A transmission-daemon on this machine."""

    def __init__(self, folder: Path) -> None:
        program = require_program("transmission-daemon", "transmission-daemon")
        self.port = free_port()
        self.downloads = folder / "files"
        self.downloads.mkdir(parents=True)
        settings = {
            **SETTINGS,
            "rpc-port": self.port,
            "peer-port": free_port(),
            "download-dir": str(self.downloads),
        }
        (folder / "settings.json").write_text(json.dumps(settings))
        self._session_id = ""
        argv = [program, "--foreground", "--config-dir", str(folder)]
        super().__init__(argv, host=LOOPBACK, log=folder / "log", env={"HOME": str(folder)})

    def answers(self) -> bool:
        assert self.alive, self.output()[-2000:]
        try:
            self.ask("session-get")
        except OSError:
            return False
        return True

    def ask(self, method: str, **arguments: Any) -> Any:
        """Return the arguments of a successful answer."""
        plain = {name.replace("_", "-"): value for name, value in arguments.items()}
        body = json.dumps({"method": method, "arguments": plain})
        for _ in range(2):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            fields = {"X-Transmission-Session-Id": self._session_id}
            connection.request("POST", "/transmission/rpc", body, fields)
            answer = connection.getresponse()
            data = answer.read()
            self._session_id = answer.getheader("X-Transmission-Session-Id", self._session_id)
            connection.close()
            if answer.status != 409:
                break
        value = json.loads(data)
        assert value["result"] == "success", value
        return value["arguments"]


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    with Oracle(tmp_path_factory.mktemp("oracle")) as program:
        wait_until(program.answers, timeout_s=20, what="transmission-daemon answers")
        yield program


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


def add(daemon: RemoteDaemon | Oracle, metainfo: Metainfo) -> None:
    encoded = base64.b64encode(metainfo.to_bytes()).decode()
    daemon.ask("torrent-add", metainfo=encoded, paused=True)
    daemon.ask("torrent-verify", ids=[metainfo.info_hash.hex()])


def checked(daemon: RemoteDaemon | Oracle) -> bool:
    told = daemon.ask("torrent-get", fields=["name", "status", "percentDone"])["torrents"]
    done = {each["name"]: (each["status"], each["percentDone"]) for each in told}
    return done == {"payload": (0, 1), "empty": (0, 0)}


def shape(value: Any) -> Any:
    """Return the keys and types of a value; whole and other numbers are one type in JSON."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, int | float) else type(value).__name__


def differences(theirs: Any, ours: Any, path: str = "") -> list[str]:
    """Return where ours lacks something of theirs, or has it in another type."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        missing = [f"{path}/{name}: is missing" for name in theirs.keys() - ours.keys()]
        inner = [
            text
            for name in theirs.keys() & ours.keys()
            for text in differences(theirs[name], ours[name], f"{path}/{name}")
        ]
        return missing + inner
    if isinstance(theirs, list) and isinstance(ours, list):
        if not theirs or not ours:
            return []
        return differences(theirs[0], ours[0], f"{path}[]")
    return [] if theirs == ours else [f"{path}: {ours} instead of {theirs}"]


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
