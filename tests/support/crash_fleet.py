"""Managers of many torrents that are killed with SIGKILL, while they add torrents or move files.

The oracle is that of :mod:`tests.support.crash`: a piece that was announced before a kill is never
sent by the seed to a later process, and all files are right at the end, wherever they are.
"""

import json
import os
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from threading import Event, Lock, Thread
from typing import Any

from tests.support.crash import Report
from tests.support.crash_seed import Seed, Throttle
from tests.support.processes import failures_in
from tests.support.torrents import make_torrent, payload_of
from tests.support.warm_processes import Running, Start, start_cold
from torrent_engine.codec.metainfo import Metainfo

HANDSHAKE_BYTES = 68
PATIENCE_S = 600.0
HOST = "127.0.0.1"
AT_START = 0.15
"""Part of the kills whose time is counted from the start of the process, imports included."""


@dataclass(frozen=True)
class Fleet:
    """What is downloaded by one manager."""

    torrents: int
    files: int
    bytes_each: int
    piece_bytes: int
    bytes_per_s: float
    is_moved: bool = False


ADDING = Fleet(200, 2, 40_000, 16 * 1024, 4 * 1024 * 1024)
MOVING = Fleet(3, 5, 8_000_000, 64 * 1024, 6 * 1024 * 1024, is_moved=True)


@dataclass(frozen=True, slots=True)
class Block:
    """A block that the seed sent to a process that began at ``accepted_s`` or earlier."""

    torrent: str
    piece: int
    begin_bytes: int
    accepted_s: float


class FleetSeed:
    """Serves all torrents at one port, in threads, and notes each block."""

    def __init__(self, torrents: dict[str, tuple[Metainfo, bytes]], bytes_per_s: float) -> None:
        self.blocks: list[Block] = []
        self._torrents = torrents
        self._throttle = Throttle(bytes_per_s)
        self._lock = Lock()
        self._listener = socket.create_server((HOST, 0), backlog=500)
        self.address = self._listener.getsockname()
        Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections; those that are there end with who made them."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def taken(self) -> list[Block]:
        """Return what was sent since the last call."""
        with self._lock:
            blocks, self.blocks = self.blocks, []
        return blocks

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            data = sock.recv(HANDSHAKE_BYTES, socket.MSG_PEEK | socket.MSG_WAITALL)
        except OSError:
            sock.close()
            return
        name = data[28:48].hex()
        if name not in self._torrents:
            sock.close()
            return
        metainfo, payload = self._torrents[name]
        _NotingSeed(metainfo, payload, self._throttle, -1, self, name).serve(sock)

    def note(self, block: Block) -> None:
        """Take one block that was sent."""
        with self._lock:
            self.blocks.append(block)


@dataclass
class _NotingSeed(Seed):
    fleet: FleetSeed
    name: str

    def _note(self, accepted_s: float, piece: int, number: int) -> None:
        if piece < self.metainfo.piece_count:
            self.fleet.note(Block(self.name, piece, number, accepted_s))


