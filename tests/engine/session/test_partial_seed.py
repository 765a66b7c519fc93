"""A torrent of which all that is wanted is there, and not everything (BEP 21)."""

from pathlib import Path

import pytest

from tests.support.managers import manager
from tests.support.swarm import reach, until
from tests.support.torrents import PIECE_BYTES, make_torrent, payload_of, write_files
from torrent_engine.base.config import SessionConfig
from torrent_engine.engine.states import State
from torrent_engine.net.tracker.client import TrackerClient
from torrent_engine.protocol.tracker.announce import AnnounceRequest, AnnounceResponse
from torrent_engine.protocol.tracker.http_announce import announce_target

pytestmark = pytest.mark.anyio

FILES = {"first": payload_of(2 * PIECE_BYTES), "second": payload_of(50_000, 1)}
TRACKER = "http://tracker.invalid/announce"
METAINFO, PAYLOAD = make_torrent(FILES, tiers=[[TRACKER]])


@pytest.fixture
def announces(monkeypatch: pytest.MonkeyPatch) -> list[AnnounceRequest]:
    """What is announced, to a tracker that knows of nobody."""
    found: list[AnnounceRequest] = []

    async def announce(
        _client: object, _url: str, request: AnnounceRequest, *, patience_s: float | None
    ) -> AnnounceResponse:
        del patience_s
        found.append(request)
        return AnnounceResponse(interval_s=1800.0, peers=())

    monkeypatch.setattr(TrackerClient, "announce", announce)
    return found


@pytest.mark.parametrize(
    ("wanted", "left_bytes", "is_partial_seed"),
    [((4, 4), 0, False), ((4, 0), len(FILES["second"]), True)],
    ids=["everything", "the_first_file"],
)
async def test_bep21_a_partial_seed_tells_trackers_that_it_is_one(
    tmp_path: Path,
    announces: list[AnnounceRequest],
    wanted: tuple[int, ...],
    left_bytes: int,
    is_partial_seed: bool,
) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path / "files")
    if is_partial_seed:
        (tmp_path / "files" / METAINFO.name / "second").unlink()
    async with manager(tmp_path) as many:
        session = await many.add_torrent(METAINFO, config=SessionConfig(file_priorities=wanted))
        await reach(session, State.SEEDING)
        await until(lambda: announces)
        await until(lambda: session.is_resting)
        rest = session._core.dormant
        assert rest is not None
        for totals in (announces[-1].totals, rest._announce_totals()):
            assert totals.is_partial_seed == is_partial_seed
            assert totals.left_bytes == left_bytes


async def test_bep21_a_download_is_no_partial_seed(
    tmp_path: Path, announces: list[AnnounceRequest]
) -> None:
    async with manager(tmp_path) as many:
        await many.add_torrent(METAINFO, config=SessionConfig(file_priorities=(4, 0)))
        await until(lambda: announces)
        assert not announces[0].totals.is_partial_seed
        assert "event=started" in announce_target("/announce", announces[0])
