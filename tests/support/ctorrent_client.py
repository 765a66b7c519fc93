"""Runs ctorrent (Enhanced CTorrent) with one torrent: HTTP trackers, no extensions."""

from pathlib import Path

from tests.support.netns import Host
from tests.support.payload import Payload
from tests.support.processes import Program, require_program, wait_until


class CTorrentClient(Program):
    """A ctorrent with one torrent; data that is there is checked first."""

    label = "ctorrent"

    def __init__(
        self, host: Host, folder: Path, payload: Payload, save_dir: Path, *, port: int
    ) -> None:
        program = require_program("ctorrent", "ctorrent")
        for each in (folder, save_dir):
            each.mkdir(parents=True, exist_ok=True)
        self.address = (host.address(), port)
        self.save_dir = save_dir
        where = save_dir / payload.name
        super().__init__(
            [
                program,
                "-s",
                str(where),
                "-e",
                "24",
                "-p",
                str(port),
                "-i",
                host.address(),
                "-v",
                str(payload.torrent),
            ],
            host=host,
            log=folder / "ctorrent.log",
            env={"HOME": str(folder)},
        )

    def wait_complete(self, payload: Payload, timeout_s: float = 60.0) -> None:
        """Wait until its files are whole."""
        wait_until(
            lambda: payload.is_complete_in(self.save_dir, with_empty=False),
            timeout_s=timeout_s,
            what=f"ctorrent has {payload.name}",
        )
