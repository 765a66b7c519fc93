"""When a Session ends to seed: its own rules, the general ones, and what does not count."""

from pathlib import Path

import anyio
import pytest

from tests.support.clock import ManualClock
from tests.support.swarm import PATIENCE_S, finish, reach, resources, seed, state_of
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.base.config import SeedingConfig, SessionConfig
from torrent_engine.engine import transfer
from torrent_engine.engine.seeding_rules import rest_due_s, rules_of
from torrent_engine.engine.session import Session
from torrent_engine.engine.states import State
from torrent_engine.policy.seeding_clock import SeedingClock

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
        await anyio.wait_all_tasks_blocked()
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
