"""The order in which a user wants pieces, before a torrent runs and while it does."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.scripted_peer import Script, listening
from tests.support.swarm import reach, record, resources, until
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import ConfigError
from torrent_engine.engine.events import Event, PieceCompleted
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

pytestmark = pytest.mark.anyio

PIECE = 16 * 1024
PAYLOAD = payload_of(20 * PIECE, 9)
RATE = 12 * PIECE  # bytes per second: pieces do not come all at once
METAINFO, _ = make_torrent(PAYLOAD, piece_bytes=PIECE)


def order(events: Sequence[Event]) -> list[int]:
    """Return the pieces in the order in which they came."""
    return [each.piece_index for each in events if isinstance(each, PieceCompleted)]


@pytest.mark.parametrize("is_live", [False, True])
async def test_pieces_come_in_order_from_a_piece(tmp_path: Path, *, is_live: bool) -> None:
    config = SessionConfig(
        sequential=not is_live,
        sequential_from=0 if is_live else 12,
        max_download_bytes_per_s=RATE,
    )
    async with (
        listening(Script(METAINFO, PAYLOAD)) as address,
        resources(tmp_path) as shared,
    ):
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "o", config=config)
        events = record(session)
        async with session:
            await reach(session, State.DOWNLOADING)
            if is_live:
                session.set_sequential(True, from_piece=12)
            await session.add_peer(*address)
            await session.wait_complete()
            await until(lambda: len(order(events)) == 20)
        came = order(events)
        assert set(came[:6]) <= set(range(12, 20))
        assert set(came[-6:]) <= set(range(12))
        with pytest.raises(ConfigError):
            session.set_sequential(True, from_piece=-1)
        assert session.config.sequential_from == 12


@pytest.mark.parametrize("is_live", [False, True])
async def test_the_ends_of_files_come_first(tmp_path: Path, *, is_live: bool) -> None:
    async with (
        listening(Script(METAINFO, PAYLOAD)) as address,
        resources(tmp_path) as shared,
    ):
        config = SessionConfig(first_last_first=not is_live, max_download_bytes_per_s=RATE)
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "o", config=config)
        events = record(session)
        async with session:
            await reach(session, State.DOWNLOADING)
            if is_live:
                await session.set_first_last_first(True)
            await session.add_peer(*address)
            await session.wait_complete()
            await until(lambda: len(order(events)) == 20)
        assert {0, 19} <= set(order(events)[:6])
        assert session.config.first_last_first
