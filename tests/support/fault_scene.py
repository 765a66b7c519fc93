"""Torrents' whole lives with one fault in them: whatever fails, the next attempt of it succeeds.

A story is a life or several at a time. The first is one torrent's, step by step; the others are
drawn at random, the same for the same number.
"""

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

import anyio

from tests.support.faults import Fault
from tests.support.scripted_peer import Script, listening
from tests.support.swarm import LOOPBACK, open_descriptors, shared_config
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import DiskConfig, PoolConfig, SessionConfig, SharedConfig
from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

FILES = {
    "a": payload_of(90_000, 1),
    "b/c": payload_of(70_000, 2),
    "e": b"",
    "d": payload_of(50_000),
}
OTHERS = (
    FILES,
    {f"{number % 3}/{number}": payload_of(3_000 + 900 * number, number) for number in range(14)},
    payload_of(150_000, 9),
)
ATTEMPTS = 4
PATIENCE_S = 50.0
WANTED = 4
STEPS = 3
"""Of a random story, between two restarts."""
DISK = DiskConfig(
    state_reserve_bytes=4096, retry_after_disk_full_s=0.05, sync_interval_s=0.02, max_open_files=2
)

FAILURES = (TorrentEngineError, MemoryError, RuntimeError, OSError)
"""The package's own, and what some faults are."""
Step = tuple[str, "Member", Callable[["Member", Session], Awaitable[None]]]


@dataclass
class Outcome:
    """What one fault came to."""

    kind: str
    at: int
    story: int = 0
    calls: int = 0
    struck_at: str = ""
    errors: list[str] = field(default_factory=list)
    """What the calls of the library raised, each with its step."""
    logged: list[str] = field(default_factory=list)
    """Bugs that were caught and logged."""
    problem: str = ""
    """Why the engine did not stand it; "" if it did."""

    def __str__(self) -> str:
        return (
            f"{self.kind} at call {self.at} of story {self.story} ({self.struck_at}): "
            f"{self.problem or 'stood'}; errors: {self.errors}; logged: {self.logged}"
        )


class _Bugs(logging.Handler):
    def __init__(self, outcome: Outcome, fault: Fault) -> None:
        super().__init__(logging.ERROR)
        self._outcome, self._fault = outcome, fault

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        where = self._fault.struck_at
        self._outcome.logged.append(f"{record.getMessage()}: {error!r} at {where}")


@contextmanager
def _listening_to_log(outcome: Outcome, fault: Fault) -> Iterator[None]:
    handler = _Bugs(outcome, fault)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


class ProblemError(AssertionError):
    """The engine did not stand a fault."""


@dataclass
class Member:
    """One torrent of a story."""

    number: int
    metainfo: Metainfo
    payload: bytes
    peer: tuple[str, int]
    save_path: Path
    names: dict[int, tuple[str, ...]] = field(default_factory=dict)
    skipped: frozenset[int] = frozenset()
    session: Session | None = None

    @property
    def priorities(self) -> tuple[int, ...]:
        """One number a file, as the session wants them."""
        count = len(self.metainfo.files)
        return tuple(0 if index in self.skipped else WANTED for index in range(count))

    @property
    def renames(self) -> tuple[tuple[int, str], ...]:
        """The files that have other names, as the session wants them."""
        return tuple((index, "/".join(path)) for index, path in self.names.items())

    @property
    def state(self) -> str:
        """What its session does."""
        return "none" if self.session is None else self.session.state.value

    def compare(self) -> None:
        """Raise ProblemError unless all files that are wanted are right."""
        for index, entry in enumerate(self.metainfo.files):
            path = self.save_path.joinpath(*self.names.get(index, entry.path))
            data = self.payload[entry.offset_bytes : entry.offset_bytes + entry.length_bytes]
            if index not in self.skipped and path.read_bytes() != data:
                raise ProblemError(f"{path} has other bytes")


