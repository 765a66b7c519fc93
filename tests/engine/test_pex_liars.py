"""Peer exchange over real sockets: who is named, and messages that are an attack (row B9)."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import anyio.abc
import pytest

from tests.support.scripted_peer import GENEROUS, listening, new_peer_id
from tests.support.swarm import LOOPBACK, record, resources, until
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import (
    NetworkConfig,
    PexConfig,
    PoolConfig,
    SessionConfig,
    UtpConfig,
)
from torrent_engine.base.ids import PeerAddress
from torrent_engine.engine.events import PeerDisconnected
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.swarm.peer_pool import PeerPool
from torrent_engine.protocol.wire.connection import PeerConnection
from torrent_engine.protocol.wire.exchange import PexContact, PexMessage, decode_pex, encode_pex
from torrent_engine.protocol.wire.extension import ExtensionHandshake
from torrent_engine.protocol.wire.messages import (
    ExtensionHandshakeReceived,
    ExtensionMessageReceived,
)

pytestmark = pytest.mark.anyio

METAINFO, _ = make_torrent(payload_of(50_000))
LIARS = 100
EXTENSIONS = {"ut_pex": 3}
EAGER = PoolConfig(
    max_connections_per_torrent=2 * LIARS,
    max_half_open=2 * LIARS,
    quick_retry_first_s=0.01,
    backoff_first_s=0.01,
    backoff_max_s=0.01,
    max_failures=1_000,
)
"""Whoever fails is dialled again at once: nothing but the limit spares the victim."""


class Teller:
    """A peer that says something by ut_pex as soon as it may, then keeps the link."""

    def __init__(
        self, *messages: PexMessage, extensions: Mapping[str, int] | None = EXTENSIONS
    ) -> None:
        self._messages = messages
        self._extensions = extensions
        self.is_heard = False
        self.told = list[PeerAddress]()

    async def __call__(self, stream: anyio.abc.SocketStream) -> None:
        """Serve one connection."""
        async with stream:
            await self._serve(stream)

    async def _serve(self, stream: anyio.abc.SocketStream) -> None:
        connection = PeerConnection(
            geometry=METAINFO.geometry,
            info_hash=METAINFO.info_hash,
            peer_id=new_peer_id(),
            extensions=self._extensions,
            limits=GENEROUS,
        )
        connection.sender.send_handshake()
        await self._flush(connection, stream)
        while True:
            try:
                data = await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return
            for event in connection.receive_data(data, now=anyio.current_time()):
                if isinstance(event, ExtensionHandshakeReceived):
                    self._tell(connection)
                elif isinstance(event, ExtensionMessageReceived) and event.name == "ut_pex":
                    message = decode_pex(event.payload, PexConfig())
                    self.told += [contact.address for contact in message.added]
            await self._flush(connection, stream)

    def _tell(self, connection: PeerConnection) -> None:
        connection.sender.send_extension_handshake(ExtensionHandshake(extensions=EXTENSIONS))
        for message in self._messages:
            assert connection.sender.send_extension("ut_pex", encode_pex(message))
        self.is_heard = True

    @staticmethod
    async def _flush(connection: PeerConnection, stream: anyio.abc.SocketStream) -> None:
        if data := b"".join(connection.data_to_send()):
            await stream.send(data)


@asynccontextmanager
async def connected_to(
    tellers: list[Teller], shared: SharedResources, folder: Path
) -> AsyncIterator[Session]:
    """Run a download that knows only these peers."""
    async with AsyncExitStack() as listeners, anyio.create_task_group() as tasks:
        peers = []
        for teller in tellers:
            listener = await anyio.create_tcp_listener(local_host=LOOPBACK)
            await listeners.enter_async_context(listener)
            tasks.start_soon(listener.serve, teller)
            peers.append((LOOPBACK, listener.extra(anyio.abc.SocketAttribute.local_port)))
        config = SessionConfig(peers=tuple(peers))
        session = await Session.create(METAINFO, shared, save_path=folder, config=config)
        async with session:
            yield session
        tasks.cancel_scope.cancel()


def pool_of(session: Session) -> PeerPool:
    assert session._core.run is not None
    return session._core.run.transfer.pool


async def test_bep11_who_knows_no_extensions_is_named_to_others(tmp_path: Path) -> None:
    plain, asker = Teller(extensions=None), Teller()
    async with resources(tmp_path) as shared, connected_to([plain, asker], shared, tmp_path) as own:
        await until(lambda: asker.told)
        plain_address, _ = own._core.config.peers
        assert asker.told == [PeerAddress(*plain_address)]


async def test_b9_a_victim_that_a_hundred_peers_name_is_dialled_five_times_a_minute(
    tmp_path: Path,
) -> None:
    dials: list[float] = []

    async def victim(stream: anyio.abc.SocketStream) -> None:
        dials.append(anyio.current_time())  # no BitTorrent here: it hangs up

    only_tcp = NetworkConfig(utp=UtpConfig(outgoing=False))  # all dials come to the victim
    async with (
        listening(victim) as (host, port),
        resources(tmp_path, pool=EAGER, network=only_tcp) as shared,
    ):
        contact = PexContact(PeerAddress(host, port))
        liars = [Teller(PexMessage((contact,))) for _ in range(LIARS)]
        async with connected_to(liars, shared, tmp_path / "out") as session:
            await until(lambda: all(liar.is_heard for liar in liars) and len(dials) >= 5)
            candidates = pool_of(session).candidates
            await until(lambda: (candidates.next_due(shared.clock()) or 0) > shared.clock() + 40)
    assert len(dials) == EAGER.max_dials_per_ip_per_minute


async def test_b9_a_peer_that_sends_seven_messages_at_once_is_disconnected(tmp_path: Path) -> None:
    flooder, quiet = Teller(*[PexMessage()] * 7), Teller(*[PexMessage()] * 6)
    async with (
        resources(tmp_path) as shared,
        connected_to([flooder, quiet], shared, tmp_path / "out") as session,
    ):
        events = record(session)
        await until(lambda: any(isinstance(event, PeerDisconnected) for event in events))
        await until(lambda: quiet.is_heard)
        assert len(session.peers()) == 1
        (ended,) = [event for event in events if isinstance(event, PeerDisconnected)]
    assert ended.reason == "more than 6 ut_pex in 60 s (BEP 11)"


async def test_bep11_whom_a_peer_names_is_dialled_and_counted(tmp_path: Path) -> None:
    named = Teller()
    async with listening(named) as address, resources(tmp_path) as shared:
        teller = Teller(PexMessage((PexContact(PeerAddress(*address)),)))
        async with connected_to([teller], shared, tmp_path / "out") as session:
            await until(lambda: session.stats().peers == 2)
            sources = session.stats().sources
    assert (sources["pex"].candidates, sources["pex"].connected) == (1, 1)
    assert (sources["manual"].candidates, sources["manual"].connected) == (1, 1)
