"""A slow seed that notes what passes: python -m tests.support.crash_seed ... (a process).

It prints its port, serves until its standard input ends, and appends a record for each block that
it sends, and for each bitfield that it gets, to a log that others read while it runs.
"""

import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import Lock, Thread
from types import TracebackType
from typing import NamedTuple, Self

from torrent_engine.base.config import WireLimits
from torrent_engine.base.ids import PeerId
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.protocol.wire.connection import PeerConnection
from torrent_engine.protocol.wire.messages import (
    HandshakeReceived,
    PeerBitfield,
    PeerEvent,
    PeerInterested,
    ProtocolViolated,
)

_RECORD = struct.Struct("=ddII")
_MAX_BURST_S = 0.02
_NUMBERS = count()
_MANY = 1_000_000
_BITFIELD = 0xFFFF_FFFF


class Record(NamedTuple):
    """One record of the log; times are of the monotonic clock, which all processes share."""

    accepted_s: float
    """When the connection came."""
    time_s: float
    piece: int
    begin_bytes: int
    """Of the block; in the record of a bitfield how many pieces it has."""

    @property
    def is_bitfield(self) -> bool:
        return self.piece == _BITFIELD


class Throttle:
    """The rate of all connections together."""

    def __init__(self, bytes_per_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._free_s = 0.0
        self._lock = Lock()

    def take(self, length_bytes: int) -> float:
        """Take ``length_bytes`` and return 0, or take nothing and return how long to wait."""
        with self._lock:
            now = time.monotonic()
            if now < self._free_s:
                return self._free_s - now
            self._free_s = max(self._free_s, now - _MAX_BURST_S) + length_bytes / self._bytes_per_s
            return 0.0


@dataclass
class Seed:
    """What all connections share."""

    metainfo: Metainfo
    payload: bytes
    throttle: Throttle
    log: int

    def serve(self, sock: socket.socket) -> None:
        """Serve one connection to its end."""
        accepted_s = time.monotonic()
        connection = self._connection()
        connection.sender.send_handshake()
        with sock:
            try:
                while self._step(sock, connection, accepted_s):
                    sock.sendall(b"".join(connection.data_to_send()))
            except OSError:
                return  # the other side was killed

    def _connection(self) -> PeerConnection:
        return PeerConnection(
            geometry=self.metainfo.geometry,
            info_hash=self.metainfo.info_hash,
            peer_id=PeerId(f"-CS0001-{next(_NUMBERS):012}".encode()),
            extensions={},
            limits=WireLimits(max_choked_requests=_MANY, max_queued_requests=_MANY),
        )

    def _step(self, sock: socket.socket, connection: PeerConnection, accepted_s: float) -> bool:
        """Read once, or send one block if its time has come; False when the peer hung up."""
        if connection.has_data_to_send:
            return True
        wait_s = None
        if request := connection.upload_requests.first():
            wait_s = self.throttle.take(request.length_bytes)
            if not wait_s:
                self._send_block(connection, accepted_s)
                return True
        if not select.select([sock], [], [], wait_s)[0]:
            return True
        received = sock.recv_into(connection.receive_buffer())
        for event in connection.bytes_received(received, now=time.monotonic()):
            self._answer(connection, event)
            if isinstance(event, PeerBitfield):
                self._note(accepted_s, _BITFIELD, event.bitfield.count)
        return bool(received)

    def _send_block(self, connection: PeerConnection, accepted_s: float) -> None:
        piece, begin, length = connection.upload_requests.popleft()
        start = self.metainfo.geometry.piece_offset(piece) + begin
        connection.sender.send_block(piece, begin, memoryview(self.payload)[start : start + length])
        self._note(accepted_s, piece, begin)

    def _note(self, accepted_s: float, piece: int, number: int) -> None:
        os.write(self.log, _RECORD.pack(accepted_s, time.monotonic(), piece, number))

    def _answer(self, connection: PeerConnection, event: PeerEvent) -> None:
        if isinstance(event, HandshakeReceived):
            connection.sender.send_bitfield(Bitfield.full(self.metainfo.piece_count))
        elif isinstance(event, PeerInterested):
            connection.sender.unchoke()
        elif isinstance(event, ProtocolViolated):
            raise event.error


class SeedLog:
    """Reads the records of a seed's log as they come."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self._file = path.open("rb", buffering=0)
        self._rest = b""

    def close(self) -> None:
        self._file.close()

    def new(self) -> Iterator[Record]:
        """Yield what was noted since the last call."""
        data = self._rest + self._file.readall()
        whole = len(data) // _RECORD.size * _RECORD.size
        self._rest = data[whole:]
        return map(Record._make, _RECORD.iter_unpack(data[:whole]))


class SeedProcess:
    """The seed in a process of its own; ended on leaving."""

    def __init__(self, folder: Path, hosts: Sequence[str], bytes_per_s: float) -> None:
        """Start it on ``x.torrent`` and ``payload`` in ``folder``, on a port of all ``hosts``."""
        self.log = SeedLog(folder / "seed.log")
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(folder), str(bytes_per_s), *hosts],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert self._process.stdout is not None
        port = self._process.stdout.readline().strip()
        self.addresses = [f"{host}:{port}" for host in hosts]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self.log.close()


def _accept_all(seed: Seed, listener: socket.socket) -> None:
    while True:
        sock, _ = listener.accept()
        Thread(target=seed.serve, args=(sock,), daemon=True).start()


def main(folder: Path, bytes_per_s: float, hosts: Sequence[str]) -> None:
    metainfo = Metainfo.read(folder / "x.torrent")
    log = os.open(folder / "seed.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    payload = (folder / "payload").read_bytes()
    seed = Seed(metainfo, payload, Throttle(bytes_per_s), log)
    port = 0
    for host in hosts:
        listener = socket.create_server((host, port))
        port = listener.getsockname()[1]
        Thread(target=_accept_all, args=(seed, listener), daemon=True).start()
    print(port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
