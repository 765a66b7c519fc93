"""The registry of a manager: what a change of a torrent means for queue, database and events."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import ClosedError, UnknownTorrentError
from torrent_engine.base.ids import InfoHash
from torrent_engine.disk.state.session_table import SessionClocks, SessionRecord
from torrent_engine.engine.events import Event, QueueChanged, TorrentAdded, TorrentRemoved
from torrent_engine.engine.manager import store as manager_store
from torrent_engine.engine.manager.registry import Registry
from torrent_engine.engine.manager.torrent_list import TorrentList
from torrent_engine.engine.session.saved import SavedSession
from torrent_engine.engine.states import State

if TYPE_CHECKING:
    from torrent_engine.engine.event_bus import EventBus

pytestmark = pytest.mark.anyio


class Admin:
    """The manager's side of a Session that seeds."""

    def __init__(self, number: int) -> None:
        self.info_hash = InfoHash(bytes([number]) * 20)
        self.state = State.SEEDING
        self.source = b"a .torrent"
        self.is_stored = False

    def saved(self, *, priority: int, state: State | None) -> SavedSession:
        shown = self.state if state is None else state
        return SavedSession(
            "/files", shown, None, False, priority, SessionConfig(), None, None, False, {}, 0.0
        )

    def clocks(self) -> SessionClocks:
        return SessionClocks(0.0, 0.0, None)

    def metainfo_source(self) -> bytes:
        return self.source

    def metainfo_saved(self) -> None:
        self.is_stored = True


class Queue:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.changes = 0
        self.transitions: list[tuple[State, State]] = []

    def changed(self) -> None:
        self.changes += 1

    def state_changed(self, _session: Admin, old: State, new: State) -> None:
        self.transitions.append((old, new))


class World:
    """A registry with a list, whose database remembers what was written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.torrents, self.queue, self.events = TorrentList(), Queue(), list[Event]()
        bus = cast("EventBus", SimpleNamespace(publish=self.events.append))
        self.registry = Registry(self.torrents, cast("Any", self.queue), bus)
        self.written: list[SessionRecord] = []

        async def save(_store: object, records: Sequence[SessionRecord]) -> None:
            self.written += records

        monkeypatch.setattr(manager_store, "save_sessions", save)

    def add(self, number: int, priority: int = 0, position: int | None = None) -> Admin:
        admin = Admin(number)
        session = SimpleNamespace(
            other_hash=None,
            info_hash=admin.info_hash,
            name=f"t{number}",
            admin=admin,
            state=admin.state,
        )
        self.registry.add(cast("Any", session), priority, position)
        return admin

    async def flush(self) -> list[SessionRecord]:
        """Return what is written now."""
        self.written = []
        await self.registry.store.flush()
        return self.written


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(monkeypatch)
    made.registry.open(cast("Any", None))
    return made


def kinds(events: list[Event]) -> list[type[Event]]:
    return [type(each) for each in events]


def test_nothing_is_found_or_saved_before_the_database_is_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry = World(monkeypatch).registry
    assert not registry.is_open
    for use in (lambda: registry.store, registry.check_open, lambda: registry.find("ab" * 20)):
        with pytest.raises(ClosedError):
            use()


def test_a_start_that_failed_closes_the_registry_again(world: World) -> None:
    assert world.registry.is_open
    world.registry.discard()
    assert not world.registry.is_open
    with pytest.raises(ClosedError):
        world.registry.check_open()


def test_a_torrent_is_found_by_its_info_hash_and_its_name_in_hexadecimal(world: World) -> None:
    admin = world.add(1)
    assert world.registry.find(admin.info_hash).name == "t1"
    assert world.registry.find("01" * 20).name == "t1"
    with pytest.raises(UnknownTorrentError):
        world.registry.find(InfoHash(b"?" * 20))


async def test_an_added_torrent_is_queued_announced_and_saved_with_its_torrent(
    world: World,
) -> None:
    admin = world.add(1, priority=4)
    world.registry.state_changed(cast("Any", admin), State.STOPPED, State.SEEDING)
    assert world.queue.changes == 1
    assert kinds(world.events) == [TorrentAdded]
    (record,) = await world.flush()
    assert (record.position, record.metainfo_bytes) == (0, b"a .torrent")
    assert (record.settings["priority"], record.settings["state"]) == (4, "seeding")
    assert admin.is_stored
    world.registry.set_priority(admin.info_hash, 5)
    (record,) = await world.flush()
    assert (record.settings["priority"], record.metainfo_bytes) == (5, b"")


async def test_a_new_order_is_saved_for_every_torrent(world: World) -> None:
    first, second = world.add(1), world.add(2)
    third = world.add(3, position=0)
    assert QueueChanged in kinds(world.events)
    places = {record.info_hash: record.position for record in await world.flush()}
    assert places == {third.info_hash: 0, first.info_hash: 1, second.info_hash: 2}
    world.registry.move_to(second.info_hash, 0)
    places = {record.info_hash: record.position for record in await world.flush()}
    assert places == {second.info_hash: 0, third.info_hash: 1, first.info_hash: 2}


async def test_a_removed_torrent_is_saved_no_more(world: World) -> None:
    admin = world.add(1)
    world.registry.set_priority(admin.info_hash, 1)
    world.registry.remove(admin.info_hash)
    assert TorrentRemoved in kinds(world.events)
    assert await world.flush() == []
    world.registry.state_changed(cast("Any", admin), State.SEEDING, State.STOPPED)
    assert world.queue.transitions == []


def test_a_transition_of_another_managers_torrent_is_ignored(world: World) -> None:
    world.add(1)
    world.registry.state_changed(cast("Any", Admin(1)), State.SEEDING, State.STOPPED)
    assert world.queue.transitions == []


async def test_a_frozen_state_is_saved_until_the_next_transition(world: World) -> None:
    admin = world.add(1)
    world.registry.freeze(admin.info_hash, State.PAUSED)
    world.registry.set_priority(admin.info_hash, 1)
    (record,) = await world.flush()
    assert record.settings["state"] == "paused"
    world.registry.state_changed(cast("Any", admin), State.CHECKING, State.SEEDING)
    (record,) = await world.flush()
    assert record.settings["state"] == "seeding"


async def test_states_of_a_closing_manager_are_saved_as_they_were(world: World) -> None:
    admin = world.add(1)
    world.registry.set_priority(admin.info_hash, 1)
    world.registry.freeze_all()
    admin.state = State.STOPPED
    world.registry.state_changed(cast("Any", admin), State.SEEDING, State.STOPPED)
    assert world.queue.transitions == []
    (record,) = await world.flush()
    assert record.settings["state"] == "seeding"
    with pytest.raises(ClosedError):
        world.registry.check_open()


async def test_transitions_while_torrents_are_restored_are_not_saved(world: World) -> None:
    with world.registry.restoring():
        admin = world.add(1)
        world.registry.state_changed(cast("Any", admin), State.STOPPED, State.SEEDING)
    assert world.queue.transitions == []
    assert await world.flush() == []
    (added,) = world.events
    assert isinstance(added, TorrentAdded)
    assert added.is_restored
    world.registry.state_changed(cast("Any", admin), State.SEEDING, State.PAUSED)
    assert world.queue.transitions == [(State.SEEDING, State.PAUSED)]
