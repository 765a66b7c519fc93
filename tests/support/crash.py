"""Downloads that are killed with SIGKILL again and again, and what must hold after each kill.

The oracle (fault model, row F4): a piece that was announced as ``piece.completed``
before a kill is never sent by the seed to a later process, and the files are right at the end.
"""

import json
import math
import os
import selectors
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import anyio

from tests.support.crash_seed import Record, SeedProcess
from tests.support.processes import failures_in
from tests.support.torrents import make_torrent, payload_of
from tests.support.warm_processes import Running, Start, start_cold
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.state.store import StateStore

ROOT = Path(__file__).parents[2]
MIB = 1024 * 1024
PART_BYTES = 64 * MIB
POLL_S = 0.002
PATIENCE_S = 600.0
"""No download takes so long; there may be little of a processor for it."""
MAX_ERROR_BYTES = 3_000
HOSTS = ("127.0.0.1", "127.0.0.2") if sys.platform == "linux" else ("127.0.0.1",)


@dataclass(frozen=True)
class Shape:
    """What is downloaded, and how fast."""

    total_bytes: int
    file_count: int = 1
    piece_bytes: int = MIB
    bytes_per_s: float = 16 * MIB

    def make(self, folder: Path, random: Random) -> Metainfo:
        """Write ``x.torrent`` and ``payload`` to a folder."""
        payload = self._payload(random)
        metainfo, _ = make_torrent(
            payload if self.file_count == 1 else self._split(payload, random),
            piece_bytes=self.piece_bytes,
        )
        folder.joinpath("x.torrent").write_bytes(metainfo.source)
        folder.joinpath("payload").write_bytes(payload)
        return metainfo

    def _payload(self, random: Random) -> bytes:
        whole, rest = divmod(self.total_bytes, PART_BYTES)
        sizes = [PART_BYTES] * whole + [rest]
        return b"".join(payload_of(size, seed=random.randrange(1 << 30)) for size in sizes)

    def _split(self, payload: bytes, random: Random) -> dict[str, bytes]:
        """Cut at random places; a few files are empty, all lie in several folders."""
        edges = sorted(random.randrange(len(payload)) for _ in range(self.file_count - 1))
        for number in range(1, len(edges), 50):
            edges[number] = edges[number - 1]
        files = zip([0, *edges], [*edges, len(payload)], strict=True)
        return {
            f"{number % 7}/{number}": payload[start:end]
            for number, (start, end) in enumerate(files)
        }


@dataclass(frozen=True)
class Kill:
    """When a process is killed: ``delay_s`` after something happened."""

    after: str
    """"spawned", "checking", "payload", "last pieces", "completed" or "never"."""
    delay_s: float = 0.0
    pieces_left: int = 0
    """For "last pieces"."""
    damage: str = ""
    """Before the start: "state lost" or "files replaced", so that the data must be hashed."""


NEVER = Kill("never")


def choose_kill(random: Random, seconds_left: float) -> Kill:
    """Return the next kill; near the end of a download mostly one around its completion."""
    if seconds_left < 1.0 and random.random() < 0.6:
        if random.random() < 0.5:
            return Kill("completed", random.uniform(0, 0.1))
        return Kill("last pieces", random.uniform(0, 0.03), pieces_left=random.randrange(4))
    dice = random.random()
    if dice < 0.12:
        return Kill("spawned", random.uniform(0, 0.9))
    if dice < 0.24:
        damage = random.choice(["state lost", "files replaced"])
        return Kill("checking", random.uniform(0, 0.15), damage=damage)
    return Kill("payload", random.uniform(0.005, 0.5))


@dataclass
class Child:
    """What one process did, from its start to its end."""

    kill: Kill
    spawned_s: float = 0.0
    first_payload_s: float | None = None
    is_checking: bool = False
    is_completed: bool = False
    begun_with: int | None = None
    """Pieces that it had when it said so to the seed."""
    announced: set[int] = field(default_factory=set)
    exit_code: int = 0
    errors: str = ""

    @property
    def has(self) -> int:
        """How many pieces it has, as far as it told."""
        return (self.begun_with or 0) + len(self.announced)

    def has_happened(self, piece_count: int) -> bool:
        """Return whether the moment has come after which the kill is due."""
        return {
            "spawned": True,
            "checking": self.is_checking,
            "payload": self.first_payload_s is not None,
            "last pieces": self.has >= piece_count - self.kill.pieces_left,
            "completed": self.is_completed,
            "never": False,
        }[self.kill.after]

    def hear(self, line: bytes) -> None:
        """Take one line of the process's output."""
        event = json.loads(line)
        kind = event["type"]
        if kind == "piece.completed":
            self.announced.add(event["piece_index"])
        elif kind == "torrent.started":
            self.is_checking = True
        elif kind == "session.completed":
            self.is_completed = True
        elif kind in {"session.error", "piece.hash_failed", "events.dropped"}:
            self.errors += line.decode()


