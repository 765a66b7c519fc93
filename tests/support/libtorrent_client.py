"""Drives a libtorrent session that runs in a process of its own (libtorrent_peer.py)."""

import importlib.util
import json
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.netns import Host
from tests.support.payload import Payload
from tests.support.processes import Program, missing, wait_until

Address = tuple[str, int]


class LibtorrentClient(Program):
    """A libtorrent that listens on one address and answers what it is asked."""

    label = "libtorrent"

    def __init__(
        self, host: Host, folder: Path, *, port: int, address: str | None = None, **settings: Any
    ) -> None:
        if importlib.util.find_spec("libtorrent") is None:
            missing("libtorrent is not installed (PyPI package libtorrent)")
        folder.mkdir(parents=True, exist_ok=True)
        ip = address or host.address()
        self.address: Address = (ip, port)
        self._lock = threading.Lock()
        shown = f"[{ip}]" if ":" in ip else ip
        options = {"listen_interfaces": f"{shown}:{port}", "outgoing_interfaces": ip, **settings}
        script = Path(__file__).with_name("libtorrent_peer.py")
        super().__init__(
            [sys.executable, str(script), json.dumps(options)],
            host=host,
            log=folder / "libtorrent.log",
            pipes=True,
        )

    def add(
        self,
        payload: Payload,
        save_dir: Path,
        *,
        peers: Sequence[Address] = (),
        upload_limit: int = 0,
        download_limit: int = 0,
        pex: bool = True,
    ) -> None:
        """Start a torrent; data that is there is checked first. Limits are bytes per second."""
        self._ask(
            do="add",
            torrent=str(payload.torrent),
            save_path=str(save_dir),
            peers=peers,
            upload_limit=upload_limit,
            download_limit=download_limit,
            pex=pex,
        )

    def add_magnet(
        self, payload: Payload, save_dir: Path, *, peers: Sequence[Address] = ()
    ) -> None:
        """Start a torrent of which only the info-hash is known."""
        magnet = f"magnet:?xt=urn:btih:{payload.info_hash.hex()}"
        self._ask(do="add", magnet=magnet, save_path=str(save_dir), peers=peers)

    def add_link(self, link: str, save_dir: Path, *, peers: Sequence[Address] = ()) -> None:
        """Start the torrent of any magnet link."""
        self._ask(do="add", magnet=link, save_path=str(save_dir), peers=peers)

    def connect(self, payload: Payload, peer: Address) -> None:
        """Connect a torrent to a peer."""
        self._ask(do="connect", info_hash=payload.info_hash.hex(), peer=peer)

    def limit_uploads(self, bytes_per_s: int) -> None:
        """Limit the payload that each torrent sends; 0 is unlimited."""
        self._ask(do="limit_uploads", bytes_per_s=bytes_per_s)

    def progress(self, payload: Payload) -> float:
        """Return the verified share, 0 to 1."""
        status = self.status(payload)
        return 0.0 if status["checking"] else float(status["progress"])

    def uploaded_bytes(self, payload: Payload) -> int:
        """Return the payload sent."""
        return int(self.status(payload)["uploaded_bytes"])

    def status(self, payload: Payload) -> dict[str, Any]:
        """Return everything that is known of one torrent."""
        answer: dict[str, dict[str, Any]] = self._ask(do="status")
        return answer[payload.info_hash.hex()]

    def wait_complete(self, payload: Payload, timeout_s: float = 30.0) -> None:
        """Wait until a torrent has all its pieces, and they are in its files."""
        wait_until(
            lambda: self.progress(payload) == 1.0,
            timeout_s=timeout_s,
            what=f"libtorrent has {payload.name}",
        )
        assert self._ask(do="flush", info_hash=payload.info_hash.hex()), "it is not on the disk"

    def links(self, payload: Payload) -> dict[Address, str]:
        """Return the address of each peer of a torrent, and what carries the link with it."""
        peers = self._ask(do="links", info_hash=payload.info_hash.hex())
        return {tuple(each["address"]): "utp" if each["utp"] else "tcp" for each in peers}

    def peers(self, payload: Payload) -> list[dict[str, Any]]:
        """Return the lines of its peer list of a torrent."""
        return list(self._ask(do="links", info_hash=payload.info_hash.hex()))

    def _ask(self, **request: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with self._lock:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        assert line, f"libtorrent ended: {self.output()[-2000:]}"
        return json.loads(line)
