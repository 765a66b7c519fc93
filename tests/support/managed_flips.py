"""Managers that start from state folders with flipped bits, with torrents of every kind (row F6).

v1, v2 and hybrid torrents, complete and not, one of them with files of other names, one with
priorities, one that came by a magnet link and one whose link has no metadata yet. Every torrent
must be listed as usable afterwards, and every piece that it claims must be right on the disk.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

import anyio

from tests.support.managers import manager
from tests.support.state_flips import FlipReport, flip_bits
from tests.support.swarm import seed, until
from tests.support.torrents import make_torrent, payload_of
from tests.support.v2_torrents import hybrid_info, laid_out, torrent_around, v2_info
from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.manager.torrent_manager import TorrentManager
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

PIECE_BYTES: Final = 16 * 1024
START_LIMIT_S: Final = 180.0
READY: Final = frozenset({State.DOWNLOADING, State.SEEDING, State.PAUSED, State.FETCHING_METADATA})
PARTIAL: Final = frozenset({"v1 partial", "v2 partial", "hybrid partial"})


@dataclass(frozen=True)
class Flipped:
    """One torrent, and what of it is on the disk."""

    metainfo: Metainfo
    payload: bytes
    files: Mapping[str, bytes]


def _torrent(name: str, number: int) -> Flipped:
    twin = payload_of(60_000, number)
    files = {
        "a/one": payload_of(100_000, 10 + number),
        "a/twin": twin,
        "b": payload_of(40_000, 20 + number),
        "c/twin": twin,
        "empty": b"",
    }
    if name.startswith("v1"):
        metainfo, payload = make_torrent(files, piece_bytes=PIECE_BYTES, name=name)
        return Flipped(metainfo, payload, files)
    make_info = v2_info if name.startswith("v2") else hybrid_info
    info, layers = make_info(files, piece_bytes=PIECE_BYTES, name=name)
    metainfo = Metainfo.from_bytes(torrent_around(info, layers))
    return Flipped(metainfo, laid_out(metainfo, files), files)


class ManagedFlipRun:
    """Flips bits of one kind of file at a time, and starts a manager each time."""

    def __init__(self, folder: Path, *, seed: int) -> None:
        self.report = FlipReport()
        self._folder = folder
        self._random = Random(seed)
        names = [*PARTIAL, "v1", "v2", "hybrid", "v2 renamed", "hybrid chosen", "v2 by link"]
        self._torrents = {name: _torrent(name, n) for n, name in enumerate(sorted(names))}
        self._unknown = Magnet.parse(f"magnet:?xt=urn:btmh:1220{'5a' * 32}&dn=unknown")

    async def run(self, flips: int) -> FlipReport:
        """Make the folder, then flip and start so many times."""
        await self._make()
        for _ in range(flips):
            await self._flip_once()
        return self.report

    # -- what is flipped ------------------------------------------------------------------------

    async def _make(self) -> None:
        linked = self._torrents["v2 by link"]
        whole = linked.metainfo, linked.payload
        async with manager(self._folder) as many, seed(self._folder / "seed", *whole) as (_, at):
            for name, torrent in self._torrents.items():
                await self._add(many, name, torrent, at)
            await many.add_torrent(self._unknown, user_data={"labels": "unknown"})
            await until(lambda: all(self._is_made(each) for each in many.sessions))
            await many.flush()
            shutil.copytree(self._folder / "state", self._folder / "good")  # with the log
        for name in PARTIAL:  # a write that was under way
            path = self._folder / "files" / name / "c/twin"
            path.write_bytes(bytes(40_000) + path.read_bytes()[40_000:])

    async def _add(
        self, many: TorrentManager, name: str, torrent: Flipped, peer: tuple[str, int]
    ) -> None:
        for path, data in torrent.files.items() if name != "v2 by link" else ():
            place = self._folder / "files" / name / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data if name not in PARTIAL or "twin" not in path else data[::-1])
        config = SessionConfig(overwrite=True, peers=(peer,) if name == "v2 by link" else ())
        if name == "hybrid chosen":
            rest = [7] * (len(torrent.metainfo.files) - 1)
            config = SessionConfig(file_priorities=(0, *rest))
        source = Magnet.of(torrent.metainfo) if name == "v2 by link" else torrent.metainfo
        session = await many.add_torrent(source, config=config, user_data={"labels": name})
        if name == "v2 renamed":
            await until(lambda: session.state in READY)
            await session.rename_file(0, f"{name}/another name")

    @staticmethod
    def _is_made(session: Session) -> bool:
        wanted = (
            State.DOWNLOADING
            if session.name in PARTIAL
            else State.FETCHING_METADATA
            if session.name == "unknown"
            else State.SEEDING
        )
        return session.state is wanted

    # -- starts ---------------------------------------------------------------------------------

    async def _flip_once(self) -> None:
        state = self._folder / "state"
        shutil.rmtree(state)
        shutil.copytree(self._folder / "good", state)
        name = flip_bits(state, self._random)
        self.report.flipped(name)
        try:
            with anyio.fail_after(START_LIMIT_S):
                await self._start(name)
        except (TorrentEngineError, TimeoutError) as error:
            self.report.faults.append(f"{name}: {error!r}")

    async def _start(self, name: str) -> None:
        async with manager(self._folder) as many:
            sessions = {each.info_hash: each for each in many.sessions}
            keys = {each.metainfo.info_hash for each in self._torrents.values()}
            self.report.lost_torrents += len((keys | {self._unknown.info_hash}) - sessions.keys())
            await until(lambda: all(self._is_settled(each) for each in many.sessions))
            for session in many.sessions:
                if session.state is State.ERROR:
                    self.report.faults.append(f"{name}: {session.name}: {session.error!r}")
            for torrent in self._torrents.values():
                if torrent.metainfo.info_hash in sessions:
                    self._compare(torrent, sessions[torrent.metainfo.info_hash])

    @staticmethod
    def _is_settled(session: Session) -> bool:
        return session.state in READY or session.state is State.ERROR

    def _compare(self, torrent: Flipped, session: Session) -> None:
        have = Bitfield.from_bytes(session.stats().have, torrent.metainfo.piece_count)
        self.report.pieces_believed += have.count
        right = self._right_pieces(torrent)
        self.report.false_pieces += sum(piece not in right for piece in have.present())

    def _right_pieces(self, torrent: Flipped) -> set[int]:
        metainfo, right, found = torrent.metainfo, set[int](), bytearray(torrent.payload)
        layout = metainfo.layout
        stored = [i for i in range(len(metainfo.files)) if not metainfo.files.is_pad(i)]
        for index, path in zip(stored, torrent.files, strict=True):
            data = self._content(metainfo.name, path)[: layout.lengths[index]]
            start = layout.offsets[index]
            found[start : start + layout.lengths[index]] = data.ljust(layout.lengths[index], b"?")
        for piece in range(metainfo.piece_count):
            start = piece * PIECE_BYTES
            here, wanted = (data[start : start + PIECE_BYTES] for data in (found, torrent.payload))
            if here == wanted:
                right.add(piece)
        return right

    def _content(self, name: str, path: str) -> bytes:
        for each in (path, "another name") if path == "a/one" else (path,):
            place = self._folder / "files" / name / each
            if place.exists():
                return place.read_bytes()
        return b""