@dataclass
class Report:
    """The figures of a run."""

    cycles: int = 0
    """Processes that were killed."""
    rounds: int = 0
    """Downloads that were completed and compared."""
    kills: dict[str, int] = field(default_factory=dict)
    pieces_announced: int = 0
    verified_blocks_sent_again: int = 0
    """Of pieces that an earlier process had announced: what must not happen."""
    blocks_sent: int = 0
    blocks_sent_again: int = 0
    """Of pieces that were not announced: what a kill cost."""
    blocks_after_completion: int = 0
    wrong_bytes: int = 0
    restart_s: list[float] = field(default_factory=list)
    """From the start of a process to its first payload, after a kill and without damage."""
    check_restart_s: list[float] = field(default_factory=list)
    """The same where the data had to be hashed."""
    faults: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        bad = self.verified_blocks_sent_again + self.wrong_bytes + self.blocks_after_completion
        return not bad and not self.faults

    def lines(self) -> Iterator[str]:
        yield f"cycles (SIGKILL)              {self.cycles}  {self.kills}"
        yield f"downloads completed           {self.rounds}"
        yield f"pieces announced              {self.pieces_announced}"
        yield f"verified blocks sent again    {self.verified_blocks_sent_again}"
        yield f"wrong bytes                   {self.wrong_bytes}"
        yield f"blocks after completion       {self.blocks_after_completion}"
        each = self.blocks_sent_again / max(self.cycles, 1)
        yield f"unverified blocks sent again  {self.blocks_sent_again} of {self.blocks_sent}"
        yield f"  a kill                      {each:.1f}"
        for name, times in (("restart", self.restart_s), ("with check", self.check_restart_s)):
            if times:
                middle, worst = statistics.median(times), max(times)
                yield f"{name:29} median {middle:.3f} s, max {worst:.3f} s, n={len(times)}"
        yield from self.faults


