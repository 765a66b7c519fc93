"""Runs webtorrent (npm) below Node.js; ``WEBTORRENT`` names the folder that it was installed in."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.netns import Host
from tests.support.payload import Payload
from tests.support.processes import Program, missing, require_program, wait_until

PEER = Path(__file__).with_name("webtorrent_peer.mjs")


def package_folder() -> Path:
    """Return where webtorrent is; skip if it is not installed."""
    place = os.environ.get("WEBTORRENT")
    if place is None:
        missing("webtorrent is not installed (npm), or WEBTORRENT does not say where")
    return Path(place, "node_modules", "webtorrent")


class WebTorrentClient(Program):
    """A webtorrent with one torrent; data that is there is checked first."""

    label = "webtorrent"

    def __init__(
        self,
        host: Host,
        folder: Path,
        what: Payload | str,
        save_dir: Path,
        *,
        port: int,
        peers: Sequence[tuple[str, int]] = (),
        **changes: Any,
    ) -> None:
        """Start it; ``changes`` are entries of its task, as in ``webtorrent_peer.mjs``."""
        program = require_program("node", "nodejs")
        folder.mkdir(parents=True, exist_ok=True)
        self.address = (host.address(), port)
        task = {
            "module": str(package_folder() / "index.js"),
            "torrent": what if isinstance(what, str) else str(what.torrent),
            "save_path": str(save_dir),
            "port": port,
            "peers": [f"{peer}:{number}" for peer, number in peers],
            **dict.fromkeys(("utp", "dht", "tracker", "lsd", "pex", "secure"), False),
            **changes,
        }
        super().__init__(
            [program, str(PEER), json.dumps(task)], host=host, log=folder / "webtorrent.log"
        )

    def events(self, kind: str) -> Iterator[Mapping[str, Any]]:
        """Yield what it said so far of one kind, oldest first."""
        for line in self.output().splitlines():
            if line.startswith("{"):
                event = json.loads(line)
                if event["type"] == kind:
                    yield event

    def wait_complete(self, timeout_s: float = 60.0) -> None:
        """Wait until it has all its pieces."""

        def done() -> bool:
            assert self.alive, self.output()[-2000:]
            return any(self.events("done"))

        wait_until(done, timeout_s=timeout_s, what="webtorrent is done")
