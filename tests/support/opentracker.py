"""Runs opentracker. Debian's build serves only info-hashes of a whitelist."""

import os
from collections.abc import Iterable
from pathlib import Path

from tests.support.netns import Host
from tests.support.processes import Program, accepts_at, require_program, wait_until


class OpenTracker(Program):
    """An opentracker for the given info-hashes, on one port for HTTP and UDP."""

    def __init__(
        self,
        host: Host,
        folder: Path,
        info_hashes: Iterable[bytes],
        *,
        port: int,
        address: str | None = None,
    ) -> None:
        program = require_program("opentracker", "opentracker")
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)  # it reads the list after chroot, as nobody
        lines = "".join(f"{info_hash.hex()}\n" for info_hash in info_hashes)
        (folder / "whitelist").write_text(lines)
        self.host = host
        self.address = (address or host.address(), port)
        authority = f"{self.address[0]}:{port}"
        self.http_url = f"http://{authority}/announce"
        self.udp_url = f"udp://{authority}/announce"
        restricted = os.geteuid() == 0
        where = ["-d", str(folder), "-w", "whitelist" if restricted else str(folder / "whitelist")]
        super().__init__(
            [program, "-i", self.address[0], "-p", str(port), "-P", str(port), *where],
            host=host,
            log=folder / "opentracker.log",
        )
        wait_until(self._accepts, timeout_s=60, what="opentracker listens")

    def _accepts(self) -> bool:
        assert self.alive, self.output()[-2000:]
        return self.host.call(lambda: accepts_at(self.address))
