"""One run of one rule of a DHT node: nodes of the kit, and the program that they ask."""

import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

import anyio
from anyio.abc import TaskGroup

from torrent_engine.conformance.bencoding import Bencodable
from torrent_engine.conformance.dht.kit_node import KitNode
from torrent_engine.conformance.dht.krpc import KrpcArguments, KrpcMessage, NodeAddress, text_of
from torrent_engine.conformance.dht.network import DhtLab
from torrent_engine.conformance.dht.node_subject import NodeFactory, NodePort
from torrent_engine.conformance.errors import UndecidedError
from torrent_engine.conformance.lab import HOST6
from torrent_engine.conformance.raw_peer import RawPeer
from torrent_engine.conformance.torrent_set import SampleTorrent
from torrent_engine.conformance.waiting import held_within
from torrent_engine.conformance.wire_log import WireLog

START_S: Final = 60.0  # from the start of a process to its first query or answer
ANSWERED: Final = "answered"
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"


class DhtCase:
    """What the function of a rule of a node works with."""

    def __init__(
        self,
        limit_s: float,
        program: NodePort,
        create: NodeFactory,
        lab: DhtLab,
        tasks: TaskGroup,
        *,
        patience: float = 1.0,
    ) -> None:
        self.limit_s = limit_s * patience
        self.patience = patience
        self.program = program
        """Runs already, with nodes of the kit in its table; rules share it."""
        self.log = WireLog(anyio.current_time)
        self._create = create
        self._lab = lab
        self._tasks = tasks
        self._own = AsyncExitStack()
        self._nodes = 0

    @property
    def target(self) -> NodeAddress:
        """Where the program's node is."""
        return self.program.address

    async def close(self) -> None:
        """End the processes of this case alone."""
        with anyio.CancelScope(shield=True):
            await self._own.aclose()

    async def node(self, host: str | None = None) -> KitNode:
        """Return a node at an address of its own."""
        label = _LETTERS[self._nodes % len(_LETTERS)]
        self._nodes += 1
        port = await self._lab.network.open(host or next(self._lab.addresses))
        node = KitNode(port, self.log, label, self.patience)
        self._tasks.start_soon(node.serve)
        return node

    async def connect(self, source: str) -> RawPeer:
        """Connect to the program as a peer. Raises SubjectUnreachableError."""
        peer = RawPeer(await self.program.connect(source), self.log, "p", source)
        self._own.push_async_callback(peer.close)
        return peer

    async def node6(self) -> KitNode:
        """Return a node at an address of IPv6. Raises NotOfferedError if there is none."""
        return await self.node(HOST6)

    @property
    def target6(self) -> NodeAddress:
        """Where the program's node is over IPv6, if it has one."""
        return HOST6, self.target[1]

    async def ask(
        self, method: str, arguments: KrpcArguments | None = None, **extra: Bencodable
    ) -> KrpcMessage:
        """Ask the program from a new node; return the answer. Raises UndecidedError."""
        return await (await self.node()).ask(self.target, method, arguments, **extra)

    async def announce(
        self, node: KitNode, info_hash: bytes, port: int = 6881, **more: int
    ) -> KrpcMessage | None:
        """Get a token and announce a peer with it; return the answer to that."""
        token = await self.token(node, info_hash)
        arguments: dict[bytes, Bencodable] = {
            b"info_hash": info_hash,
            b"port": port,
            b"token": token,
            **{key.encode(): value for key, value in more.items()},
        }
        return await node.try_asking(self.target, "announce_peer", arguments)

    async def token(self, node: KitNode, info_hash: bytes) -> bytes:
        """Return a token for an announce. Raises UndecidedError."""
        found = await node.ask(self.target, "get_peers", {b"info_hash": info_hash})
        token = text_of(found.values, b"token")
        if not token:
            raise UndecidedError("it gave no token")
        return token

    async def peers(self, info_hash: bytes, node: KitNode | None = None) -> list[bytes]:
        """Return the peers that the program names for a hash."""
        node = node or await self.node()
        found = await node.ask(self.target, "get_peers", {b"info_hash": info_hash})
        return found.peers

    async def until(self, condition: Callable[[], bool], within_s: float) -> bool:
        """Wait for a condition; return whether it held in time."""
        return await held_within(condition, within_s)

    async def start(self, *nodes: KitNode) -> NodePort:
        """Start a process for this case alone, which knows these nodes first.

        Raises UndecidedError if it asks none of them.
        """
        program = await self.start_quietly(*nodes)
        start_s = START_S * self.patience
        if not await self.until(lambda: any(each.queries for each in nodes), start_s):
            raise UndecidedError("it asks none of the nodes that it was told of")
        return program

    async def start_quietly(
        self, *nodes: KitNode, torrent: SampleTorrent | None = None
    ) -> NodePort:
        """Start a process for this case alone, whatever it asks; ``torrent``: with this one."""
        program = await self._own.enter_async_context(self._create())
        if torrent is not None:
            program.torrent = torrent
        await program.start([each.address for each in nodes])
        return program


def random_hash() -> bytes:
    """Return a hash that nobody else uses."""
    return random.randbytes(20)  # noqa: S311 - nothing is secret


async def ping(node: KitNode, to: NodeAddress) -> bool:
    """Return whether a ping is answered."""
    return await node.try_asking(to, "ping") is not None
