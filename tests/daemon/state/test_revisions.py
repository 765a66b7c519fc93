"""Revisions: for any changes and any revision of a client, the delta leads to the present state."""

from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.daemon.fake_port import info_hash_of
from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.engine_port.facts import (
    AboutFacts,
    FactGroup,
    FactSheet,
    ProgressFacts,
    RateFacts,
    SettingFacts,
)
from torrent_engine.daemon.state.ids import TorrentIds
from torrent_engine.daemon.state.revisions import ChangeIndex, RevisionCounter
from torrent_engine.daemon.state.torrent_table import TorrentTable

Client = dict[InfoHash, dict[FactGroup, object]]
"""What a client knows: the groups of each torrent."""

CHANGES = st.lists(
    st.tuples(
        st.integers(0, 5),  # which torrent
        st.sampled_from(["remove", *FactGroup]),
        st.integers(0, 2),  # new value
    ),
    max_size=40,
)


class Model:
    """A table, and a client that was brought up to date at each revision."""

    def __init__(self, *, max_removed: int = 10_000) -> None:
        self.table = TorrentTable(RevisionCounter("e"), TorrentIds(lambda: 0.0))
        self.table._index = ChangeIndex(max_removed=max_removed)
        self.sheets: dict[InfoHash, FactSheet] = {}
        self.history: dict[int, Client] = {0: {}}

    def change(self, number: int, what: str, value: int) -> None:
        key = info_hash_of(number)
        if what == "remove":
            self.sheets.pop(key, None)
            self.table.remove(key)
        else:
            self.sheets[key] = sheet = self._changed(key, FactGroup(what), value)
            self.table.update(sheet, now_s=0.0, now_at=0.0)
        self.history[self.table.revisions.number] = self.state()

    def _changed(self, key: InfoHash, group: FactGroup, value: int) -> FactSheet:
        fields: dict[str, Any] = {
            "about": AboutFacts(name=f"{value}"),
            "settings": SettingFacts(priority=value),
            "progress": ProgressFacts(completed_bytes=value),
            "rates": RateFacts(peers=value),
        }
        old = self.sheets.get(key, FactSheet(key))
        kept = {each.value: getattr(old, each.value) for each in FactGroup}
        return FactSheet(key, **{**kept, group.value: fields[group.value]})

    def state(self) -> Client:
        return {
            key: {group: getattr(sheet, group.value) for group in FactGroup}
            for key, sheet in self.sheets.items()
        }


def applied(client: Client, table: TorrentTable, since: int) -> tuple[Client, int]:
    """Return what a client of a revision knows after one delta, and its revision then."""
    delta = table.delta(since)
    known = {} if delta.is_full else {key: dict(groups) for key, groups in client.items()}
    for key in delta.removed:
        del known[key]  # only what the client has
    for row, groups in delta.changed:
        parts = known.setdefault(row.info_hash, {})
        parts.update({group: getattr(row, group.value) for group in groups})
    return known, delta.revision


@given(CHANGES, st.integers(1, 4))
def test_full_state_and_delta_are_the_present_state(
    changes: list[tuple[int, str, int]], max_removed: int
) -> None:
    model = Model(max_removed=max_removed)
    for change in changes:
        model.change(*change)
    for since, client in model.history.items():
        known, revision = applied(client, model.table, since)
        assert known == model.state()
        assert revision == model.table.revisions.number


@given(CHANGES)
def test_what_is_removed_is_told_exactly(changes: list[tuple[int, str, int]]) -> None:
    model = Model()
    for change in changes:
        model.change(*change)
    now = model.state()
    for since, client in model.history.items():
        delta = model.table.delta(since)
        assert not delta.is_full
        assert len(delta.removed) == len(set(delta.removed))
        assert set(delta.removed) == client.keys() - now.keys()


@given(CHANGES)
def test_a_delta_has_nothing_that_did_not_change(changes: list[tuple[int, str, int]]) -> None:
    """Of a torrent that the client has all along; one that came again is told as a whole."""
    model = Model()
    for change in changes:
        model.change(*change)
    assert model.table.delta(model.table.revisions.number).changed == []
    touched: dict[InfoHash, set[str]] = {}
    known, base = set(model.sheets), model.table.revisions.number
    for number, what, value in changes[:5]:
        touched.setdefault(info_hash_of(number), set()).add(what)
        model.change(number, what, value)
    for row, groups in model.table.delta(base).changed:
        asked = touched[row.info_hash]
        is_new = row.info_hash not in known or "remove" in asked
        assert is_new or {group.value for group in groups} <= asked


@given(CHANGES, st.data())
def test_deltas_that_follow_one_another_lead_to_the_present_state(
    changes: list[tuple[int, str, int]], data: st.DataObject
) -> None:
    """A client asks at random moments, as an event stream that is cut and resumed does."""
    model = Model(max_removed=data.draw(st.integers(1, 3)))
    client: Client = {}
    since = 0
    for change in changes:
        model.change(*change)
        if data.draw(st.booleans()):
            client, since = applied(client, model.table, since)
            assert client == model.state()
    client, _ = applied(client, model.table, since)
    assert client == model.state()


def test_a_client_older_than_the_remembered_removals_loads_everything() -> None:
    index: ChangeIndex[int] = ChangeIndex(max_removed=2)
    for number in range(3):
        index.changed(number, number + 1)
    index.removed(0, 4)
    index.removed(1, 5)
    assert index.can_tell(0)
    index.removed(2, 6)
    assert [index.can_tell(since) for since in (3, 4, 5)] == [False, True, True]
    assert index.removed_since(4) == [2, 1]


def test_a_delta_costs_what_changed_not_what_there_is() -> None:
    index: ChangeIndex[int] = ChangeIndex()
    for number in range(1_000):
        index.changed(number, number + 1)
    index.changed(7, 1_001)
    index.changed(3, 1_002)
    assert index.changed_since(1_000) == [3, 7]
    assert index.changed_since(1_002) == []


@pytest.mark.parametrize(
    "text",
    [None, "", ".", "e", "e.", ".1", "x.1", "e.-1", "e.1x", "e.²", "e.9", "e.1.1", f"e.{'1' * 50}"],
)
def test_revisions_of_others_are_not_known(text: str | None) -> None:
    counter = RevisionCounter("e")
    counter.next()
    assert counter.parse(text) is None


def test_revisions_are_texts_for_clients() -> None:
    counter = RevisionCounter("e")
    counter.next()
    assert counter.next() == 2
    assert (counter.text(), counter.text(1)) == ("e.2", "e.1")
    assert [counter.parse(text) for text in ("e.0", "e.1", "e.2")] == [0, 1, 2]
    assert len(RevisionCounter().epoch) == 8


@pytest.mark.anyio
async def test_who_waits_is_woken_by_the_next_change() -> None:
    counter = RevisionCounter()
    assert not await counter.wait(0, 0.0)
    woken: list[bool] = []

    async def wait() -> None:
        woken.append(await counter.wait(0, 60.0))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert woken == []
        counter.next()
    assert woken == [True, True]
    assert await counter.wait(0, 0.0)


def test_what_came_and_went_after_a_revision_is_among_what_went() -> None:
    index = ChangeIndex[str]()
    index.changed("old", 1)
    index.changed("brief", 2)
    index.changed("back", 3)
    for number, key in enumerate(("old", "brief", "back"), 4):
        index.removed(key, number)
    index.changed("back", 7)
    assert index.removed_since(1) == ["old"]
    assert index.gone_since(1) == ["brief", "old"]
    assert index.gone_since(5) == []
