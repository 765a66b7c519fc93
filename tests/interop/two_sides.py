"""One of us and one libtorrent, each with a torrent that the other one wants."""

from contextlib import AsyncExitStack
from pathlib import Path

import anyio
from anyio import to_thread

from tests.support.libtorrent_client import LibtorrentClient
from tests.support.payload import make_payload
from tests.support.processes import wait_until
from tests.support.swarm import record
from torrent_engine.base.config import ConnectionEncryption, SessionConfig, TransportProtocol
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.events import Event, PeerConnected
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

PATIENCE_S = 180.0
PAYLOAD_BYTES = 3_000_003


class TwoSides:
    """One of us and one libtorrent, each with a torrent that the other one wants."""

    def __init__(
        self,
        shared: SharedResources,
        theirs: LibtorrentClient,
        folder: Path,
        *,
        payload_bytes: int = PAYLOAD_BYTES,
        piece_bytes: int = 64 * 1024,
    ) -> None:
        self.shared = shared
        self.theirs = theirs
        self.sessions: list[Session] = []
        self.events: list[list[Event]] = []
        self._folder = folder
        for name in ("a", "b"):
            (folder / name).mkdir()
        self.from_us, self.from_them = (
            make_payload(folder / side, name, {name: payload_bytes}, piece_bytes=piece_bytes)
            for side, name in (("a", "ours.bin"), ("b", "theirs.bin"))
        )

    async def add_torrents(self, stack: AsyncExitStack, *peers: tuple[str, int]) -> None:
        """Start both torrents at both; we dial ``peers``."""
        for payload, seed_dir, saved in (
            (self.from_us, self._folder / "a" / "source", self._folder / "they-saved"),
            (self.from_them, self._folder / "we-saved", self._folder / "b" / "source"),
        ):
            await to_thread.run_sync(self.theirs.add, payload, saved)
            session = await Session.create(
                Metainfo.read(str(payload.torrent)),
                self.shared,
                save_path=seed_dir,
                config=SessionConfig(peers=peers),
            )
            self.sessions.append(session)
            self.events.append(record(session))
            await stack.enter_async_context(session)
        await to_thread.run_sync(self.theirs.wait_complete, self.from_them, PATIENCE_S)

    async def be_dialled(self, host: str = "127.0.0.1") -> None:
        """Have libtorrent dial us, for both torrents.

        It does so once in a minute, and whoever comes while a torrent is checked is refused.
        """
        for session, state in zip(self.sessions, (State.SEEDING, State.DOWNLOADING), strict=True):
            with anyio.fail_after(PATIENCE_S):
                await session.wait(state)
        ours = host, self.shared.listen_port
        for payload in (self.from_us, self.from_them):
            await to_thread.run_sync(self.theirs.connect, payload, ours)

    async def wait_complete(self) -> None:
        """Wait until each has the other's torrent."""
        with anyio.move_on_after(PATIENCE_S):
            for session in self.sessions:
                await session.wait(State.SEEDING)
        assert all(session.state is State.SEEDING for session in self.sessions), self.events
        await to_thread.run_sync(self.theirs.wait_complete, self.from_us, PATIENCE_S)

    def is_complete(self) -> bool:
        """Return whether all bytes are right; libtorrent writes some after it says complete."""
        theirs, ours = self._folder / "they-saved", self._folder / "we-saved"
        wait_until(
            lambda: self.from_us.is_complete_in(theirs),
            timeout_s=PATIENCE_S,
            what="libtorrent has written everything",
        )
        return self.from_them.is_complete_in(ours)

    @property
    def links(self) -> set[tuple[TransportProtocol, ConnectionEncryption, bool]]:
        """What carried the links of both torrents, and whether they were incoming."""
        return {
            (event.transport, event.encryption, event.incoming)
            for events in self.events
            for event in events
            if isinstance(event, PeerConnected)
        }
