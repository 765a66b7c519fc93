"""Requests of the control socket: what is read and refused, and that nothing else is raised."""

import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base import errors
from torrent_engine.base.errors import ConfigError
from torrent_engine.base.ids import InfoHash
from torrent_engine.service.control_api import ACTIONS, STATS, TORRENTS, ControlApi
from torrent_engine.service.new_torrent import AdditionReport, NewTorrent
from torrent_engine.service.problems import problem_of
from torrent_engine.service.torrents import (
    Change,
    Failure,
    QueuePlace,
    TorrentAction,
    TorrentDetail,
    TorrentRow,
)

ID = "ab" * 20
ROW = TorrentRow(ID, "one", "seeding", 0, "/data", 10, 10, 10)


@dataclass
class FakeTorrents:
    """Remembers what was asked for."""

    changes: list[Change] = field(default_factory=list)
    error: Exception | None = None
    added: list[NewTorrent] = field(default_factory=list)

    async def rows(self) -> list[TorrentRow]:
        return [ROW]

    async def change(self, change: Change) -> list[Failure]:
        if self.error is not None:
            raise self.error
        self.changes.append(change)
        return [Failure(each.hex(), "state_conflict", "no") for each in change.ids[1:]]

    async def add(self, torrent: NewTorrent) -> AdditionReport:
        self.added.append(torrent)
        return AdditionReport(ID, "one", is_new=True)

    async def details(self, info_hash: InfoHash, detail: TorrentDetail) -> list[dict[str, Any]]:
        return [{"of": info_hash.hex(), "kind": str(detail)}]

    async def stats(self) -> dict[str, Any]:
        return {"torrents": 1}


def request(**fields: Any) -> bytes:
    return json.dumps({"action": "pause", "ids": [ID], **fields}).encode()


MALFORMED = {
    "empty": b"",
    "no_json": b"{",
    "not_utf8": b"\xff\xfe",
    "deep": b"[" * 100_000,
    "array": b"[]",
    "null": b"null",
    "no_action": json.dumps({"ids": [ID]}).encode(),
    "unknown_action": request(action="format"),
    "action_of_another_type": request(action=["pause"]),
    "unknown_field": request(force=True),
    "ids_no_array": request(ids=ID),
    "id_too_short": request(ids=["ab"]),
    "id_no_hex": request(ids=["zz" * 20]),
    "id_number": request(ids=[1]),
    "too_many_ids": request(ids=[ID] * 10_001),
    "args_no_object": request(args=[]),
    "unknown_argument": request(args={"shell": "x"}),
    "flag_no_bool": request(action="remove", args={"delete_files": 1}),
    "path_relative": request(action="move", args={"path": "out"}),
    "path_missing": request(action="move"),
    "path_with_nul": request(action="move", args={"path": "/a\0b"}),
    "path_too_long": request(action="move", args={"path": "/" + "a" * 5_000}),
    "path_surrogate": request(action="move", args={"path": "/\ud800"}),
    "priority_bool": request(action="priority", args={"priority": True}),
    "priority_huge": request(action="priority", args={"priority": 10**30}),
    "priority_float": request(action="priority", args={"priority": 1.5}),
    "priority_nan": b'{"action": "priority", "ids": [], "args": {"priority": NaN}}',
    "file_priority_8": request(action="priority", args={"priority": 8, "files": ["1"]}),
    "files_no_array": request(action="priority", args={"files": "1"}),
    "limit_negative": request(action="limit", args={"download_bytes_per_s": -1}),
    "limit_bool": request(action="limit", args={"max_peers": True}),
    "limit_text": request(action="limit", args={"upload_bytes_per_s": "5M"}),
    "no_place": request(action="queue"),
    "unknown_place": request(action="queue", args={"place": "middle"}),
    "labels_no_array": request(action="label", args={"labels": "a"}),
    "label_number": request(action="label", args={"labels": [1]}),
    "category_null": request(action="category", args={"category": None}),
}


@pytest.mark.anyio
@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_malformed_request_is_400_and_nothing_is_done(body: bytes) -> None:
    torrents = FakeTorrents()
    status, answer = await ControlApi(torrents).answer(b"POST", ACTIONS.encode(), body)
    assert (status, answer["code"], torrents.changes) == (400, "setting_invalid", [])


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        (b"PUT", TORRENTS, 405),
        (b"POST", STATS, 405),
        (b"DELETE", f"{TORRENTS}/{ID}/files", 405),
        (b"GET", f"{TORRENTS}/{ID}/secrets", 404),
        (b"GET", f"{TORRENTS}/{ID[:20]}/files", 400),
        (b"GET", ACTIONS, 405),
        (b"GET", "/", 404),
        (b"GET", "//[", 404),
        (b"GET", TORRENTS + "/" + ID, 404),
        (b"GET", TORRENTS + "?x=1", 200),
    ],
)
async def test_paths_and_methods(method: bytes, target: str, status: int) -> None:
    found, answer = await ControlApi(FakeTorrents()).answer(method, target.encode(), b"")
    assert found == status
    assert ("torrents" in answer) == (status == 200)


