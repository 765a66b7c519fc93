"""A small disk with payload and state on it that fills up and gets room again, over and over.

Each cycle is a download of its own: the disk fills in its middle, to the last byte and the reserve
with it; a peer that comes then must get what is there; with room it must go on, and be right.
"""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from tests.disk.helpers import fill_disk
from tests.support.swarm import address_of, content, resources, seed, until
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import DiskConfig, PexConfig, SessionConfig
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

MIB = 1024 * 1024
PAYLOAD_BYTES = 4 * MIB
PIECE_BYTES = 64 * 1024
FREE_BYTES = 2 * MIB  # at the start of a cycle
RETRY_S = 0.5
GO_ON_LIMIT_S = 180.0
NO_PEX = PexConfig(enabled=False)  # who comes shall know nobody else


@dataclass
class FullDiskReport:
    """The figures of a run."""

    cycles: int = 0
    pieces_before: int = 0
    """Verified when the disk was full."""
    pieces_served: int = 0
    """To peers that came while it was full."""
    pieces_fetched_twice: int = 0
    go_on_s: list[float] = field(default_factory=list)
    """From room to the next verified piece."""
    faults: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not self.faults and not self.pieces_fetched_twice

    def lines(self) -> Iterator[str]:
        yield f"filled and freed          {self.cycles}"
        yield f"pieces there when full    {self.pieces_before}"
        yield f"served to who came then   {self.pieces_served}"
        yield f"verified, fetched again   {self.pieces_fetched_twice}"
        if self.go_on_s:
            middle, worst = statistics.median(self.go_on_s), max(self.go_on_s)
            yield f"goes on after room        median {middle:.2f} s, max {worst:.2f} s"
        yield from self.faults


class FullDiskRun:
    """Fills ``disk``, a small file system, so many times."""

    def __init__(self, folder: Path, disk: Path, *, restarts: bool) -> None:
        """With ``restarts`` every other cycle also starts anew while the disk is full."""
        self.report = FullDiskReport()
        self._folder = folder
        self._disk = disk
        self._restarts = restarts

    async def run(self, cycles: int) -> FullDiskReport:
        """Run the cycles; the state folder is the same in all."""
        for cycle in range(cycles):
            payload = payload_of(PAYLOAD_BYTES, seed=cycle)
            metainfo, _ = make_torrent(payload, name=f"torrent {cycle}", piece_bytes=PIECE_BYTES)
            try:
                await self._cycle(self._folder / str(cycle), metainfo, payload)
            except (TimeoutError, AssertionError) as error:
                self.report.faults.append(f"cycle {cycle}: {error!r}")
            for path in (self._disk / "filler", self._disk / "rest"):
                path.unlink(missing_ok=True)
            self.report.cycles += 1
        return self.report

    async def _cycle(self, folder: Path, metainfo: Metainfo, payload: bytes) -> None:
        disk = DiskConfig(
            state_reserve_bytes=256 * 1024, retry_after_disk_full_s=RETRY_S, sync_interval_s=0.1
        )
        is_restarted = self._restarts and self.report.cycles % 2 == 1
        async with seed(folder / "seed", metainfo, payload, pex=NO_PEX) as (_, address):
            self._leave(FREE_BYTES)
            async with resources(self._disk, disk=disk, pex=NO_PEX) as shared:
                session = await self._leech(shared, metainfo, address)
                async with session:
                    have = await self._fill(session)
                    if is_restarted:
                        await session.stop()
                        await session.start()
                    await until(lambda: session.stats().pieces_have >= have, timeout_s=30)
                    await self._serve(folder / "third", session, shared, metainfo)
                    await self._free(session, metainfo)
                    assert content(metainfo, self._disk / "out") == payload
                    await session.cancel(delete_files=True)

    def _leave(self, free_bytes: int) -> None:
        (self._disk / "room").write_bytes(bytes(free_bytes))
        fill_disk(self._disk / "filler")
        (self._disk / "room").unlink()

    async def _leech(
        self, shared: SharedResources, metainfo: Metainfo, address: tuple[str, int]
    ) -> Session:
        config = SessionConfig(peers=(address,))
        return await Session.create(metainfo, shared, save_path=self._disk / "out", config=config)

    async def _fill(self, session: Session) -> int:
        """Let it come to a full disk; return how many pieces are there."""
        await until(lambda: session.state is State.ERROR, timeout_s=30)
        (self._disk / "state/reserve").unlink(missing_ok=True)
        fill_disk(self._disk / "rest")
        have = session.stats().pieces_have
        self.report.pieces_before += have
        return have

    async def _serve(
        self, folder: Path, session: Session, shared: SharedResources, metainfo: Metainfo
    ) -> None:
        """Let a new peer get all that is there while neither data nor state can be written."""
        have = session.stats().pieces_have
        async with resources(folder, pex=NO_PEX) as others:
            third = await self._third(others, metainfo, folder, address_of(shared))
            async with third:
                await until(lambda: third.stats().pieces_have >= have, timeout_s=30)
                self.report.pieces_served += third.stats().pieces_have

    @staticmethod
    async def _third(
        shared: SharedResources, metainfo: Metainfo, folder: Path, address: tuple[str, int]
    ) -> Session:
        config = SessionConfig(peers=(address,))
        return await Session.create(metainfo, shared, save_path=folder / "out", config=config)

    async def _free(self, session: Session, metainfo: Metainfo) -> None:
        """Give room, and see how long it takes until a piece comes, then until all is there."""
        have = session.stats().pieces_have
        downloaded = session.stats().downloaded_bytes
        for name in ("rest", "filler"):
            (self._disk / name).unlink(missing_ok=True)
        started_s = time.monotonic()
        with anyio.fail_after(GO_ON_LIMIT_S):
            while session.stats().pieces_have <= have:  # noqa: ASYNC110 - no event for a new run
                await anyio.sleep(0.005)
        self.report.go_on_s.append(time.monotonic() - started_s)
        await until(lambda: session.state is State.SEEDING, timeout_s=30)
        fetched = session.stats().downloaded_bytes - downloaded
        missing = (metainfo.piece_count - have) * PIECE_BYTES
        self.report.pieces_fetched_twice += max(fetched - missing, 0) // PIECE_BYTES
