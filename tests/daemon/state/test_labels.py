"""Categories and labels: names, and which torrent has which."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.fake_port import FakeEngine
from torrent_engine.base.errors import ConfigError
from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.engine_port.facts import FactGroup
from torrent_engine.daemon.engine_port.user_data import UserData
from torrent_engine.daemon.settings.tables import CategorySettings
from torrent_engine.daemon.state import labels as labels_module
from torrent_engine.daemon.state.daemon_state import DaemonState
from torrent_engine.daemon.state.labels import MAX_LABELS, Category
from torrent_engine.daemon.state.store import DaemonStore


class Scene:
    def __init__(self) -> None:
        self.store = DaemonStore()
        self.engine = FakeEngine()
        self.state = DaemonState(self.engine.port, self.store)
        self.labels = self.state.labels

    def put(self, **facts: Any) -> InfoHash:
        one = self.engine.put(**facts)
        self.state.look(one)
        return one

    def user(self, one: InfoHash) -> UserData:
        row = self.state.torrents.get(one)
        assert row is not None
        return row.user


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_categories_are_kept_with_what_they_say(scene: Scene) -> None:
    films = Category("films", "/films", 1_000, None, 2.0)
    scene.labels.put_category(films)
    scene.labels.put_category(Category("a/b"))
    assert scene.labels.categories() == [Category("a/b"), films]
    assert scene.labels.category("films") == films
    assert scene.labels.category("other") is None
    again = DaemonState(scene.engine.port, scene.store).labels
    assert again.categories() == scene.labels.categories()


@pytest.mark.anyio
async def test_limits_are_there_after_another_start(tmp_path: Path) -> None:
    films = Category("films", "/films", 1_000, 0, math.inf, 60.0, 0.0)
    async with DaemonStore.open(tmp_path) as store:
        labels = DaemonState(FakeEngine().port, store).labels
        labels.put_category(films)
        labels.put_label("new")
    async with DaemonStore.open(tmp_path) as store:
        labels = DaemonState(FakeEngine().port, store).labels
        assert labels.categories() == [films]
        assert labels.labels() == {"new": 0}


def test_categories_of_the_configuration_are_always_there(scene: Scene) -> None:
    since = scene.state.revisions.text()
    tables = (CategorySettings("films", "/films", 5, 0, 2.0, 3), CategorySettings(""))
    for _ in range(2):
        scene.labels.configure(tables)
    assert scene.state.delta(since).topics == {"categories"}
    films = Category("films", "/films", 5_000, None, 2.0, 180.0)
    assert scene.labels.categories() == [films]
    assert scene.labels.category_counts() == {"films": 0}
    scene.labels.put_category(replace(films, seed_ratio=None, max_upload_bytes_per_s=7))
    assert scene.labels.category("films") == replace(films, max_upload_bytes_per_s=7)
    assert scene.labels.remove_category("films")
    assert not scene.labels.remove_category("films")
    assert scene.labels.categories() == [films]


def test_a_change_of_names_is_told_once(scene: Scene) -> None:
    since = scene.state.revisions.text()
    scene.labels.put_category(Category("films"))
    assert scene.state.delta(since).topics == {"categories"}
    since = scene.state.revisions.text()
    scene.labels.put_category(Category("films"))
    assert scene.state.delta(since).topics == frozenset()
    assert scene.labels.put_label("new")
    assert not scene.labels.put_label("new")
    assert scene.state.delta(since).topics == {"labels"}


def test_a_torrent_has_one_category_which_is_made_if_need_be(scene: Scene) -> None:
    one = scene.put(name="a")
    since = scene.state.revisions.text()
    scene.labels.set_category(one, "films")
    scene.labels.set_category(one, "tv")
    assert scene.user(one).category == "tv"
    assert [each.name for each in scene.labels.categories()] == ["films", "tv"]
    assert scene.labels.category_counts() == {"films": 0, "tv": 1}
    assert [set(groups) for _, groups in scene.state.delta(since).torrents.changed] == [
        {FactGroup.SETTINGS}
    ]


def test_a_category_that_is_removed_leaves_its_torrents(scene: Scene) -> None:
    one, two = scene.put(name="a"), scene.put(name="b")
    scene.labels.set_category(one, "films")
    scene.labels.set_labels(one, ["x"])
    scene.labels.set_category(two, "tv")
    assert scene.labels.remove_category("films")
    assert not scene.labels.remove_category("films")
    assert scene.user(one) == UserData(labels=("x",))
    assert scene.user(two).category == "tv"


def test_labels_are_set_added_and_removed(scene: Scene) -> None:
    one, two = scene.put(name="a"), scene.put(name="b")
    scene.labels.set_labels(one, ["x", "y", "x"])
    scene.labels.add_labels(one, ["z", "y"])
    scene.labels.add_labels(two, ["y"])
    assert scene.user(one).labels == ("x", "y", "z")
    scene.labels.remove_labels(one, ["x", "unknown"])
    assert scene.user(one).labels == ("y", "z")
    assert scene.labels.labels() == {"x": 0, "y": 2, "z": 1}
    assert scene.labels.remove_label("y")
    assert not scene.labels.remove_label("y")
    assert (scene.user(one).labels, scene.user(two).labels) == (("z",), ())


def test_what_does_not_change_is_not_written(scene: Scene) -> None:
    one = scene.put(name="a")
    scene.labels.set_labels(one, ["x"])
    scene.labels.set_category(one, "c")
    before = [call for call, _ in scene.engine.calls].count("set_user_data")
    scene.labels.set_labels(one, ["x"])
    scene.labels.set_category(one, "c")
    assert [call for call, _ in scene.engine.calls].count("set_user_data") == before


def test_a_torrent_that_was_just_added_gets_labels(scene: Scene) -> None:
    one = scene.engine.put(name="a")
    scene.labels.set_labels(one, ["x"])
    assert scene.user(one).labels == ("x",)


def test_a_torrent_that_is_gone_gets_none(scene: Scene) -> None:
    one = scene.put(name="a")
    scene.engine.take(one)
    scene.state.look(one)
    scene.labels.set_labels(one, ["x"])
    scene.labels.set_category(one, "c")
    assert "set_user_data" not in [call for call, _ in scene.engine.calls]


def test_names_and_comments_of_users_stand_before_those_of_the_torrent(scene: Scene) -> None:
    one = scene.put(name="a", comment="its own")
    scene.labels.set_user_data(one, name="mine", comment="", other=(("tr.x", "1"),))
    row = scene.state.torrents.get(one)
    assert row is not None
    assert (row.name, row.comment, row.user.other) == ("mine", "", (("tr.x", "1"),))
    scene.labels.set_user_data(one, name=None, comment=None)
    row = scene.state.torrents.get(one)
    assert row is not None
    assert (row.name, row.comment) == ("a", "its own")


@pytest.mark.parametrize(
    "name", ["", " a", "a\n", "\x1b[1m", "a" * 256, "a\\b", "/a", "a/", "a//b"]
)
def test_names_that_cannot_be_a_category_are_refused(scene: Scene, name: str) -> None:
    with pytest.raises(ConfigError):
        scene.labels.put_category(Category(name))
    assert scene.labels.categories() == []


@pytest.mark.parametrize("name", ["", " a", "a\x00", "a" * 256, "a,b"])
def test_names_that_cannot_be_a_label_are_refused(scene: Scene, name: str) -> None:
    one = scene.put(name="a")
    with pytest.raises(ConfigError):
        scene.labels.set_labels(one, ["good", name])
    assert scene.labels.labels() == {}


def test_a_torrent_has_a_bounded_number_of_labels(scene: Scene) -> None:
    one = scene.put(name="a")
    with pytest.raises(ConfigError):
        scene.labels.set_labels(one, [f"l{number}" for number in range(MAX_LABELS + 1)])
    assert scene.user(one).labels == ()


@pytest.mark.parametrize("value", [None, 1, [], {"unknown": 1}])
def test_damaged_categories_keep_their_names(scene: Scene, value: object) -> None:
    scene.store.table("categories").put("films", value)
    assert scene.labels.categories() == [Category("films")]


def test_there_are_so_many_names_and_no_more(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels_module, "MAX_NAMES", 3)
    labels, one = scene.labels, scene.put(name="one")
    for name in "abc":
        labels.put_label(name)
        labels.put_category(Category(name))
    labels.put_category(Category("a", "/other"))  # those that are there can be changed
    labels.rename_label("a", "e")
    labels.set_labels(one, ["b", "c"])
    for refused in (
        lambda: labels.put_label("d"),
        lambda: labels.set_labels(one, ["b", "d"]),
        lambda: labels.add_labels(one, ["d"]),
        lambda: labels.put_category(Category("d")),
        lambda: labels.set_category(one, "d"),
    ):
        with pytest.raises(ConfigError, match="at most 3 names"):
            refused()
    labels.note_labels(["d"])
    assert scene.user(one).labels == ("b", "c")
    assert list(labels.labels()) == ["b", "c", "e"]
    assert [each.name for each in labels.categories()] == ["a", "b", "c"]
    labels.remove_label("b")
    labels.note_labels(["d", "f"])
    assert list(labels.labels()) == ["c", "d", "e"]
