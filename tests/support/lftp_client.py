"""Runs lftp with one torrent."""

from pathlib import Path

from tests.support.netns import Host
from tests.support.payload import Payload
from tests.support.processes import Program, require_program, wait_until


class LftpClient(Program):
    """An lftp with one torrent, whose tracker is the only way to peers beside the DHT and PEX."""

    label = "lftp"

    def __init__(
        self,
        host: Host,
        folder: Path,
        what: Payload | str,
        save_dir: Path,
        *,
        port: int,
        dht: str = "",
        limit_bytes_per_s: int = 0,
    ) -> None:
        """Start it; ``dht`` is an address where its DHT begins, none: it has none."""
        program = require_program("lftp", "lftp")
        for each in (folder, save_dir):
            each.mkdir(parents=True, exist_ok=True)
        self.address = (host.address(), port)
        self.save_dir = save_dir
        source = what if isinstance(what, str) else str(what.torrent)
        settings = {
            "torrent:port-range": str(port),
            "torrent:ip": host.address(),
            "torrent:use-dht": "yes" if dht else "no",
            "net:limit-rate": str(limit_bytes_per_s),
            "torrent:stop-on-ratio": "1000",
            "torrent:stop-min-ppr": "1000",
            "torrent:timeout": "1d",
            "torrent:seed-max-time": "1d",
            "cmd:move-background": "no",
        }
        script = [f"set {name} {value}" for name, value in settings.items()]
        script.append(f"torrent {f'--dht-bootstrap={dht}' if dht else ''} -O {save_dir} '{source}'")
        super().__init__(
            [program, "-c", "debug -T 9; " + "; ".join([*script, "wait all"])],
            host=host,
            log=folder / "lftp.log",
            env={"HOME": str(folder), "LFTP_HOME": str(folder)},
        )

    def wait_complete(self, payload: Payload, timeout_s: float = 60.0) -> None:
        """Wait until its files are whole."""
        wait_until(
            lambda: payload.is_complete_in(self.save_dir, with_empty=False),
            timeout_s=timeout_s,
            what=f"lftp has {payload.name}",
        )