class FleetRun:
    """Kills managers of one fleet until there were enough kills."""

    def __init__(
        self,
        folder: Path,
        fleet: Fleet,
        *,
        seed: int,
        other_folder: Path | None = None,
        start: Start = start_cold,
    ) -> None:
        """``other_folder`` is where files are moved to and from, on another disk perhaps."""
        self.report = Report()
        self._start = start
        self.moves = 0
        self._folder, self._fleet, self._random = folder, fleet, Random(seed)
        self._other = other_folder or folder / "other"
        self._announced: set[tuple[str, int]] = set()
        self._sent: set[tuple[str, int, int]] = set()

    def run(self, cycles: int, seconds: float = 1e9) -> Report:
        """Kill ``cycles`` times, or for so long; the last download is completed."""
        until_s = time.monotonic() + seconds
        while self.report.cycles < cycles and time.monotonic() < until_s:
            self._run_once(cycles, until_s)
            if self.report.faults:
                break
        return self.report

    def _run_once(self, cycles: int, until_s: float) -> None:
        folder = self._folder / str(self.report.rounds)
        torrents = self._make(folder)
        self._announced.clear()
        self._sent.clear()
        seed = FleetSeed(torrents, self._fleet.bytes_per_s)
        places: dict[str, str] | None = None
        while places is None and not self.report.faults:
            is_last = self.report.cycles >= cycles or time.monotonic() > until_s
            kill_s = None if is_last else self._random.uniform(0.05, 2.5)
            places = self._cycle(folder, seed, kill_s)
        seed.close()
        self.report.rounds += 1
        for name, place in (places or {}).items():
            self.report.wrong_bytes += _wrong_files(*torrents[name], Path(place))
        shutil.rmtree(folder)
        shutil.rmtree(self._other, ignore_errors=True)

    def _make(self, folder: Path) -> dict[str, tuple[Metainfo, bytes]]:
        (folder / "torrents").mkdir(parents=True)
        found = {}
        for number in range(self._fleet.torrents):
            share = self._fleet.bytes_each // self._fleet.files
            files = {
                f"{index}/x": payload_of(share + index, self._random.randrange(1 << 30))
                for index in range(self._fleet.files)
            }
            metainfo, payload = make_torrent(
                files, piece_bytes=self._fleet.piece_bytes, name=f"torrent {number}"
            )
            (folder / "torrents" / f"{number}.torrent").write_bytes(metainfo.source)
            found[metainfo.info_hash.hex()] = metainfo, payload
        return found

    def _cycle(self, folder: Path, seed: FleetSeed, kill_s: float | None) -> dict[str, str] | None:
        """Run one process; return where all torrents are if it came to its end."""
        order = {
            "folder": str(folder),
            "peers": seed.address,
            "places": [str(folder / "one"), str(folder / "two"), str(self._other / "three")],
            "moves": self._fleet.is_moved,
            "seed": self._random.randrange(1 << 30),
        }
        spawned_s = time.monotonic()
        with (folder / "errors").open("w+b") as errors:
            process = self._start("tests.support.crash_manager", [json.dumps(order)], errors)
            started = Event()
            if self._random.random() < AT_START:
                started.set()
            arguments = (process, started, kill_s)
            killer = Thread(target=self._kill_later, args=arguments, daemon=True)
            killer.start()
            told: list[dict[str, Any]] = []
            with process.stdout:
                for line in process.stdout:
                    started.set()
                    if line.endswith(b"\n"):
                        told.append(json.loads(line))
            started.set()
            code = process.wait()
            killer.join()
            errors.seek(0)
            text = failures_in(errors.read(3_000))
        return self._account(told, code, text, seed, spawned_s)

    @staticmethod
    def _kill_later(process: Running, started: Event, kill_s: float | None) -> None:
        """Kill a process some time after it has started, or when it takes too long."""
        started.wait(PATIENCE_S)
        try:
            process.wait(kill_s if kill_s is not None else PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()

    def _account(
        self,
        told: list[dict[str, Any]],
        code: int,
        errors: str,
        seed: FleetSeed,
        spawned_s: float,
    ) -> dict[str, str] | None:
        self._count_blocks(seed, spawned_s)
        if code == -9:
            self.report.cycles += 1
            kind = told[-1]["type"] if told else "spawned"
            self.report.kills[kind] = self.report.kills.get(kind, 0) + 1
        places = None
        for event in told:
            if event["type"] == "piece":
                self._announced.add((event["torrent"], event["piece"]))
                self.report.pieces_announced += 1
            elif event["type"] == "moved":
                self.moves += 1
            elif event["type"] == "error":
                self.report.faults.append(event["text"])
            elif event["type"] == "done":
                places = event["places"]
        if code not in {0, -9} or (code == 0 and places is None):
            self.report.faults.append(f"exit code {code}: {errors}")
        return places if code == 0 else None

    def _count_blocks(self, seed: FleetSeed, spawned_s: float) -> None:
        """Compare what this process was sent with what was announced by those before it."""
        new: set[tuple[str, int, int]] = set()
        for block in seed.taken():
            if block.accepted_s < spawned_s:
                continue  # into the socket of a process that is dead
            self.report.blocks_sent += 1
            key = (block.torrent, block.piece, block.begin_bytes)
            if (block.torrent, block.piece) in self._announced:
                self.report.verified_blocks_sent_again += 1
            elif key in self._sent:
                self.report.blocks_sent_again += 1
            new.add(key)
        self._sent |= new


def _wrong_files(metainfo: Metainfo, payload: bytes, place: Path) -> int:
    """Return how many files are not as they should be."""
    wrong = 0
    for entry in metainfo.files:
        path = place.joinpath(*entry.path)
        right = payload[entry.offset_bytes : entry.offset_bytes + entry.length_bytes]
        wrong += not os.path.isfile(path) or path.read_bytes() != right  # noqa: PTH113
    return wrong