class Scene:
    """Lives one story."""

    def __init__(
        self,
        root: Path,
        members: list[Member],
        fault: Fault,
        outcome: Outcome,
        patience_s: float,
    ) -> None:
        self.root = root
        self.members = members
        self.fault = fault
        self.outcome = outcome
        self.patience_s = patience_s
        self.shared: SharedResources

    async def play(self) -> None:
        """Live it; raises ProblemError where the engine did not stand the fault."""
        story = self._random_story() if self.outcome.story else self._first_story()
        for steps in story:
            await self._live(steps)

    def _first_story(self) -> Iterator[list[Step]]:
        """Download, pause, move, rename, recheck, restart, removal."""
        (one,) = self.members
        yield [
            ("download", one, self._downloaded),
            ("pause", one, self._paused),
            ("move", one, partial(self._moved, place="second")),
            ("rename", one, partial(self._renamed, index=0, name=("payload", "new", "a"))),
            ("recheck", one, self._rechecked),
        ]
        yield [
            ("restart", one, self._restarted),
            ("skip", one, partial(self._skipped, skipped=frozenset({0}))),
            ("want", one, partial(self._skipped, skipped=frozenset())),
            ("remove", one, self._removed),
        ]

    def _random_story(self) -> Iterator[list[Step]]:
        random = Random(self.outcome.story)
        for member in self.members:
            count = len(member.metainfo.files)
            if count > 1 and random.random() < 0.5:
                member.skipped = frozenset(random.sample(range(count), count // 3))
        yield [
            *(("download", each, self._downloaded) for each in self.members),
            *(self._random_step(random, number) for number in range(STEPS)),
        ]
        yield [
            *(("restart", each, self._restarted) for each in self.members),
            *(self._random_step(random, number) for number in range(STEPS, 2 * STEPS)),
            *(("want", each, partial(self._skipped, skipped=frozenset())) for each in self.members),
        ]
        yield [
            *(("restart", each, self._restarted) for each in self.members),
            *(("remove", each, self._removed) for each in self.members),
        ]

    def _random_step(self, random: Random, number: int) -> Step:
        member = random.choice(self.members)
        count = len(member.metainfo.files)
        index, few = random.randrange(count), random.sample(range(count), count // 2)
        name = ("payload", f"new {number}", f"{index}") if count > 1 else (f"new {number}",)
        steps: list[Step] = [
            ("pause", member, self._paused),
            ("move", member, partial(self._moved, place=f"place {number % 4}")),
            ("rename", member, partial(self._renamed, index=index, name=name)),
            ("recheck", member, self._rechecked),
            ("skip", member, partial(self._skipped, skipped=frozenset(few))),
            ("want", member, partial(self._skipped, skipped=frozenset())),
        ]
        return random.choice(steps)

    async def _live(self, steps: list[Step]) -> None:
        """Take steps in one process, or in another one after what ended it."""
        rest = list(steps)
        for _ in range(ATTEMPTS):
            try:
                async with SharedResources(self._config()) as shared:
                    self.shared = shared
                    for member in self.members:
                        member.session = None
                    while rest:
                        await self._step(*rest[0])
                        del rest[0]
                    for member in self.members:
                        if member.session is not None:
                            await member.session.close()
            except FAILURES as error:
                self._note("services", error)
            if not rest:
                return
        raise ProblemError(f"the services do not start any more: {self.outcome.errors}")

    async def _step(
        self, name: str, member: Member, work: Callable[[Member, Session], Awaitable[None]]
    ) -> None:
        for _ in range(ATTEMPTS):
            try:
                with anyio.fail_after(self.patience_s), anyio.CancelScope() as scope:
                    self.fault.scope = scope
                    await work(member, await self._running(member))
                if not scope.cancelled_caught:
                    return
            except TimeoutError:
                raise ProblemError(f"{name} hangs, the state is {member.state}") from None
            except FAILURES as error:
                self._note(name, error)
        raise ProblemError(f"{name} does not succeed any more: {self.outcome.errors}")

    def _note(self, name: str, error: BaseException) -> None:
        if not self.fault.has_struck:
            raise ProblemError(f"{name} fails without a fault: {error!r}") from error
        if isinstance(error, OSError) and not isinstance(error, TorrentEngineError):
            self.outcome.logged.append(f"{name} raised a bare {error!r} at {self.fault.struck_at}")
        self.outcome.errors.append(f"{name}: {error}")

    # -- who runs -------------------------------------------------------------------------------

    async def _running(self, member: Member) -> Session:
        """Return a Session that runs, begun anew where it ended."""
        if member.session is None:
            config = SessionConfig(
                peers=(member.peer,),
                renamed_files=member.renames,
                file_priorities=member.priorities,
            )
            member.session = await Session.create(
                member.metainfo, self.shared, save_path=member.save_path, config=config
            )
        session = member.session
        if session.state in {State.STOPPED, State.ERROR}:
            await session.resume() if session.error else await session.start()
        return session

    def _config(self) -> SharedConfig:
        pool = PoolConfig(max_dials_per_ip_per_minute=10_000, quick_retry_first_s=0.05)
        return shared_config(self.root, disk=DISK, pool=pool)

    # -- the steps ------------------------------------------------------------------------------

    async def _seeding(self, session: Session) -> None:
        while session.state is not State.SEEDING:
            if session.state is State.ERROR and not session._core.waits_for_room:
                assert session.error is not None
                raise session.error
            if session.state is State.PAUSED:
                await session.resume()
            await anyio.sleep(0.002)

    async def _downloaded(self, _: Member, session: Session) -> None:
        await self._seeding(session)

    async def _restarted(self, member: Member, session: Session) -> None:
        await self._seeding(session)
        member.compare()

    async def _paused(self, _: Member, session: Session) -> None:
        if session.state is not State.PAUSED:
            await session.pause()
        await session.resume()
        await self._seeding(session)

    async def _moved(self, member: Member, session: Session, *, place: str) -> None:
        target = self.root / f"{member.number}" / place
        await session.move_storage(target)
        member.save_path = target
        await self._seeding(session)

    async def _renamed(
        self, member: Member, session: Session, *, index: int, name: tuple[str, ...]
    ) -> None:
        await session.rename_file(index, "/".join(name))
        member.names[index] = name
        await self._seeding(session)

    async def _rechecked(self, member: Member, session: Session) -> None:
        if session.state is not State.CHECKING:  # an earlier attempt may have begun it
            await session.recheck()
        await self._seeding(session)
        member.compare()

    async def _skipped(self, member: Member, session: Session, *, skipped: frozenset[int]) -> None:
        member.skipped = skipped
        await session.set_file_priorities(member.priorities)
        await self._seeding(session)

    async def _removed(self, member: Member, session: Session) -> None:
        await session.cancel(delete_files=True)
        places = self.root / f"{member.number}"
        left = [path for path in places.rglob("*") if path.is_file()]
        if left and self.fault.kind != "EACCES":  # what may not be removed stays, for good
            raise ProblemError(f"files are left: {left}")


def _leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def live_with_fault(
    root: Path, kind: str, at: int, story: int = 0, *, patience_s: float = PATIENCE_S
) -> Outcome:
    """Live one story below ``root`` with a fault at one call; say what it came to.

    A step that takes ``patience_s`` of wall time hangs: give it more on a busy machine.
    """
    outcome, fault = Outcome(kind, at, story), Fault(kind, at)
    async with AsyncExitStack() as stack:
        members = [
            await _member(stack, root, number, files)
            for number, files in enumerate(_of_story(story))
        ]
        before = open_descriptors()
        scene = Scene(root, members, fault, outcome, patience_s)
        with fault.planted(root), _listening_to_log(outcome, fault):
            try:
                with anyio.fail_after(10 * patience_s):
                    await scene.play()
            except ProblemError as error:
                outcome.problem = str(error)
            except TimeoutError:
                outcome.problem = "closing hangs"
            except ExceptionGroup as group:
                outcome.problem = f"all services ended: {_leaf(group)!r}"
        if not outcome.problem and (left := open_descriptors() - before):
            files = [name for name in left if str(root) in name]
            outcome.problem = f"descriptors are left: {files}" if files else ""
    outcome.calls, outcome.struck_at = fault.calls, fault.struck_at
    return outcome


def _of_story(story: int) -> list[dict[str, bytes] | bytes]:
    return Random(story).sample(OTHERS, 2) if story else [FILES]


async def _member(
    stack: AsyncExitStack, root: Path, number: int, files: dict[str, bytes] | bytes
) -> Member:
    metainfo, payload = make_torrent(files, name="payload")
    peer = await stack.enter_async_context(listening(Script(metainfo, payload), LOOPBACK))
    return Member(number, metainfo, payload, peer, root / f"{number}" / "first")
