"""A node of the kit: asks what it is told to ask, and answers as it is told."""

import ipaddress
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final

import anyio

from torrent_engine.conformance.bencoding import Bencodable
from torrent_engine.conformance.dht.krpc import (
    ID_BYTES,
    KrpcArguments,
    KrpcMessage,
    NodeAddress,
    parse_krpc,
    query,
    response,
)
from torrent_engine.conformance.dht.network import DatagramPort
from torrent_engine.conformance.errors import UndecidedError
from torrent_engine.conformance.wire_log import WireLog

ANSWER_S: Final = 3.0
TRIES: Final = 3
TOKEN: Final = b"kit token"
_SHOWN: Final = 100


class KitNode:
    """One node; it answers each query with what ``answer`` returns."""

    def __init__(self, port: DatagramPort, log: WireLog, label: str, patience: float = 1.0) -> None:
        self._port = port
        self._sending = anyio.Lock()
        self._log = log
        self._label = label
        self._patience = patience
        self.node_id = random.randbytes(ID_BYTES)  # noqa: S311 - nothing is secret
        self.contacts: list[KitNode] = []
        """The nodes that it names."""
        self.answer: NodeAnswer = usual_answers
        self.received: list[KrpcMessage] = []
        """Responses and errors, oldest first."""
        self.queries: list[KrpcMessage] = []
        self._pending: list[tuple[bytes, NodeAddress]] = []
        """Answers that are to be sent."""
        self._has_pending = anyio.Event()
        self._has_received = anyio.Event()

    @property
    def address(self) -> NodeAddress:
        """Where it is."""
        return self._port.address

    @property
    def compact(self) -> bytes:
        """Its contact information, as "nodes" has it."""
        host, port = self.address
        return self.node_id + ipaddress.ip_address(host).packed + port.to_bytes(2, "big")

    async def serve(self) -> None:
        """Receive and answer until cancelled."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._send_pending)
                while True:
                    with suppress(anyio.BrokenResourceError):  # nobody was at the last address
                        self._take(*await self._port.receive())
        finally:
            with anyio.CancelScope(shield=True):
                await self._port.aclose()

    def _take(self, data: bytes, sender: NodeAddress) -> None:
        self._log.add(f"{self._label}<", repr(data[:_SHOWN]))
        message = parse_krpc(data, sender, anyio.current_time())
        if message is None:
            return
        if message.kind != b"q":
            self.received.append(message)
            self._has_received.set()
            self._has_received = anyio.Event()
            return
        self.queries.append(message)
        self.answer_soon(self.answer(self, message), sender)

    def answer_soon(self, datagrams: Iterable[bytes], to: NodeAddress) -> None:
        """Send these after what waits to be sent already."""
        self._pending += [(each, to) for each in datagrams]
        self._has_pending.set()

    async def _send_pending(self) -> None:
        while True:
            while self._pending:
                await self.send(*self._pending.pop(0))
            await self._has_pending.wait()
            self._has_pending = anyio.Event()

    async def send(self, data: bytes, to: NodeAddress) -> None:
        """Send any bytes."""
        self._log.add(f"{self._label}>", repr(data[:_SHOWN]))
        async with self._sending:
            await self._port.send(data, to)

    async def wait(
        self, condition: Callable[[KrpcMessage], bool], within_s: float = ANSWER_S
    ) -> KrpcMessage | None:
        """Return the first response or error that fits; None after the time."""
        with anyio.move_on_after(within_s * self._patience):
            while True:
                for each in self.received:
                    if condition(each):
                        return each
                await self._has_received.wait()
        return None

    async def try_asking(
        self,
        to: NodeAddress,
        method: str,
        arguments: KrpcArguments | None = None,
        **extra: Bencodable,
    ) -> KrpcMessage | None:
        """Send a query with our id; return what comes, None if that is nothing."""
        transaction = random.randbytes(2)  # noqa: S311 - nothing is secret
        data = query(transaction, method, {b"id": self.node_id, **(arguments or {})}, **extra)
        return await self.try_sending(to, data, transaction)

    async def try_sending(
        self, to: NodeAddress, data: bytes, transaction: bytes
    ) -> KrpcMessage | None:
        """Send bytes; return what comes with this transaction, None if that is nothing."""
        before = len(self.received)
        await self.send(data, to)
        await self.wait(lambda each: each.transaction == transaction)
        new = [each for each in self.received[before:] if each.transaction == transaction]
        return new[0] if new else None

    async def ask(
        self,
        to: NodeAddress,
        method: str,
        arguments: KrpcArguments | None = None,
        **extra: Bencodable,
    ) -> KrpcMessage:
        """Send a query, again if nothing comes; return the answer. Raises UndecidedError."""
        for _ in range(TRIES):
            if (found := await self.try_asking(to, method, arguments, **extra)) is not None:
                return found
        raise UndecidedError(f"{method} was not answered")


NodeAnswer = Callable[[KitNode, KrpcMessage], Sequence[bytes]]
"""Returns the datagrams that answer a query."""


def usual_answers(node: KitNode, asked: KrpcMessage) -> Sequence[bytes]:
    """Answer as a node should that stores nothing."""
    return (response(asked.transaction, usual_values(node, asked)),)


def usual_values(node: KitNode, asked: KrpcMessage) -> dict[bytes, Bencodable]:
    """Return the values of the answer to a query."""
    values: dict[bytes, Bencodable] = {b"id": node.node_id}
    if asked.method in {"find_node", "get_peers", "get", "sample_infohashes"}:
        values[b"nodes"] = b"".join(each.compact for each in node.contacts)
    if asked.method in {"get_peers", "get"}:
        values[b"token"] = TOKEN
    return values


def answer_nothing(_: KitNode, __: KrpcMessage) -> Sequence[bytes]:
    """Be silent."""
    return ()