@pytest.mark.anyio
async def test_what_was_done_and_what_failed_is_answered() -> None:
    torrents = FakeTorrents()
    change = Change(TorrentAction.PRIORITY, (InfoHash(b"a" * 20), InfoHash(b"b" * 20)), priority=3)
    body = json.dumps(change.to_json()).encode()
    status, answer = await ControlApi(torrents).answer(b"POST", ACTIONS.encode(), body)
    assert torrents.changes == [change]
    assert (status, answer["done"]) == (200, 1)
    failed = {"info_hash": "62" * 20, "code": "state_conflict", "detail": "no"}
    assert answer["failed"] == [failed]


@pytest.mark.anyio
async def test_a_bug_is_500_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    torrents = FakeTorrents(error=RuntimeError("secret"))
    status, answer = await ControlApi(torrents).answer(b"POST", ACTIONS.encode(), request())
    assert (status, answer) == (500, {"code": "internal", "detail": "RuntimeError"})
    assert "a request at the control socket failed" in caplog.text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "action": st.sampled_from(list(TorrentAction)) | JSON,
        "ids": st.lists(st.just(ID) | JSON, max_size=3) | JSON,
        "args": st.fixed_dictionaries(
            {},
            optional={
                "delete_files": st.booleans() | JSON,
                "path": st.text(max_size=9).map("/".__add__) | JSON,
                "priority": st.integers(-9, 9) | JSON,
                "files": st.lists(st.text(max_size=5), max_size=2) | JSON,
            },
        )
        | JSON,
    },
)


@given(FIELDS | JSON)
def test_reading_raises_nothing_but_config_error(value: object) -> None:
    with suppress(ConfigError):
        change = Change.from_json(value)
        assert Change.from_json(change.to_json()) == change


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UnknownTorrentError(b"x"), "torrent_not_found"),
        (errors.StateTransitionError("x"), "state_conflict"),
        (errors.DiskFullError("p", "x"), "not_enough_space"),
        (errors.FileExistsStorageError("p", "x"), "file_exists"),
        (errors.StorageError("p", "x"), "io_error"),
        (errors.ConfigError("x"), "setting_invalid"),
        (errors.SessionError("x"), "state_conflict"),
        (errors.TrackerError("x"), "internal"),
    ],
)
def test_each_error_has_its_code(error: Exception, code: str) -> None:
    outer = errors.SessionError("outer")
    outer.__cause__ = error
    assert problem_of(error)[0] == problem_of(outer)[0] == code


# -- torrents to be added --------------------------------------------------------------------------

NO_ADDS = {
    "empty": b"",
    "no_source": b"{}",
    "source_number": b'{"source": 1}',
    "source_other_object": b'{"source": {"path": "/etc"}}',
    "no_base64": b'{"source": {"torrent": "###"}}',
    "unknown": b'{"source": "a", "shell": "x"}',
    "path_relative": b'{"source": "a", "save_path": "b"}',
    "path_number": b'{"source": "a", "save_path": 1}',
    "paused_number": b'{"source": "a", "paused": 1}',
    "position_negative": b'{"source": "a", "position": -1}',
    "limits_list": b'{"source": "a", "limits": [1]}',
    "limit_float": b'{"source": "a", "limits": {"upload_bytes_per_s": 1.5}}',
    "labels_text": b'{"source": "a", "labels": "x"}',
}


@pytest.mark.anyio
@pytest.mark.parametrize("body", NO_ADDS.values(), ids=NO_ADDS.keys())
async def test_a_malformed_torrent_is_400_and_nothing_is_added(body: bytes) -> None:
    torrents = FakeTorrents()
    status, answer = await ControlApi(torrents).answer(b"POST", TORRENTS.encode(), body)
    assert (status, answer["code"]) == (400, "setting_invalid")
    assert torrents.added == []


ADDS = st.builds(
    NewTorrent,
    source=st.text(max_size=40, alphabet=st.characters(blacklist_categories=["Cs", "Cc"]))
    | st.binary(max_size=40),
    save_path=st.none() | st.just("/data/a"),
    paused=st.none() | st.booleans(),
    sequential=st.none() | st.booleans(),
    priority=st.none() | st.integers(-1_000, 1_000),
    position=st.none() | st.integers(0, 10**9),
    download_bytes_per_s=st.none() | st.integers(0, 2**40),
    upload_bytes_per_s=st.none() | st.integers(0, 2**40),
    labels=st.lists(st.sampled_from(["a", "b c"]), max_size=3).map(tuple),
    category=st.sampled_from(["", "films"]),
)


@given(ADDS)
def test_a_torrent_to_be_added_passes_through_its_request(torrent: NewTorrent) -> None:
    assert NewTorrent.from_json(json.loads(json.dumps(torrent.to_json()))) == torrent


@given(st.dictionaries(st.sampled_from(["source", "save_path", "limits", "labels"]), JSON))
def test_reading_a_torrent_raises_nothing_but_config_error(value: object) -> None:
    with suppress(ConfigError):
        assert isinstance(NewTorrent.from_json(value).source, str | bytes)


def test_a_change_passes_through_its_request() -> None:
    ids = (InfoHash(b"a" * 20),)
    for change in (
        Change(TorrentAction.QUEUE, ids, place=QueuePlace.TOP),
        Change(TorrentAction.LIMIT, ids, download_bytes_per_s=0, max_peers=3),
        Change(TorrentAction.LABEL, ids, labels=("a", "b")),
        Change(TorrentAction.CATEGORY, ids, category="films"),
    ):
        assert Change.from_json(json.loads(json.dumps(change.to_json()))) == change
