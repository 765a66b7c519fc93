"""A seed whose files are cut short while it sends them; ends with SIGBUS if it reads a mapping.

Arguments: a folder, and how the link is made ("tcp", "paced", "rc4", "utp", "utp rc4" or "joined",
which is TCP on a system that has no ``sendmsg``). Prints the state of the seed at the end.
"""

import faulthandler
import os
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel

from tests.engine.test_encrypted_transfers import P, network
from tests.support.swarm import PATIENCE_S, address_of, reach, resources, until
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.base.config import SessionConfig, TransportProtocol
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.net.peers.transport import TcpTransport
from torrent_engine.net.sockets import vectored as gather

Send = Callable[[Sequence[bytes | memoryview]], int]

MIB = 1024 * 1024
METAINFO, PAYLOAD = make_torrent(payload_of(16 * MIB), piece_bytes=256 * 1024)


def waiting_bytes(session: Session) -> int:
    """Return how much payload waits at the links of a seed, read and not sent."""
    run, count = session._core.run, 0
    for peer in run.torrent.peers if run is not None else ():
        transport = getattr(peer.link.transport, "inner", peer.link.transport)
        if isinstance(transport, TcpTransport):  # else the system takes all there is
            transport._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)
        count += sum(map(len, peer.link._pending))
    return count


class Cut:
    """Cuts the files of a seed short, once."""

    def __init__(self, folder: Path) -> None:
        self.is_done = False
        self._folder = folder
        self._links: set[object] = set()
        self._sent_bytes = 0

    def now(self) -> None:
        """Cut all files."""
        self.is_done = True
        for path in self._folder.rglob("*"):
            if path.is_file():
                os.truncate(path, 0)

    def when_sent(self, seed: Session) -> None:
        """Cut them when the links of a seed hand payload over, before it is copied or encrypted.

        Not the first: a file is opened by a thread, and read from then on at once.
        """
        run = seed._core.run
        for peer in run.torrent.peers if run is not None else ():
            if peer.link not in self._links:
                self._links.add(peer.link)
                transport: Any = peer.link.transport  # where an attribute may be set
                transport.send_some = partial(self._send, transport.send_some)

    def _send(self, send: Send, buffers: Sequence[bytes | memoryview]) -> int:
        self._sent_bytes += sum(map(len, buffers))
        if not self.is_done and self._sent_bytes > MIB:
            self.now()
        return send(buffers)


def is_sending(link: str, seed: Session, leech: Session) -> bool:
    """Return whether payload waits at the link; at a pace, whether some of it has come."""
    if link == "paced":  # what waits there depends on the phase of its steps
        return leech.stats().downloaded_bytes > 64 * 1024
    return waiting_bytes(seed) > 8 * 1024


async def main(folder: Path, link: str) -> None:
    protocol = TransportProtocol.UTP if "utp" in link else TransportProtocol.TCP
    is_encrypted = "rc4" in link
    theirs = network(incoming=P.REQUIRED if is_encrypted else P.ALLOWED, protocol=protocol)
    ours = network(outgoing=P.REQUIRED if is_encrypted else P.DISABLED, protocol=protocol)
    config = SessionConfig(max_upload_bytes_per_s=100_000 if link == "paced" else 0)
    write_files(METAINFO, PAYLOAD, folder / "files")
    cut = Cut(folder / "files")
    async with (
        resources(folder / "seed", network=theirs) as shared,
        resources(folder / "leech", network=ours) as other,
        await Session.create(METAINFO, shared, save_path=folder / "files", config=config) as seed,
    ):
        await reach(seed, State.SEEDING)
        one = SessionConfig(peers=(address_of(shared),))
        leech = await Session.create(METAINFO, other, save_path=folder / "out", config=one)
        async with leech:
            with anyio.fail_after(3 * PATIENCE_S):  # two engines in one process beside other tests
                if link not in {"tcp", "paced"}:  # what is handed over is read in Python
                    while not cut.is_done:
                        cut.when_sent(seed)
                        await anyio.lowlevel.checkpoint()
                else:
                    while not is_sending(link, seed, leech):
                        await anyio.lowlevel.checkpoint()
                    cut.now()
            await until(lambda: seed.state is State.ERROR or not seed.peers())
            while seed.state is not State.ERROR:  # over plain TCP only the link has ended
                await leech.add_peer(*address_of(shared))
                with anyio.move_on_after(0.5):
                    await seed.wait(State.ERROR)
            print(seed.state.value, seed.error)


if __name__ == "__main__":
    faulthandler.enable()
    if sys.argv[2] == "joined":
        gather.HAS_SENDMSG = False  # type: ignore[misc]
    anyio.run(main, Path(sys.argv[1]), sys.argv[2])
