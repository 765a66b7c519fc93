"""Packets by hand, and two connections that are connected without a link."""

from random import Random
from typing import Any

from torrent_engine.base.config import UtpConfig
from torrent_engine.protocol.utp.connection import UtpConnection
from torrent_engine.protocol.utp.limits import UtpLimits
from torrent_engine.protocol.utp.packet import MASK_16, STATE, SYN, Packet, decode_packet

MIB = 1 << 20
CONFIG = UtpConfig()


def packet(kind: int = STATE, *, payload: bytes = b"", **fields: Any) -> Packet:
    """Return a packet; what is not named is 0, the window is 1 MiB."""
    made = Packet(kind, 0, 0, 0, MIB, 0, 0, b"", memoryview(payload))
    return made._replace(**fields)


def dial(config: UtpConfig = CONFIG, *, now: float = 1.0, seed: int = 1) -> UtpConnection:
    return UtpConnection.dial(config, now=now, rng=Random(seed), is_taken=lambda _id: False)


def accept(
    config: UtpConfig = CONFIG,
    *,
    now: float = 1.0,
    seed: int = 1,
    limits: UtpLimits | None = None,
    **fields: Any,
) -> UtpConnection:
    """Return who answers a SYN with sequence number 1; its numbers begin with a random one."""
    syn = packet(SYN, **{"connection_id": 7, "sequence": 1, **fields})
    return UtpConnection.accept(config, syn, now=now, rng=Random(seed), limits=limits)


def first_of(connection: UtpConnection) -> int:
    """Return the sequence number of the first packet that is not acknowledged."""
    return connection._sender.flight.first & MASK_16


def syn_number_of(connection: UtpConnection) -> int:
    """Return the sequence number of the SYN of a connection that was dialled."""
    return first_of(connection) - 1 & MASK_16


def sent_by(connection: UtpConnection, now: float) -> list[Packet]:
    """Return what it sends, as packets."""
    packets = connection.packets_to_send(now)
    return [decode_packet(header + bytes(payload)) for header, payload in packets]


def connected(
    config: UtpConfig = CONFIG, *, now: float = 1.0, limits: UtpLimits | None = None
) -> UtpConnection:
    """Return an accepted connection that was confirmed; number 1 has come."""
    connection = accept(config, now=now, limits=limits)
    sent_by(connection, now)
    give(connection, packet(STATE, sequence=2, acknowledged=first_of(connection) - 1), now)
    assert connection.is_confirmed
    return connection


def give(connection: UtpConnection, what: Packet, now: float) -> None:
    """Let one packet come, alone."""
    number = what.acknowledged & MASK_16
    connection.receive_packet(what._replace(acknowledged=number), now=now, arrived_s=now)
    connection.batch_ended(now)


def read(connection: UtpConnection, most: int = MIB) -> bytes:
    """Return what can be read now, up to so many bytes."""
    target = bytearray(most)
    return bytes(target[: connection.receive_into(memoryview(target))])
