"""The manager's side of a Session: what is saved of it, and how it starts after a restart."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from torrent_engine.base.config import SessionConfig
from torrent_engine.base.ids import InfoHash
from torrent_engine.engine.dormancy.snapshot import TorrentSnapshot
from torrent_engine.engine.runs.source_edits import NO_EDITS
from torrent_engine.engine.session.admin import SessionAdmin
from torrent_engine.engine.session.saved import SavedSession
from torrent_engine.engine.states import State
from torrent_engine.policy.queue.seeding_clock import SeedingClock
from torrent_engine.policy.queue.torrent_times import SavedTimes, TorrentTimes

pytestmark = pytest.mark.anyio

SNAPSHOT = TorrentSnapshot(
    name="one",
    total_bytes=10,
    wanted_bytes=10,
    completed_bytes=10,
    left_bytes=0,
    piece_count=1,
    pieces_have=1,
    have=b"",
    is_private=False,
)


def saved(state: State = State.SEEDING, **changes: Any) -> SavedSession:
    values: dict[str, Any] = {
        "save_path": "/files",
        "state": state,
        "paused_state": None,
        "is_paused": False,
        "priority": 2,
        "config": SessionConfig(),
        "magnet": None,
        "snapshot": SNAPSHOT,
        "was_resting": True,
        "extras": {},
        "seeding_s": 30.0,
    }
    return SavedSession(**{**values, **changes})


class World:
    """A SessionAdmin over a core, and a lifecycle that remembers how it was started."""

    def __init__(self) -> None:
        self.starts: list[tuple[Any, ...]] = []
        self.dropped = 0
        core: Any = SimpleNamespace(
            info_hash=InfoHash(b"i" * 20),
            state=State.SEEDING,
            machine=SimpleNamespace(paused_state=None),
            is_paused_by_user=False,
            is_held=False,
            is_forced=False,
            is_stored=False,
            config=SessionConfig(),
            magnet=None,
            dormant=None,
            snapshot=None,
            metainfo=None,
            edits=NO_EDITS,
            seeding=SeedingClock(30.0),
            save_path=Path("/files"),
            final_home=None,
            times=TorrentTimes(SavedTimes(added_s=1.0, downloading_s=2.0)),
            user_data=(("labels", "a"),),
            shared=SimpleNamespace(clock=lambda: 100.0),
            facts=None,
            drop_metainfo=self._drop,
        )
        self.core = core
        self.has_owner = True
        lifecycle: Any = SimpleNamespace(
            start=self._start,
            begin_dormant=self._begin_dormant,
            follow_owner=lambda: self.has_owner,
        )
        relocation: Any = SimpleNamespace(final_path="/files")
        status: Any = SimpleNamespace(snapshot=SNAPSHOT)
        file_names: Any = SimpleNamespace(in_use=dict)
        self.admin = SessionAdmin(core, lifecycle, relocation, status, file_names)

    def _drop(self) -> None:
        self.dropped += 1

    async def _start(self) -> None:
        self.starts.append(("start",))

    async def _begin_dormant(
        self, snapshot: TorrentSnapshot, state: State, *, is_paused_by_user: bool
    ) -> None:
        assert snapshot is SNAPSHOT
        self.starts.append((state, is_paused_by_user))


def test_what_is_saved_is_what_is_restored() -> None:
    first, second = World(), World()
    first.core.is_paused_by_user = first.core.is_forced = True
    record = first.admin.saved(priority=2)
    second.core.is_held = True
    second.admin.restore(record)
    assert second.core.snapshot is SNAPSHOT
    assert second.core.times.saved(0.0) == SavedTimes(added_s=1.0, downloading_s=2.0)
    assert second.core.user_data == (("labels", "a"),)
    assert second.core.is_paused_by_user
    assert not second.core.is_held  # one that is forced waits for no turn
    assert second.admin.saved(priority=2) == record


def test_a_state_may_be_saved_in_place_of_the_present_one() -> None:
    record = World().admin.saved(priority=0, state=State.PAUSED)
    assert (record.state, record.seeding_s) == (State.PAUSED, 30.0)


async def test_a_stopped_torrent_stays_stopped() -> None:
    world = World()
    await world.admin.start_as_saved(saved(State.STOPPED))
    assert world.starts == []


async def test_a_torrent_whose_owner_has_moved_on_is_not_started() -> None:
    world = World()
    world.has_owner = False
    await world.admin.start_as_saved(saved())
    assert world.starts == []


@pytest.mark.parametrize(
    "record",
    [
        saved(was_resting=False),
        saved(snapshot=None),
        saved(State.CHECKING),
        saved(State.PAUSED, paused_state=State.CHECKING),
    ],
    ids=["ran", "nothing known", "checked", "paused while it checked"],
)
async def test_a_torrent_that_was_not_dormant_is_started(record: SavedSession) -> None:
    world = World()
    await world.admin.start_as_saved(record)
    assert world.starts == [("start",)]


async def test_a_dormant_torrent_is_dormant_again_in_its_state() -> None:
    world = World()
    await world.admin.start_as_saved(saved())
    await world.admin.start_as_saved(saved(State.PAUSED, paused_state=State.SEEDING))
    await world.admin.start_as_saved(saved(is_paused=True))
    assert world.starts == [
        (State.SEEDING, False),
        (State.SEEDING, False),
        (State.SEEDING, True),
    ]


def test_a_saved_metainfo_leaves_memory_only_while_nothing_runs() -> None:
    world = World()
    world.admin.metainfo_saved()
    assert (world.core.is_stored, world.dropped) == (True, 0)
    world.core.dormant = object()
    world.admin.metainfo_saved()
    assert world.dropped == 1


def test_the_source_of_a_link_is_empty_until_its_metadata_is_there() -> None:
    world = World()
    assert world.admin.metainfo_source() == b""
    world.core.metainfo = SimpleNamespace(source=b"d4:infod")
    assert world.admin.metainfo_source() == b"d4:infod"


async def test_a_seed_whose_files_are_not_where_they_belong_does_not_begin_dormant() -> None:
    world = World()
    resting = saved(files_path="/elsewhere")
    world.admin.restore(resting)
    assert (world.core.save_path, world.core.final_home) == (Path("/elsewhere"), Path("/files"))
    await world.admin.start_as_saved(resting)
    assert world.starts == [("start",)]