class CrashRun:
    """Kills downloads of one shape until there were enough kills."""

    def __init__(
        self,
        folder: Path,
        shape: Shape,
        *,
        seed: int,
        choose: Callable[[Random, float], Kill] = choose_kill,
        start: Start = start_cold,
    ) -> None:
        """``choose`` returns the next kill, given how many seconds of payload are left."""
        self.report = Report()
        self._start = start
        self._choose = choose
        self._folder = folder
        self._shape = shape
        self._random = Random(seed)
        self._piece_count = 0
        self._has = 0
        self._announced: set[int] = set()
        self._sent: set[tuple[int, int]] = set()
        self._sent_now: set[tuple[int, int]] = set()
        self._overwrites = False

    def run(self, cycles: int, seconds: float = math.inf) -> Report:
        """Kill ``cycles`` times, in as many downloads as that takes; the last one finishes.

        No download begins after so many seconds.
        """
        until_s = time.monotonic() + seconds
        while self.report.cycles < cycles and time.monotonic() < until_s:
            self.run_once(cycles)
            if self.report.faults:
                break
        return self.report

    def run_once(self, cycles: int) -> Report:
        """One download from nothing to its end; without kills once there were ``cycles``."""
        folder = self._folder / str(self.report.rounds)
        folder.mkdir(parents=True)
        metainfo = self._shape.make(folder, self._random)
        self._piece_count, self._has = metainfo.piece_count, 0
        self._overwrites = False
        self._announced.clear()
        self._sent.clear()
        with SeedProcess(folder, HOSTS, self._shape.bytes_per_s) as seed:
            is_finished = False
            while not is_finished and not self.report.faults:
                is_last = self.report.cycles >= cycles
                is_finished = self._cycle(folder, seed, NEVER if is_last else self._next_kill())
            self._judge(folder, metainfo, seed)
        shutil.rmtree(folder)
        return self.report

    def _next_kill(self) -> Kill:
        left = (self._piece_count - self._has) * self._shape.piece_bytes
        return self._choose(self._random, left / self._shape.bytes_per_s)

    # -- one process ------------------------------------------------------------------------

    def _cycle(self, folder: Path, seed: SeedProcess, kill: Kill) -> bool:
        """Run one process; return whether it finished the download before it was killed."""
        self._damage(folder, kill.damage)
        child = Child(kill)
        self._watch(folder, seed, child)
        self._account(child, seed)
        if child.errors or child.exit_code not in {0, -9}:
            self.report.faults.append(f"{kill}: exit code {child.exit_code}: {child.errors}")
        if child.exit_code == -9:
            self.report.cycles += 1
            self.report.kills[kill.after] = self.report.kills.get(kill.after, 0) + 1
        self.report.pieces_announced += len(child.announced)
        self._announced |= child.announced
        return child.exit_code != -9

    def _damage(self, folder: Path, damage: str) -> None:
        if damage == "state lost":
            shutil.rmtree(folder / "state", ignore_errors=True)
            self._overwrites = True  # nothing tells that a file without a whole piece is its own
        elif damage == "files replaced":
            files = sorted(path for path in folder.glob("saved/**/*") if path.is_file())
            for path in self._random.sample(files, min(20, len(files))):
                other = path.with_name("replaced")
                shutil.copy2(path, other)
                other.replace(path)
            self._overwrites = True  # a copy of a file that was written since its stamp was saved

    def _watch(self, folder: Path, seed: SeedProcess, child: Child) -> None:
        """Start a process, kill it when it is time, and listen to it until its end."""
        command = ["download", str(folder / "x.torrent")]
        command += ["--json", "--port", "0", "--listen", "127.0.0.1", "-d", str(folder / "saved")]
        command += ["--state-dir", str(folder / "state")]
        command += ["--overwrite"] if self._overwrites else []
        for address in seed.addresses:
            command += ["--peer", address]
        with ExitStack() as stack:
            errors = stack.enter_context((folder / "errors").open("w+b"))
            child.spawned_s = time.monotonic()
            process = self._start("torrent_engine", command, errors)
            stack.enter_context(process.stdout)
            stack.callback(process.kill)
            self._listen(process, seed, child)
            child.exit_code = process.wait(PATIENCE_S)
            errors.seek(0)
            child.errors += failures_in(errors.read(MAX_ERROR_BYTES))

    def _listen(self, process: Running, seed: SeedProcess, child: Child) -> None:
        due_s, rest = None, b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while True:
                for _ in selector.select(POLL_S):
                    data = os.read(process.stdout.fileno(), 65_536)
                    if not data:
                        return
                    *lines, rest = (rest + data).split(b"\n")
                    for line in lines:
                        child.hear(line)
                now = time.monotonic()
                self._take_records(child, seed)
                if due_s is None and child.has_happened(self._piece_count):
                    due_s = now + child.kill.delay_s
                if due_s is not None and now >= due_s:
                    process.kill()  # what is in the pipe was announced too: it is read on
                if now - child.spawned_s > PATIENCE_S:
                    child.errors += "took too long\n"
                    process.kill()
                    return

    # -- what the seed sent -------------------------------------------------------------------

    def _account(self, child: Child, seed: SeedProcess) -> None:
        """Take the last records of a process that has ended."""
        self._take_records(child, seed)
        if child.begun_with is not None:
            self._has = child.has
        self._sent |= self._sent_now
        self._sent_now.clear()
        times = self.report.check_restart_s if child.kill.damage else self.report.restart_s
        if child.first_payload_s is not None and self._announced:
            times.append(child.first_payload_s - child.spawned_s)

    def _take_records(self, child: Child, seed: SeedProcess) -> None:
        for record in seed.log.new():
            if record.accepted_s < child.spawned_s:
                continue  # into the socket of a process that is dead
            if record.is_bitfield:
                if child.begun_with is None:
                    child.begun_with = record.begin_bytes
                continue
            if child.first_payload_s is None:
                child.first_payload_s = record.time_s
            self._take_block(record)

    def _take_block(self, block: Record) -> None:
        key = (block.piece, block.begin_bytes)
        self.report.blocks_sent += 1
        if block.piece in self._announced:
            self.report.verified_blocks_sent_again += 1
        elif key in self._sent:
            self.report.blocks_sent_again += 1
        self._sent_now.add(key)

    # -- the end ------------------------------------------------------------------------------

    def _judge(self, folder: Path, metainfo: Metainfo, seed: SeedProcess) -> None:
        """Compare the files and the state; start once more: nothing may be fetched."""
        self.report.rounds += 1
        self.report.wrong_bytes += wrong_bytes(metainfo, folder)
        if not anyio.run(state_is_complete, folder / "state", metainfo):
            self.report.faults.append("the state does not say that all is complete")
        before = self.report.blocks_sent
        self._cycle(folder, seed, NEVER)
        self.report.blocks_after_completion += self.report.blocks_sent - before


def wrong_bytes(metainfo: Metainfo, folder: Path) -> int:
    """Return how many bytes below ``saved`` are missing, too many, or not those of the payload."""
    payload, wrong = (folder / "payload").read_bytes(), 0
    for entry in metainfo.files:
        path = folder.joinpath("saved", *entry.path)
        found = path.read_bytes() if path.is_file() else b""
        right = payload[entry.offset_bytes : entry.offset_bytes + entry.length_bytes]
        if found != right or not path.is_file():
            wrong += abs(len(found) - len(right)) + sum(
                one != other for one, other in zip(found, right, strict=False)
            )
            wrong += not path.is_file()
    return wrong


async def state_is_complete(folder: Path, metainfo: Metainfo) -> bool:
    """Return whether the resume database has all pieces as verified, synced and cleanly left."""
    async with await StateStore.open(folder) as store:
        record = await store.load(metainfo.info_hash)
    if record is None or record.progress is None:
        return False
    progress = record.progress
    full = sum(byte.bit_count() for byte in progress.have) == metainfo.piece_count
    return full and progress.durable == progress.have and progress.is_clean and not record.partial
