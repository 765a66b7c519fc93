"""A Session, a SharedResources and a torrent that do what a test says, without files or sockets."""

import hashlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any, ClassVar, Self

import anyio

from torrent_engine.base.config import IpFilterConfig, SessionConfig
from torrent_engine.base.errors import TrackerError
from torrent_engine.engine.event_bus import EventBus
from torrent_engine.engine.resources.live_ip_filter import LiveIpFilter
from torrent_engine.engine.states import State
from torrent_engine.engine.stats import SourceCounts


@dataclass(frozen=True)
class FakeStats:
    """The fields of SessionStats that the command line reads."""

    state: State = State.DOWNLOADING
    name: str = "fake"
    completed_bytes: int = 0
    wanted_bytes: int = 1 << 20
    total_bytes: int = 1 << 20
    downloaded_bytes: int = 0
    uploaded_bytes: int = 0
    wasted_bytes: int = 0
    download_bytes_per_s: float = 0.0
    upload_bytes_per_s: float = 0.0
    eta_s: float | None = None
    pieces_have: int = 0
    pieces_total: int = 4
    peers: int = 0
    seeds: int = 0
    connecting: int = 0
    ratio: float = 0.0
    elapsed_s: float = 1.0
    checked_fraction: float = 0.0
    have: bytes = b"\x00"
    sources: Mapping[str, SourceCounts] = field(default_factory=dict)

    def complete(self, state: State = State.SEEDING) -> "FakeStats":
        return replace(self, state=state, completed_bytes=self.wanted_bytes, pieces_have=4)


@dataclass(frozen=True)
class FakeEntry:
    path: tuple[str, ...]
    length_bytes: int = 10
    is_pad: bool = False
    is_executable: bool = False
    is_hidden: bool = False
    symlink_target: tuple[str, ...] | None = None


class FakeFiles(tuple[FakeEntry, ...]):
    """What a FileList can be asked, of a few entries."""

    __slots__ = ()

    def path(self, index: int) -> tuple[str, ...]:
        return self[index].path

    def paths(self) -> Iterator[tuple[str, ...]]:
        return (entry.path for entry in self)

    def cleaned(self) -> Iterator[int]:
        return iter(())

    def is_pad(self, index: int) -> bool:
        return self[index].is_pad

    def is_stored(self, index: int) -> bool:
        return not self[index].is_pad and self[index].symlink_target is None


def fake_metainfo(name: str, *paths: str, trackers: tuple[str, ...] = ()) -> Any:
    """Return what the command line reads of a Metainfo; without paths a single file."""
    files = FakeFiles(FakeEntry(tuple(path.split("/"))) for path in paths or (name,))
    return SimpleNamespace(
        name=name,
        files=files,
        is_multi_file=bool(paths),
        info_hash=hashlib.sha1(name.encode()).digest(),
        piece_count=4,
        total_bytes=1 << 20,
        is_private="private" in name,
        tiers=(trackers,),
    )


Script = Callable[["FakeSession"], Any]


@dataclass
class FakeSession:
    """Runs a script (an async function of the session) that returns why it stopped."""

    metainfo: Any
    save_path: Path
    config: SessionConfig
    events: EventBus = field(default_factory=EventBus)
    current: FakeStats = field(default_factory=FakeStats)
    stop_asked: anyio.Event = field(default_factory=anyio.Event)
    entered: bool = False
    closed: bool = False
    added_trackers: list[str] = field(default_factory=list)

    scripts: ClassVar[dict[str, Script]] = {}
    made: ClassVar[list["FakeSession"]] = []

    @classmethod
    async def create(cls, metainfo: Any, shared: Any, *, save_path: Any, config: Any) -> Self:
        session = cls(metainfo, save_path, config)
        cls.made.append(session)
        return session

    @property
    def info_hash(self) -> bytes:
        return bytes(self.metainfo.info_hash)

    @property
    def name(self) -> str:
        return str(self.metainfo.name)

    @property
    def final_path(self) -> Path:
        return self.save_path

    @property
    def is_private(self) -> Any:
        return self.metainfo and self.metainfo.is_private

    def add_tracker(self, url: str) -> bool:
        if not url.startswith("http"):
            raise TrackerError(f"{url}: no tracker")
        is_new = url not in self.added_trackers
        self.added_trackers += [url] * is_new
        return is_new

    error: Exception | None = None
    is_held: bool = False
    is_resting: bool = False

    @property
    def state(self) -> State:
        return self.current.state

    def stats(self) -> FakeStats:
        return self.current

    @property
    def admin(self) -> Any:
        return SimpleNamespace(file_names=SimpleNamespace(in_use=dict))

    def peers(self) -> list[Any]:
        return []

    def trackers(self) -> list[Any]:
        return []

    async def wait(self, *states: State) -> State:
        while self.current.state not in states:  # noqa: ASYNC110 - scripts set the stats
            await anyio.sleep(0.002)
        return self.current.state

    async def wait_stopped(self) -> str:
        return str(await self.scripts[self.name](self))

    async def stop(self) -> None:
        self.stop_asked.set()

    async def __aenter__(self) -> Self:
        self.entered = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.events.close()
        self.closed = True


@asynccontextmanager
async def fake_shared(config: Any) -> AsyncIterator[Any]:
    ip_filter = LiveIpFilter(IpFilterConfig())
    yield SimpleNamespace(config=config, listen_port=6881, ip_filter=ip_filter, http=None, dht=None)


async def completes(session: FakeSession) -> str:
    session.current = session.current.complete()
    return "time"


async def until_stopped(session: FakeSession) -> str:
    await session.stop_asked.wait()
    return "stopped"


async def seeds_until_stopped(session: FakeSession) -> str:
    session.current = replace(session.current.complete(), uploaded_bytes=3 << 20, ratio=3.0)
    return await until_stopped(session)
