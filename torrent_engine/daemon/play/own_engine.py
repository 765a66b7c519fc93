"""A stream without a daemon: an engine, and a server that knows this one torrent."""

import hashlib
import os
import secrets
import socket
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.daemon.app import create_app
from torrent_engine.daemon.context import DaemonContext, Life, ReloadReport
from torrent_engine.daemon.engine_port.facts import EngineState, ErrorKind, FileFacts
from torrent_engine.daemon.engine_port.manager_port import ManagerPort
from torrent_engine.daemon.http.server import HttpListener, open_server
from torrent_engine.daemon.http.sockets import ListenAddress, bind
from torrent_engine.daemon.play.choice import (
    PlayableFile,
    PlayRequest,
    PlayStream,
    chosen_file,
)
from torrent_engine.daemon.play.watch import PlayProgress, PlayReporter, PlayWatch, watched
from torrent_engine.daemon.security.authentication import Secrets
from torrent_engine.daemon.security.guard import GuardRules
from torrent_engine.daemon.security.lockout import Lockout
from torrent_engine.daemon.security.paths import PathRule
from torrent_engine.daemon.security.records import MemoryCredentials
from torrent_engine.daemon.settings.engine_config import manager_config
from torrent_engine.daemon.settings.loading import Places
from torrent_engine.daemon.settings.store import SettingsStore
from torrent_engine.daemon.state.daemon_state import DaemonState
from torrent_engine.daemon.state.store import DaemonStore
from torrent_engine.daemon.stream import routes as stream
from torrent_engine.daemon.wiring import make_authenticator
from torrent_engine.net.http.torrent_fetch import FetchOptions
from torrent_engine.service import sources
from torrent_engine.service.add_options import AddOptions

LINK_S: Final = 30 * 86_400  # ours: longer than a film is paused
METADATA_POLL_S: Final = 0.1
TEMPORARY: Final = "torrent-engine-stream-"
OVERRIDES: Final = ("network.port=0", "paths.incomplete=")
"""A port of its own, since a daemon's is known to others; and no folder but one."""
STATES: Final = "stream"
"""Folder of the states of streams that are kept."""
_LOOKING: Final = frozenset({EngineState.FETCHING_METADATA, EngineState.DOWNLOADING})


@dataclass(frozen=True, slots=True)
class OwnPlaces:
    """Where a stream without a daemon has its settings and its state, and where it is served."""

    settings: Places
    state_dir: Path
    """That of a daemon; streams that are kept have theirs below it."""
    listen: ListenAddress


@asynccontextmanager
async def own_stream(
    request: PlayRequest, places: OwnPlaces, reporter: PlayReporter
) -> AsyncIterator[PlayStream]:
    """Download a torrent, and serve its file, until the end of the block.

    Raises what is wrong with the torrent, NetworkError if nothing can listen there, and OSError.
    """
    sockets = bind(places.listen, hint="choose another port with --port")
    async with AsyncExitStack() as stack:
        for each in sockets:
            stack.callback(each.close)
        torrent = await _loaded(request, places.settings)
        own = tempfile.TemporaryDirectory(prefix=TEMPORARY)
        folder = Path(stack.enter_context(own))
        state = folder / "state"
        if request.keep is not None:
            state = kept_state(places.state_dir, torrent.info_hash, request.keep)
        engine = await stack.enter_async_context(_engine(state, places.settings))
        await engine.add(torrent, request, request.keep or folder / "files")
        watch = PlayWatch(engine.progress, reporter, request.timeout_s)
        await stack.enter_async_context(watched(watch))
        found = await engine.choose(request.file)
        app = create_app(engine.context, [stream.router])
        listeners = [HttpListener("http", each) for each in sockets]
        await stack.enter_async_context(open_server(app, listeners))
        address = ListenAddress(_shown_host(places.listen.host), sockets[0].getsockname()[1])
        yield engine.stream(found, f"http://{address}")


def kept_state(state_dir: Path, info_hash: InfoHash, keep: Path) -> Path:
    """Return the folder of the state of one torrent that is kept in one folder.

    Another run finds there which bytes of the files are the torrent's. Two torrents, or one in two
    folders, have nothing in common, so that they may be played at a time.
    """
    place = hashlib.sha256(os.fsencode(keep.resolve())).hexdigest()[:8]
    return state_dir / STATES / f"{info_hash.hex()}-{place}"


