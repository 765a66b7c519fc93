"""Rows: what they derive from facts, and which groups a change concerns."""

from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from tests.daemon.fake_port import FakeEngine, info_hash_of
from torrent_engine.base.ids import InfoHash, InfoHashV2
from torrent_engine.daemon.engine_port.facts import (
    EngineState,
    ErrorKind,
    FactGroup,
    ProgressFacts,
    RateFacts,
    TrackerSummary,
)
from torrent_engine.daemon.engine_port.user_data import UserData
from torrent_engine.daemon.state.ids import TorrentIds
from torrent_engine.daemon.state.revisions import RevisionCounter
from torrent_engine.daemon.state.rows import (
    StateRow,
    TorrentStatus,
    is_stalled,
    status_of,
)
from torrent_engine.daemon.state.torrent_table import TorrentTable

S = EngineState


class Scene:
    """A fake engine, and a table that is told its facts by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.engine = FakeEngine()
        self.table = TorrentTable(RevisionCounter("e"), TorrentIds(lambda: self.now_s))

    def put(self, **facts: Any) -> InfoHash:
        one = self.engine.put(**facts)
        self.look(one)
        return one

    def look(self, one: InfoHash) -> set[FactGroup]:
        facts = self.engine.port.torrents.facts(one)
        return set(self.table.update(facts, now_s=self.now_s, now_at=self.engine.now_at))

    def change(self, one: InfoHash, **facts: Any) -> set[FactGroup]:
        self.engine.change(one, **facts)
        return self.look(one)

    def row(self, one: InfoHash) -> StateRow:
        row = self.table.get(one)
        assert row is not None
        return row


@pytest.fixture
def scene() -> Scene:
    return Scene()


STATUSES = [
    (ProgressFacts(state=S.STOPPED, stop_reason="stopped"), TorrentStatus.STOPPED),
    (ProgressFacts(state=S.STOPPED, stop_reason="ratio"), TorrentStatus.FINISHED),
    (ProgressFacts(state=S.STOPPED, stop_reason="time"), TorrentStatus.FINISHED),
    (ProgressFacts(state=S.STOPPED, stop_reason="idle"), TorrentStatus.FINISHED),
    (ProgressFacts(state=S.STOPPED, stop_reason="checked"), TorrentStatus.STOPPED),
    (
        ProgressFacts(state=S.PAUSED, paused_state=S.SEEDING, is_paused_by_user=True),
        TorrentStatus.PAUSED,
    ),
    (
        ProgressFacts(state=S.PAUSED, paused_state=S.SEEDING, is_paused_by_user=True, is_held=True),
        TorrentStatus.PAUSED,
    ),
    (
        ProgressFacts(state=S.PAUSED, paused_state=S.CHECKING, is_held=True),
        TorrentStatus.CHECK_QUEUED,
    ),
    (
        ProgressFacts(state=S.PAUSED, paused_state=S.DOWNLOADING, is_held=True),
        TorrentStatus.DOWNLOAD_QUEUED,
    ),
    (
        ProgressFacts(state=S.PAUSED, paused_state=S.FETCHING_METADATA, is_held=True),
        TorrentStatus.DOWNLOAD_QUEUED,
    ),
    (
        ProgressFacts(state=S.PAUSED, paused_state=S.SEEDING, is_held=True),
        TorrentStatus.SEED_QUEUED,
    ),
    (ProgressFacts(state=S.CHECKING), TorrentStatus.CHECKING),
    (ProgressFacts(state=S.FETCHING_METADATA), TorrentStatus.METADATA),
    (ProgressFacts(state=S.DOWNLOADING), TorrentStatus.DOWNLOADING),
    (ProgressFacts(state=S.SEEDING), TorrentStatus.SEEDING),
    (ProgressFacts(state=S.ERROR, error="gone"), TorrentStatus.ERROR),
]


@pytest.mark.parametrize(("progress", "status"), STATUSES)
def test_each_state_of_the_engine_has_a_status(
    progress: ProgressFacts, status: TorrentStatus
) -> None:
    assert status_of(progress) is status


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("by_user", [False, True])
@pytest.mark.parametrize("paused", [None, *S])
@pytest.mark.parametrize("state", S)
def test_no_combination_of_facts_is_without_a_status(
    state: EngineState, paused: EngineState | None, *, by_user: bool, held: bool
) -> None:
    progress = ProgressFacts(
        state=state, paused_state=paused, is_held=held, is_paused_by_user=by_user
    )
    assert isinstance(status_of(progress), TorrentStatus)


@pytest.mark.parametrize(
    ("status", "rates", "idle_s", "stalled"),
    [
        (TorrentStatus.DOWNLOADING, RateFacts(), 59.0, False),
        (TorrentStatus.DOWNLOADING, RateFacts(), 60.0, True),
        (TorrentStatus.SEEDING, RateFacts(), 60.0, True),
        (TorrentStatus.METADATA, RateFacts(), 60.0, True),
        (TorrentStatus.DOWNLOADING, RateFacts(download_bytes_per_s=1), 60.0, False),
        (TorrentStatus.DOWNLOADING, RateFacts(upload_bytes_per_s=1), 60.0, False),
        (TorrentStatus.CHECKING, RateFacts(), 60.0, False),
        (TorrentStatus.PAUSED, RateFacts(), 60.0, False),
    ],
)
def test_a_torrent_stalls_after_a_minute_without_payload(
    status: TorrentStatus, rates: RateFacts, idle_s: float, *, stalled: bool
) -> None:
    progress = ProgressFacts(activity_at=1_000.0, started_at=900.0)
    assert is_stalled(status, progress, rates, 1_000.0 + idle_s) is stalled


def test_a_new_torrent_is_news_in_all_groups(scene: Scene) -> None:
    one = scene.put(name="a", total_bytes=100)
    delta = scene.table.delta(0)
    assert [(row.about.name, set(groups)) for row, groups in delta.changed] == [
        ("a", set(FactGroup))
    ]
    assert scene.row(one).id == 1
    assert scene.row(one).hash == one.hex()


@pytest.mark.parametrize(
    ("facts", "groups"),
    [
        ({"name": "b"}, {FactGroup.ABOUT}),
        ({"save_path": "/b"}, {FactGroup.SETTINGS}),
        ({"user_data": (("category", "b"),)}, {FactGroup.SETTINGS}),
        ({"completed_bytes": 7}, {FactGroup.PROGRESS}),
        ({"state": S.DOWNLOADING}, {FactGroup.PROGRESS}),
        ({"download_bytes_per_s": 7}, {FactGroup.RATES}),
        ({"peers": 1, "ratio": 0.5}, {FactGroup.RATES, FactGroup.PROGRESS}),
        ({"name": "a"}, set()),
        ({"seeding_s": 59.0}, set()),
        ({"seeding_s": 60.0}, {FactGroup.PROGRESS}),
        ({"downloading_s": 60.0}, {FactGroup.PROGRESS}),
    ],
)
def test_a_change_concerns_its_group_only(
    scene: Scene, facts: dict[str, Any], groups: set[FactGroup]
) -> None:
    one = scene.put(name="a", total_bytes=100)
    before = scene.table.revisions.number
    assert scene.change(one, **facts) == groups
    told = scene.table.delta(before).changed
    assert [set(each) for _, each in told] == ([groups] if groups else [])
    assert scene.table.revisions.number == before + bool(groups)


def test_live_numbers_change_like_all_facts(scene: Scene) -> None:
    one = scene.put(name="a", total_bytes=100, state=S.DOWNLOADING)
    progress = replace(scene.row(one).progress, completed_bytes=50)
    table, times = scene.table, {"now_s": 101.0, "now_at": scene.engine.now_at}
    assert table.update_live(one, scene.row(one).progress, RateFacts(), **times) == ()
    groups = table.update_live(one, progress, RateFacts(download_bytes_per_s=9), **times)
    assert set(groups) == {FactGroup.PROGRESS, FactGroup.RATES}
    row = scene.row(one)
    assert (row.fraction, row.left_bytes, row.changed_s) == (0.5, 50, 101.0)


def test_a_removed_torrent_is_told_to_those_who_knew_it(scene: Scene) -> None:
    one = scene.put(name="a")
    known = scene.table.revisions.number
    assert scene.table.remove(one)
    assert not scene.table.remove(one)
    assert scene.table.delta(known).removed == [one]
    assert scene.table.delta(0).removed == []
    assert scene.table.delta(scene.table.revisions.number).removed == []


def test_a_torrent_that_comes_again_is_new_with_another_id(scene: Scene) -> None:
    one = scene.put(name="a")
    known = scene.table.revisions.number
    scene.table.remove(one)
    scene.look(one)
    delta = scene.table.delta(known)
    assert delta.removed == []
    assert [(row.id, set(groups)) for row, groups in delta.changed] == [(2, set(FactGroup))]
    assert scene.table.ids.removed_within(60.0) == [1]
    assert scene.table.by_id(1) is None
    assert scene.table.by_id(2) is scene.row(one)


def test_what_changed_lately_is_told_by_time(scene: Scene) -> None:
    one, two = scene.put(name="a"), scene.put(name="b")
    scene.now_s = 150.0
    scene.change(two, name="c")
    found = scene.table.changed_within(60.0, 161.0)
    assert [row.info_hash for row in found] == [two]
    assert {row.info_hash for row in scene.table.changed_within(61.0, 161.0)} == {one, two}


def test_the_delta_since_nothing_is_everything(scene: Scene) -> None:
    one, two = scene.put(name="a"), scene.put(name="b")
    delta = scene.table.delta(None)
    assert delta.is_full
    assert [row.info_hash for row, _ in delta.changed] == [one, two]


@pytest.mark.parametrize(
    ("facts", "message", "kind"),
    [
        ({}, "", ErrorKind.NONE),
        ({"error": "no disk", "error_kind": ErrorKind.DISK}, "no disk", ErrorKind.DISK),
        (
            {"tracker": TrackerSummary("h", "failed", "gone", ErrorKind.TRACKER_ERROR)},
            "gone",
            ErrorKind.TRACKER_ERROR,
        ),
        (
            {"tracker": TrackerSummary("h", "working", "old", ErrorKind.TRACKER_WARNING)},
            "old",
            ErrorKind.TRACKER_WARNING,
        ),
        (
            {
                "tracker": TrackerSummary("h", "failed", "gone", ErrorKind.TRACKER_ERROR),
                "error": "files gone",
                "error_kind": ErrorKind.MISSING_FILES,
            },
            "files gone",
            ErrorKind.MISSING_FILES,
        ),
    ],
)
def test_the_error_is_the_torrents_or_else_its_trackers(
    scene: Scene, facts: dict[str, Any], message: str, kind: ErrorKind
) -> None:
    row = scene.row(scene.put(name="a", **facts))
    assert (row.error, row.error_kind) == (message, kind)


def test_fractions_know_nothing_wanted_and_no_metadata(scene: Scene) -> None:
    magnet = scene.row(scene.put(name="a"))
    nothing = scene.row(scene.put(name="b", total_bytes=100, wanted_bytes=0))
    whole = scene.row(scene.put(name="c", total_bytes=100, completed_bytes=100))
    assert [(row.fraction, row.is_complete) for row in (magnet, nothing, whole)] == [
        (0.0, False),
        (1.0, True),
        (1.0, True),
    ]


def test_user_data_is_read_as_it_was_written() -> None:
    data = UserData("films", ("a", "ü,b"), "mine", "shown", (("transmission.limited", "1"),))
    assert UserData.read(data.values()) == data
    assert UserData.read({}) == UserData()
    assert UserData().values() == {}


@pytest.mark.parametrize("text", ["", "{", "{}", "1", '"a"', "[1]", "null"])
def test_labels_that_are_none_are_left_out(text: str) -> None:
    assert UserData.read({"labels": text}).labels == ()


def test_categories_and_labels_of_a_row_follow_user_data(scene: Scene) -> None:
    one = scene.put(name="a", user_data=(("category", "x"), ("labels", '["l"]')))
    assert (scene.row(one).user.category, scene.row(one).user.labels) == ("x", ("l",))
    scene.change(one, user_data=(("comment", "mine"),), comment="its own")
    assert (scene.row(one).user.category, scene.row(one).comment) == ("", "mine")
    assert info_hash_of(0) == one


V2 = InfoHashV2(bytes(range(32)))
BY_V1, BY_V2 = info_hash_of(1), V2.truncated


@pytest.mark.parametrize("key", [BY_V1, BY_V2], ids=["by_v1", "by_v2"])
def test_bep52_a_hybrid_has_one_row_by_either_hash(scene: Scene, key: InfoHash) -> None:
    scene.put(info_hash=key, name="a")
    assert scene.table.named(V2.hex()) is (scene.row(key) if key == BY_V2 else None)
    scene.change(key, info_hash_v1=BY_V1, info_hash_v2=V2)
    row = scene.row(key)
    for text in (str(BY_V1), str(BY_V2), str(V2), f" {V2.hex().upper()} "):
        assert scene.table.named(text) is row
    assert row.info_hash_v1 == BY_V1
    assert row.other_hash == (BY_V2 if key == BY_V1 else BY_V1)
    assert scene.table.remove(key)
    assert all(scene.table.named(str(each)) is None for each in (BY_V1, BY_V2, V2))


def test_bep52_a_torrent_of_v2_alone_has_no_other_hash(scene: Scene) -> None:
    scene.put(info_hash=BY_V2, info_hash_v2=V2)
    row = scene.row(BY_V2)
    assert (row.info_hash_v1, row.other_hash) == (None, None)
    assert scene.table.named(str(V2)) is row
    plain = scene.row(scene.put())
    assert (plain.info_hash_v1, plain.other_hash) == (plain.info_hash, None)


def test_bep52_a_row_of_its_own_goes_before_the_second_hash_of_another(scene: Scene) -> None:
    scene.put(info_hash=BY_V1, info_hash_v1=BY_V1, info_hash_v2=V2)
    scene.put(info_hash=BY_V2, info_hash_v2=V2)
    assert scene.table.named(str(V2)) is scene.row(BY_V2)
    assert scene.table.remove(BY_V2)
    assert scene.table.named(str(V2)) is scene.row(BY_V1)


@pytest.mark.parametrize("text", ["", "zz", "0" * 39, "0" * 40, "0" * 64, "g" * 64, "\ud800"])
def test_what_names_no_torrent_is_none(scene: Scene, text: str) -> None:
    scene.put()
    assert scene.table.named(text) is None


def test_names_are_counted_as_if_all_torrents_were_looked_through(scene: Scene) -> None:
    generator = Random(1)
    there: list[InfoHash] = []
    for _ in range(300):
        user = UserData(
            generator.choice(["", "films", "music"]), tuple(generator.sample("abcd", k=2))
        )
        what = generator.randrange(4)
        if what == 0 or not there:
            there.append(scene.put(user_data=tuple(user.values().items())))
        elif what == 1:
            scene.table.remove(there.pop(generator.randrange(len(there))))
        elif what == 2:
            scene.change(generator.choice(there), comment=str(generator.random()))
        else:
            scene.change(generator.choice(there), user_data=tuple(user.values().items()))
        rows = scene.table.rows()
        assert scene.table.names.categories() == Counter(row.user.category for row in rows)
        assert scene.table.names.labels() == Counter(x for row in rows for x in row.user.labels)
    for one in there:
        assert scene.table.remove(one)
        assert not scene.table.remove(one)
    assert scene.table.names.categories() == scene.table.names.labels() == {}
