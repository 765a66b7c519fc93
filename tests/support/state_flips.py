"""State folders with flipped bits: starts from them, and what must hold (row F6).

The folder is as a kill left it, write-ahead log and journal included. Every piece that a start
believes must match its hash on the disk, and no torrent may be lost that the database or the files
beside it still name.
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha1
from pathlib import Path
from random import Random

from tests.disk.helpers import CONFIG, kept, put_piece
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.state.session_table import SessionRecord, load_sessions, save_sessions
from torrent_engine.disk.state.store import StateStore

PIECE_BYTES = 16 * 1024
PIECES = 12
COMPLETE, PARTIAL = range(PIECES), range(5)
DATABASE = "state.db"


@dataclass
class FlipReport:
    """The figures of a run."""

    flips: int = 0
    files: Counter[str] = field(default_factory=Counter)
    """How often a bit of each kind of file was flipped."""
    pieces_believed: int = 0
    pieces_hashed_first: int = 0
    false_pieces: int = 0
    """Believed, and wrong on the disk: what must not happen."""
    lost_torrents: int = 0
    """Not listed any more, although a file that was not damaged names them."""
    faults: list[str] = field(default_factory=list)

    def flipped(self, name: str) -> None:
        """Count a flip in a kind of file."""
        self.flips += 1
        self.files[name] += 1

    @property
    def is_good(self) -> bool:
        return not (self.false_pieces or self.lost_torrents or self.faults)

    def lines(self) -> Iterator[str]:
        yield f"starts after a flip   {self.flips}  {dict(self.files)}"
        yield f"pieces believed       {self.pieces_believed}"
        yield f"pieces hashed first   {self.pieces_hashed_first}"
        yield f"false pieces          {self.false_pieces}"
        yield f"torrents lost         {self.lost_torrents}"
        yield from self.faults[:20]


def flip_bits(state: Path, random: Random) -> str:
    """Flip one to ten bits of one file, mostly of the database; return the kind of file."""
    files = sorted(path for path in state.rglob("*") if path.is_file() and path.stat().st_size)
    files = [path for path in files if path.name not in {"reserve", f"{DATABASE}-shm"}]
    database = [path for path in files if path.name.startswith(DATABASE)]
    path = random.choice(database if random.random() < 0.7 else files)
    data = bytearray(path.read_bytes())
    for _ in range(random.choice((1, 1, 10))):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    path.write_bytes(data)
    return path.name if path.name.startswith(DATABASE) else f"{path.parent.name}/*{path.suffix}"


class FlipRun:
    """Three torrents: one complete, one of which a part is right, one that a kill interrupted."""

    def __init__(self, folder: Path, *, seed: int) -> None:
        self.report = FlipReport()
        self._folder = folder
        self._random = Random(seed)
        self._torrents = [
            make_torrent(
                {"a": payload_of(70_000, n), "b": payload_of(PIECES * PIECE_BYTES - 70_000, n)},
                piece_bytes=PIECE_BYTES,
                name=f"torrent {n}",
            )
            for n in range(3)
        ]

    async def run(self, flips: int) -> FlipReport:
        """Make the folder, then flip and start so many times."""
        await self._make()
        for _ in range(flips):
            await self._flip_once()
        return self.report

    async def _make(self) -> None:
        state, good = self._folder / "state", self._folder / "good"
        async with await StateStore.open(state, config=CONFIG) as store:
            for number, (metainfo, payload) in enumerate(self._torrents):
                save_path = self._folder / f"files {number}"
                async with kept(metainfo, save_path, store) as (storage, keeper):
                    await keeper.plan()
                    for piece in COMPLETE if number == 0 else PARTIAL:
                        put_piece(storage, metainfo, payload, piece)
                        keeper.piece_written(piece)
                    await keeper.commit()
                    if number < 2:
                        await keeper.close()
                    else:
                        put_piece(storage, metainfo, bytes(len(payload)), PARTIAL.stop)
                await save_sessions(store, [self._session(metainfo, number)])
            shutil.copytree(state, good)  # with what is only in the write-ahead log

    def _session(self, metainfo: Metainfo, number: int) -> SessionRecord:
        settings = {"save_path": str(self._folder / f"files {number}")}
        return SessionRecord(metainfo.info_hash, number, settings, metainfo.source)

    async def _flip_once(self) -> None:
        state = self._folder / "state"
        shutil.rmtree(state)
        shutil.copytree(self._folder / "good", state)
        name = flip_bits(state, self._random)
        self.report.flipped(name)
        try:
            await self._start(state)
        except TorrentEngineError as error:
            self.report.faults.append(f"{name}: {error!r}")

    async def _start(self, state: Path) -> None:
        hashes = {metainfo.info_hash for metainfo, _ in self._torrents}
        async with await StateStore.open(state, config=CONFIG) as store:
            listed = {record.info_hash for record in await store.load_all()}
            sessions = {record.info_hash for record in await load_sessions(store)}
            self.report.lost_torrents += len(hashes - listed) + len(hashes - sessions)
            for number, (metainfo, _) in enumerate(self._torrents):
                await self._plan(store, metainfo, self._folder / f"files {number}")

    async def _plan(self, store: StateStore, metainfo: Metainfo, save_path: Path) -> None:
        async with kept(metainfo, save_path, store, create=False) as (_, keeper):
            plan = await keeper.plan()
        self.report.pieces_hashed_first += len(plan.to_check)
        self.report.pieces_believed += plan.verified.count
        right = _right_pieces(metainfo, save_path)
        self.report.false_pieces += sum(piece not in right for piece in plan.verified.present())


def _right_pieces(metainfo: Metainfo, save_path: Path) -> set[int]:
    data = b""
    for entry in metainfo.files:
        found = b""
        with suppress(FileNotFoundError):
            found = save_path.joinpath(*entry.path).read_bytes()
        data += found.ljust(entry.length_bytes, b"\0")
    return {
        piece
        for piece in range(metainfo.piece_count)
        if sha1(data[piece * PIECE_BYTES : (piece + 1) * PIECE_BYTES]).digest()
        == metainfo.piece_hashes[20 * piece : 20 * piece + 20]
    }
