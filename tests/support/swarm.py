"""Seeds and leeches in this process, on loopback, with small payloads."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio

from tests.support.torrents import write_files
from torrent_engine.base.config import (
    DhtConfig,
    DiskConfig,
    LsdConfig,
    SessionConfig,
    SharedConfig,
    WireLimits,
)
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.events import Event, TorrentChanged
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

LOOPBACK = "127.0.0.1"
PATIENCE_S = 45.0  # less than the minute after which much is tried again by itself


def shared_config(folder: Path, **changes: Any) -> SharedConfig:
    """Return a configuration that listens on loopback and keeps its state below ``folder``.

    Peers are found by nobody unless ``changes`` say so: no DHT, no LSD. Handshakes have the time
    of a busy machine: a dial that ends without one is encrypted the next time.
    """
    config = SharedConfig(
        listen_port=0,
        listen_hosts=(LOOPBACK,),
        state_dir=str(folder / "state"),
        disk=DiskConfig(state_reserve_bytes=64 * 1024),
        dht=DhtConfig(enabled=False),
        lsd=LsdConfig(enabled=False),
        wire=WireLimits(handshake_timeout_s=60.0),
    )
    return replace(config, **changes)


def resources(
    folder: Path, *, clock: Callable[[], float] = time.monotonic, **changes: Any
) -> SharedResources:
    """Return the services of one node, to be entered."""
    return SharedResources(shared_config(folder, **changes), clock=clock)


def address_of(shared: SharedResources) -> tuple[str, int]:
    """Return where a node on loopback accepts peers."""
    return (LOOPBACK, shared.listen_port)


@asynccontextmanager
async def seed(
    folder: Path,
    metainfo: Metainfo,
    payload: bytes,
    *,
    config: SessionConfig | None = None,
    **changes: Any,
) -> AsyncIterator[tuple[Session, tuple[str, int]]]:
    """Run a seed with services of its own; gives its Session and its address."""
    write_files(metainfo, payload, folder / "files")
    async with resources(folder, **changes) as shared:
        session = await Session.create(metainfo, shared, save_path=folder / "files", config=config)
        async with session:
            await reach(session, State.SEEDING)
            yield session, (shared.config.listen_hosts[0], shared.listen_port)


async def download(
    shared: SharedResources,
    metainfo: Metainfo,
    save_path: Path,
    *peers: tuple[str, int],
    **settings: Any,
) -> Session:
    """Run a download to its end and close it; seeding stops at once unless a rule is given."""
    if "seed_ratio" not in settings:
        settings.setdefault("seed_time_s", 0.0)
    session = await Session.create(
        metainfo, shared, save_path=save_path, config=SessionConfig(peers=peers, **settings)
    )
    async with session:
        with anyio.fail_after(PATIENCE_S):
            await session.wait_stopped()
    return session


async def finish(session: Session) -> str:
    """Run a Session to its end, not for ever; return why it ended."""
    async with session:
        with anyio.fail_after(PATIENCE_S):
            return await session.wait_stopped()


async def reach(session: Session, *states: State) -> State:
    """Wait for a state, not for ever."""
    with anyio.fail_after(PATIENCE_S):
        return await session.wait(*states)


def state_of(session: Session) -> State:
    """Return the present state; mypy does not narrow it, for it may change at every await."""
    return session.state


async def until(condition: Callable[[], object], *, timeout_s: float = PATIENCE_S) -> None:
    """Return as soon as a condition holds; TimeoutError if it never does."""
    with anyio.fail_after(timeout_s):
        while not condition():  # noqa: ASYNC110 - there is no event for it
            await anyio.sleep(0.005)


def record(session: Session) -> list[Event]:
    """Return a list that events of a Session are added to; not that facts have changed."""
    events: list[Event] = []

    def add(event: Event) -> None:
        if not isinstance(event, TorrentChanged):
            events.append(event)

    session.events.subscribe("*", add)
    return events


def kinds(events: list[Event], *left_out: str) -> list[str]:
    """Return the types of events in order, without some."""
    return [event.type for event in events if event.type not in left_out]


def content(metainfo: Metainfo, save_path: Path) -> bytes:
    """Return what lies on disk for a torrent, its files one behind the other."""
    return b"".join(save_path.joinpath(*entry.path).read_bytes() for entry in metainfo.files)


def files_below(folder: Path) -> set[str]:
    """Return the relative paths of all files below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def open_descriptors() -> set[str]:
    """Return what the descriptors of this process stand for, without the event loop's own."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        if not target.startswith(("anon_inode:", "pipe:", "/dev/", "/proc/")):
            found.add(f"{entry.name} {target}")
    return found
