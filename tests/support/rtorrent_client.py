"""Drives rtorrent without its screen, over SCGI."""

import socket
import xmlrpc.client
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.netns import Host
from tests.support.payload import Payload
from tests.support.processes import Program, require_program, wait_until

CONFIG = """
system.daemon.set = true
directory.default.set = "{folder}"
session.path.set = "{folder}/session"
network.port_range.set = {port}-{port}
network.port_random.set = no
network.scgi.open_local = "{folder}/rpc"
trackers.use_udp.set = yes
pieces.hash.on_completion.set = no
dht.mode.set = {dht}
protocol.pex.set = {pex}
protocol.encryption.set = {encryption}
"""


class RTorrentClient(Program):
    """An rtorrent with a configuration of its own.

    It takes no torrent without a tracker while its DHT is off.
    """

    label = "rtorrent"

    def __init__(
        self,
        host: Host,
        folder: Path,
        *,
        port: int,
        encryption: str = "allow_incoming,try_outgoing,enable_retry",
        pex: bool = False,
        dht_port: int | None = None,
        extra: str = "",
    ) -> None:
        """Start it; ``encryption`` as in its manual, ``extra`` are more lines of configuration."""
        program = require_program("rtorrent", "rtorrent")
        (folder / "session").mkdir(parents=True, exist_ok=True)
        self.host = host
        self.address = (host.address(), port)
        self._socket = str(folder / "rpc")
        text = CONFIG.format(
            folder=folder,
            port=port,
            pex="yes" if pex else "no",
            encryption=encryption,
            dht="on" if dht_port else "disable",
        )
        if dht_port:
            text += f"dht.port.set = {dht_port}\n"
        (folder / "rc").write_text(text + extra)
        super().__init__(
            [program, "-n", "-o", f"import={folder / 'rc'}"],
            host=host,
            log=folder / "rtorrent.log",
            env={"HOME": str(folder), "TERM": "xterm"},
        )
        wait_until(self._answers, timeout_s=60, what="rtorrent answers")

    def version(self) -> str:
        """Return its version."""
        return str(self.call("system.client_version"))

    def add(
        self,
        what: Payload | str,
        save_dir: Path,
        *,
        peers: Sequence[tuple[str, int]] = (),
        commands: Sequence[str] = (),
    ) -> None:
        """Start a torrent or a magnet link; data that is there is checked first."""
        save_dir.mkdir(parents=True, exist_ok=True)
        where = f'd.directory.set="{save_dir}"'
        if isinstance(what, str):
            self.call("load.start", "", what, where, *commands)
        else:
            self.call(
                "load.raw_start",
                "",
                xmlrpc.client.Binary(what.torrent.read_bytes()),
                where,
                *commands,
            )
            self.connect(what, peers)

    def connect(self, payload: Payload, peers: Sequence[tuple[str, int]]) -> None:
        """Have it dial peers."""
        for host, port in peers:
            self.call("add_peer", payload.info_hash.hex().upper(), f"{host}:{port}")

    def info(self, payload: Payload) -> Mapping[str, Any]:
        """Return what it says of a torrent."""
        keys = ("complete", "is_active", "bytes_done", "message", "hashing", "peers_connected")
        name = payload.info_hash.hex().upper()
        return {key: self.call(f"d.{key}", name) for key in keys}

    def peers(self, payload: Payload) -> list[Any]:
        """Return what its peer list shows: address, program, encrypted, incoming."""
        keys = ("p.address=", "p.client_version=", "p.is_encrypted=", "p.is_incoming=")
        return list(self.call("p.multicall", payload.info_hash.hex().upper(), "", *keys))

    def wait_complete(self, payload: Payload, timeout_s: float = 60.0) -> None:
        """Wait until a torrent has all its pieces."""

        def complete() -> bool:
            try:
                facts = self.info(payload)
            except xmlrpc.client.Fault:
                return False
            return bool(facts["complete"] and facts["is_active"] and not facts["hashing"])

        wait_until(complete, timeout_s=timeout_s, what=f"rtorrent has {payload.name}")

    def call(self, method: str, *arguments: Any) -> Any:
        """Return the answer to one call; xmlrpc.client.Fault if it refuses."""
        body = xmlrpc.client.dumps(arguments, method).encode()
        head = b"CONTENT_LENGTH\0%d\0SCGI\x001\0" % len(body)
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(20)
            link.connect(self._socket)
            link.sendall(b"%d:%b,%b" % (len(head), head, body))
            answer = b""
            while data := link.recv(1 << 16):
                answer += data
        (value,), _ = xmlrpc.client.loads(answer.split(b"\r\n\r\n", 1)[1])
        return value

    def _answers(self) -> bool:
        assert self.alive, self.output()[-2000:]
        try:
            self.version()
        except OSError:
            return False
        return True