async def _loaded(request: PlayRequest, places: Places) -> Metainfo | Magnet:
    """Return the torrent; what is at a URL is fetched as the settings say."""
    if not sources.is_url(request.source):
        return await sources.load(request.source, request.stdin)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY) as folder:
        async with _engine(Path(folder), places) as engine:
            return await engine.context.port.engine.fetch_torrent(request.source, FetchOptions())


@asynccontextmanager
async def _engine(state: Path, places: Places) -> AsyncIterator["OwnEngine"]:
    _make_private(state)
    own = replace(places, options=(*OVERRIDES, *places.options))
    settings = SettingsStore(own, now=time.time)
    ports = ManagerPort()
    async with ports.open(manager_config(settings.now, state)):
        context = DaemonContext(
            port=ports.port,
            settings_store=settings,
            authenticator=make_authenticator(
                Secrets(secrets.token_urlsafe(), "", "", frozenset()),
                MemoryCredentials(),
                secrets.token_urlsafe(),
            ),
            lockout=Lockout(time.monotonic),
            state=DaemonState(ports.port, DaemonStore()),
            life=Life(_nothing_to_reload),
            rules=GuardRules(),
            paths=PathRule(list),
            state_dir=state,
        )
        context.life.running()
        yield OwnEngine(context)


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


async def _nothing_to_reload() -> ReloadReport:
    return ReloadReport()


class OwnEngine:
    """The torrent that is played."""

    def __init__(self, context: DaemonContext) -> None:
        self.context = context
        self._port = context.port
        self._key = InfoHash(bytes(20))

    async def add(self, torrent: Metainfo | Magnet, request: PlayRequest, folder: Path) -> None:
        """Add the torrent; of files that are known what is chosen is downloaded only."""
        chosen = None if isinstance(torrent, Magnet) else chosen_file(torrent, request.file)
        options = AddOptions(
            save_path=str(folder),
            sequential=True,
            files_wanted=None if chosen is None else (chosen.index,),
            peers=tuple((each.host, each.port) for each in request.peers) or None,
        )
        added = await self._port.engine.add(torrent, options)
        self._key = added.info_hash
        await self.context.state.reload()
        if not added.is_new:  # an earlier run kept it
            await self._port.control.start(self._key)
            for each in request.peers:
                await self._port.settings.add_peer(self._key, each.host, each.port)

    async def choose(self, wanted: str) -> PlayableFile:
        """Wait for the metadata, and download the file that is chosen only."""
        metainfo = await self._metainfo()
        chosen = chosen_file(metainfo, wanted)
        priorities = [4 * (index == chosen.index) for index in range(len(metainfo.files))]
        if self._port.torrents.facts(self._key).settings.file_priorities != tuple(priorities):
            await self._port.settings.set_file_priorities(self._key, dict(enumerate(priorities)))
        return chosen

    async def _metainfo(self) -> Metainfo:
        while (found := await self._port.torrents.metainfo(self._key)) is None:  # noqa: ASYNC110
            await anyio.sleep(METADATA_POLL_S)
        return found

    async def progress(self) -> PlayProgress:
        """Return how far the torrent is. Raises the error that ended it."""
        if (failure := self._port.torrents.failure(self._key)) is not None:
            raise failure
        facts = self._port.torrents.facts(self._key)
        progress, tracker = facts.progress, facts.progress.tracker
        return PlayProgress(
            has_metadata=facts.about.has_metadata,
            is_looking=progress.state in _LOOKING and not progress.is_held,
            completed=progress.completed_bytes,
            received=progress.all_downloaded_bytes,
            wanted=progress.wanted_bytes,
            bytes_per_s=facts.rates.download_bytes_per_s,
            peers=facts.rates.peers,
            refusal=tracker.message if tracker.kind is ErrorKind.TRACKER_ERROR else "",
        )

    def stream(self, file: PlayableFile, address: str) -> PlayStream:
        """Return where the file is served, for everybody who has the link."""
        expires_at = int(time.time()) + LINK_S
        links = self.context.authenticator.links
        signature = links.sign(self._key.hex(), str(file.index), expires_at)
        path = stream.stream_path(self._key, FileFacts(file.index, file.path, file.size_bytes))
        name = self._port.torrents.facts(self._key).about.name
        return PlayStream(self._key.hex(), name, file, f"{address}{path}?t={signature}")


def _shown_host(host: str) -> str:
    """Return a host by which others reach a listener; of every address it is that of the route."""
    if host and not _is_unspecified(host):
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: only the route is looked up
        except OSError:
            return "127.0.0.1"
        address: str = probe.getsockname()[0]
        return address


def _is_unspecified(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False
