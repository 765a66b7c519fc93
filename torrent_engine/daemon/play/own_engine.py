"""A stream without a daemon: an engine, and a server that knows this one torrent."""

import secrets
import socket
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
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
from torrent_engine.daemon.engine_port.facts import FileFacts
from torrent_engine.daemon.engine_port.manager_port import ManagerPort
from torrent_engine.daemon.http.server import HttpListener, open_server
from torrent_engine.daemon.http.sockets import ListenAddress, bind
from torrent_engine.daemon.play.choice import (
    PlayableFile,
    PlayRequest,
    PlayStream,
    chosen_file,
)
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
OVERRIDES: Final = ("network.port=0", "paths.incomplete=")
"""A port of its own, since a daemon's is known to others; and no folder but one."""


@asynccontextmanager
async def own_stream(
    request: PlayRequest, places: Places, listen: ListenAddress
) -> AsyncIterator[PlayStream]:
    """Download a torrent, and serve its file, until the end of the block.

    Raises what is wrong with the torrent, NetworkError if nothing can listen there, and OSError.
    """
    sockets = bind(listen, hint="choose another port with --port")
    async with AsyncExitStack() as stack:
        for each in sockets:
            stack.callback(each.close)
        own = tempfile.TemporaryDirectory(prefix="torrent-engine-stream-")
        folder = Path(stack.enter_context(own))
        engine = await stack.enter_async_context(_engine(folder, places))
        keep = folder / "files" if request.keep is None else request.keep
        found = await engine.add(request, keep)
        app = create_app(engine.context, [stream.router])
        listeners = [HttpListener("http", each) for each in sockets]
        await stack.enter_async_context(open_server(app, listeners))
        address = ListenAddress(_shown_host(listen.host), sockets[0].getsockname()[1])
        yield engine.stream(found, f"http://{address}")


@asynccontextmanager
async def _engine(folder: Path, places: Places) -> AsyncIterator["OwnEngine"]:
    state = folder / "state"
    state.mkdir(mode=0o700)
    settings = SettingsStore(places, now=time.time)
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


async def _nothing_to_reload() -> ReloadReport:
    return ReloadReport()


class OwnEngine:
    """The torrent that is played."""

    def __init__(self, context: DaemonContext) -> None:
        self.context = context
        self._port = context.port
        self._key = InfoHash(bytes(20))

    async def add(self, request: PlayRequest, folder: Path) -> PlayableFile:
        """Add the torrent, wait for its metadata, and download what is chosen of it only."""
        torrent = await self._load(request)
        chosen = None if isinstance(torrent, Magnet) else chosen_file(torrent, request.file)
        options = AddOptions(
            save_path=str(folder),
            sequential=True,
            files_wanted=None if chosen is None else (chosen.index,),
            peers=tuple((each.host, each.port) for each in request.peers) or None,
        )
        self._key = (await self._port.engine.add(torrent, options)).info_hash
        await self.context.state.reload()
        if chosen is None:
            metainfo = await self._metainfo()
            chosen = chosen_file(metainfo, request.file)
            wanted = [4 * (index == chosen.index) for index in range(len(metainfo.files))]
            await self._port.settings.set_file_priorities(self._key, wanted)
        return chosen

    async def _load(self, request: PlayRequest) -> Metainfo | Magnet:
        if sources.is_url(request.source):
            return await self._port.engine.fetch_torrent(request.source, FetchOptions())
        return await sources.load(request.source, request.stdin)

    async def _metainfo(self) -> Metainfo:
        while (found := await self._port.torrents.metainfo(self._key)) is None:  # noqa: ASYNC110
            await anyio.sleep(METADATA_POLL_S)
        return found

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
