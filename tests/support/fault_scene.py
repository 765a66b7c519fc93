"""A torrent's whole life with one fault in it: whatever fails, the next attempt of it succeeds."""

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from tests.support.faults import Fault
from tests.support.scripted_peer import Script, listening
from tests.support.swarm import LOOPBACK, open_descriptors, shared_config
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import DiskConfig, PoolConfig, SessionConfig, SharedConfig
from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.engine.session import Session
from torrent_engine.engine.shared_resources import SharedResources
from torrent_engine.engine.states import State

FILES = {
    "a": payload_of(90_000, 1),
    "b/c": payload_of(70_000, 2),
    "e": b"",
    "d": payload_of(50_000),
}
METAINFO, PAYLOAD = make_torrent(FILES)
ATTEMPTS = 4
PATIENCE_S = 12.0
PATHS = [entry.path for entry in METAINFO.files]
DISK = DiskConfig(
    state_reserve_bytes=4096, retry_after_disk_full_s=0.05, sync_interval_s=0.02, max_open_files=2
)

FAILURES = (TorrentEngineError, MemoryError, RuntimeError, OSError)
"""The package's own, and what some faults are."""
Work = Callable[[Session], Awaitable[None]]


@dataclass
class Outcome:
    """What one fault came to."""

    kind: str
    at: int
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
            f"{self.kind} at call {self.at} ({self.struck_at}): {self.problem or 'stood'}; "
            f"errors: {self.errors}; logged: {self.logged}"
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


class Scene:
    """One life: download, pause, move, rename, recheck, restart, removal."""

    def __init__(self, root: Path, peer: tuple[str, int], fault: Fault, outcome: Outcome) -> None:
        self.root = root
        self.peer = peer
        self.fault = fault
        self.outcome = outcome
        self.save_path = root / "first"
        self.names: dict[int, tuple[str, ...]] = {}
        self.session: Session | None = None
        self.shared: SharedResources

    async def play(self) -> None:
        """Live it; raises ProblemError where the engine did not stand the fault."""
        await self._live(
            ("download", self._downloaded),
            ("pause", self._paused),
            ("move", self._moved),
            ("rename", self._renamed),
            ("recheck", self._rechecked),
        )
        await self._live(
            ("restart", self._restarted), ("skip", self._skipped), ("remove", self._removed)
        )

    async def _live(self, *steps: tuple[str, Work]) -> None:
        """Take steps in one process, or in another one after what ended it."""
        rest = list(steps)
        for _ in range(ATTEMPTS):
            try:
                async with SharedResources(self._config()) as shared:
                    self.shared, self.session = shared, None
                    while rest:
                        await self._step(*rest[0])
                        del rest[0]
                    if self.session is not None:
                        await self.session.close()
            except FAILURES as error:
                self._note("services", error)
            if not rest:
                return
        raise ProblemError(f"the services do not start any more: {self.outcome.errors}")

    async def _step(self, name: str, work: Work) -> None:
        for _ in range(ATTEMPTS):
            try:
                with anyio.fail_after(PATIENCE_S), anyio.CancelScope() as scope:
                    self.fault.scope = scope
                    await work(await self._running())
                if not scope.cancelled_caught:
                    return
            except TimeoutError:
                raise ProblemError(f"{name} hangs, the state is {self._state()}") from None
            except FAILURES as error:
                self._note(name, error)
        raise ProblemError(f"{name} does not succeed any more: {self.outcome.errors}")

    def _note(self, name: str, error: BaseException) -> None:
        if not self.fault.has_struck:
            raise ProblemError(f"{name} fails without a fault: {error!r}") from error
        if isinstance(error, OSError) and not isinstance(error, TorrentEngineError):
            self.outcome.logged.append(f"{name} raised a bare {error!r} at {self.fault.struck_at}")
        self.outcome.errors.append(f"{name}: {error}")

    def _state(self) -> str:
        return "none" if self.session is None else self.session.state.value

    # -- who runs -------------------------------------------------------------------------------

    async def _running(self) -> Session:
        """Return a Session that runs, begun anew where it ended."""
        if self.session is None:
            config = SessionConfig(peers=(self.peer,), renamed_files=tuple(self._renames()))
            self.session = await Session.create(
                METAINFO, self.shared, save_path=self.save_path, config=config
            )
        session = self.session
        if session.state in {State.STOPPED, State.ERROR}:
            await session.resume() if session.error else await session.start()
        return session

    def _config(self) -> SharedConfig:
        pool = PoolConfig(max_dials_per_ip_per_minute=10_000, quick_retry_first_s=0.05)
        return shared_config(self.root, disk=DISK, pool=pool)

    def _renames(self) -> Iterator[tuple[int, str]]:
        return ((index, "/".join(path)) for index, path in self.names.items())

    # -- the steps ------------------------------------------------------------------------------

    async def _seeding(self, session: Session) -> None:
        while session.state is not State.SEEDING:
            if session.state is State.ERROR and not session._is_disk_full:
                assert session.error is not None
                raise session.error
            if session.state is State.PAUSED:
                await session.resume()
            await anyio.sleep(0.002)

    async def _downloaded(self, session: Session) -> None:
        await self._seeding(session)

    async def _restarted(self, session: Session) -> None:
        await self._seeding(session)
        self._compare()

    async def _paused(self, session: Session) -> None:
        if session.state is not State.PAUSED:
            await session.pause()
        await session.resume()
        await self._seeding(session)

    async def _moved(self, session: Session) -> None:
        await session.move_storage(self.root / "second")
        self.save_path = self.root / "second"
        await self._seeding(session)

    async def _renamed(self, session: Session) -> None:
        await session.rename_file(0, "payload/new/a")
        self.names = {0: ("payload", "new", "a")}
        await self._seeding(session)

    async def _rechecked(self, session: Session) -> None:
        if session.state is not State.CHECKING:  # an earlier attempt may have begun it
            await session.recheck()
        await self._seeding(session)
        self._compare()

    async def _skipped(self, session: Session) -> None:
        await session.set_file_priorities((0, 4, 4, 4))
        await session.set_file_priorities((4, 4, 4, 4))
        await self._seeding(session)

    async def _removed(self, session: Session) -> None:
        await session.cancel(delete_files=True)
        left = [path for path in self.root.glob("*/payload/**/*") if path.is_file()]
        if left and self.fault.kind != "EACCES":  # what may not be removed stays, for good
            raise ProblemError(f"files are left: {left}")

    def _compare(self) -> None:
        for index, entry in enumerate(METAINFO.files):
            path = self.save_path.joinpath(*self.names.get(index, entry.path))
            data = PAYLOAD[entry.offset_bytes : entry.offset_bytes + entry.length_bytes]
            if path.read_bytes() != data:
                raise ProblemError(f"{path} has other bytes")


def _leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def live_with_fault(root: Path, kind: str, at: int) -> Outcome:
    """Live one life below ``root`` with a fault at one call; say what it came to."""
    outcome, fault = Outcome(kind, at), Fault(kind, at)
    async with listening(Script(METAINFO, PAYLOAD), LOOPBACK) as peer:
        before = open_descriptors()
        scene = Scene(root, peer, fault, outcome)
        with fault.planted(root), _listening_to_log(outcome, fault):
            try:
                with anyio.fail_after(3 * PATIENCE_S):
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
