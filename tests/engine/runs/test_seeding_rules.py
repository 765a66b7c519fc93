"""When a Session ends to seed: its own rules, the general ones, and what does not count."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from tests.support.clock import ManualClock
from tests.support.session_parts import allow_rest
from tests.support.swarm import PATIENCE_S, finish, reach, resources, seed, state_of, until
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.base.config import SeedingConfig, SessionConfig
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.runs.seeding_rules import rest_due_s, rules_of
from torrent_engine.engine.runs.torrent_run import REST
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.engine.transfer import transfer
from torrent_engine.policy.queue.seeding_clock import SeedingClock

pytestmark = pytest.mark.anyio

METAINFO, PAYLOAD = make_torrent(payload_of(20_000))


@pytest.fixture
def ticks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is looked at once a second is looked at with every tick."""
    monkeypatch.setattr(transfer, "TICKS_PER_SECOND", 1)


@pytest.mark.usefixtures("ticks_often")
@pytest.mark.parametrize(
    ("config", "general"),
    [
        (SessionConfig(seed_idle_s=0.3), SeedingConfig()),
        (SessionConfig(), SeedingConfig(seed_idle_s=0.3)),
        (SessionConfig(seed_idle_s=0.3), SeedingConfig(seed_idle_s=9_000.0)),
    ],
    ids=["own", "general", "own over general"],
)
async def test_a_seed_that_nobody_wants_ends_for_idleness(
    tmp_path: Path, config: SessionConfig, general: SeedingConfig
) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path / "files")
    async with resources(tmp_path, seeding=general) as shared:
        session = await Session.create(
            METAINFO, shared, save_path=tmp_path / "files", config=config
        )
        assert await finish(session) == "idle"


@pytest.mark.usefixtures("ticks_often")
async def test_a_torrents_own_infinity_is_no_rule(tmp_path: Path) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path / "files")
    async with resources(tmp_path, seeding=SeedingConfig(seed_time_s=0.0)) as shared:
        config = SessionConfig(seed_time_s=float("inf"))
        session = await Session.create(
            METAINFO, shared, save_path=tmp_path / "files", config=config
        )
        async with session:
            await reach(session, State.SEEDING)
            await anyio.sleep(0.6)  # two ticks
            assert state_of(session) is State.SEEDING


@pytest.mark.usefixtures("ticks_often")
async def test_a_pause_does_not_count_as_seeding(tmp_path: Path) -> None:
    clock, config = ManualClock(), SessionConfig(seed_time_s=100.0)
    async with seed(tmp_path, METAINFO, PAYLOAD, config=config, clock=clock) as (session, _):
        clock.advance(50.0)
        await session.pause()
        await until(lambda: not session._core.seeding.is_running)
        clock.advance(500.0)
        await session.resume()
        await anyio.sleep(0.6)  # two ticks
        assert state_of(session) is State.SEEDING
        clock.advance(50.0)
        with anyio.fail_after(PATIENCE_S):
            assert await session.wait_stopped() == "time"


def test_a_resting_seed_is_due_by_time_or_idleness_whatever_its_ratio_is() -> None:
    clock = SeedingClock(10.0)
    clock.begin(0.0)
    rules = rules_of(SessionConfig(seed_ratio=0.0, seed_idle_s=60.0), SeedingConfig(2.0, 100.0))
    assert rest_due_s(rules, clock, 20.0) == 40.0
    clock.sent(1, 20.0)
    clock.sent(2, 20.0)
    assert rest_due_s(rules, clock, 20.0) == 60.0
    assert rest_due_s(rules, clock, 50.0) == 30.0
    assert rest_due_s(rules, clock, 95.0) == 0.0


@asynccontextmanager
async def resting_seed(
    folder: Path, clock: ManualClock, **rules: float
) -> AsyncIterator[tuple[Session, SharedResources]]:
    """Give a complete torrent that rests."""
    config = SessionConfig(**rules)  # type: ignore[arg-type]
    async with seed(folder, METAINFO, PAYLOAD, config=config, clock=clock) as (session, _):
        allow_rest(session)
        assert session._core.run is not None
        session._core.run.stop(REST)
        await until(lambda: session.is_resting)
        yield session, session._core.shared


@pytest.mark.parametrize(
    ("rules", "reason"),
    [({"seed_idle_s": 100.0}, "idle"), ({"seed_time_s": 100.0, "seed_idle_s": 200.0}, "time")],
)
async def test_a_seed_at_rest_ends_when_its_rule_holds_and_no_sooner(
    tmp_path: Path, rules: dict[str, float], reason: str
) -> None:
    clock = ManualClock()
    async with resting_seed(tmp_path, clock, **rules) as (session, shared):
        assert len(shared.dormant_timers) == 1
        clock.advance(99.0)
        shared.dormant_timers._fire_due()
        assert session.is_resting
        clock.advance(1.1)
        shared.dormant_timers._fire_due()
        with anyio.fail_after(PATIENCE_S):
            assert await session.wait_stopped() == reason
        assert len(shared.dormant_timers) == 0


async def test_a_pause_at_rest_does_not_count_and_without_a_rule_there_is_no_timer(
    tmp_path: Path,
) -> None:
    clock = ManualClock()
    async with resting_seed(tmp_path / "a", clock, seed_time_s=100.0) as (session, shared):
        clock.advance(50.0)
        await session.pause()
        assert len(shared.dormant_timers) == 0
        clock.advance(500.0)
        await session.resume()
        shared.dormant_timers._fire_due()
        assert (
            session.is_resting,
            session.admin.saved(priority=0).seeding_s,
            len(shared.dormant_timers),
        ) == (True, 50.0, 1)
        await session.stop()
        assert len(shared.dormant_timers) == 0
    async with resting_seed(tmp_path / "b", clock, seed_ratio=1.0) as (session, shared):
        assert (session.is_resting, len(shared.dormant_timers)) == (True, 0)
