"""Drives a TorrentManager that runs in a child process (tests/support/manager_child.py)."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.engine_client import Address
from tests.support.netns import Host
from tests.support.payload import Payload
from tests.support.processes import Program, free_port

ROOT = Path(__file__).parents[2]
Status = Mapping[str, Any]


class ManagerProcess(Program):
    """One process of many torrents; the next one with its folder takes them up again."""

    def __init__(self, host: Host, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.save_dir = folder / "saved"
        script = str(ROOT / "tests/support/manager_child.py")
        super().__init__(
            [sys.executable, script, str(free_port()), str(folder / "state"), str(self.save_dir)],
            host=host,
            log=folder / "manager.log",
            env={"PYTHONPATH": str(ROOT)},
            pipes=True,
        )

    def add(
        self, payload: Payload, peer: Address, *, priority: int, files: Sequence[int] | None
    ) -> None:
        """Add a torrent that one peer has."""
        self.ask("add", torrent=str(payload.torrent), peers=[peer], priority=priority, files=files)

    def all(self) -> list[Status]:
        """Return how all stand, in the order of the queue."""
        answer: list[Status] = self.ask("status")
        return answer

    def status(self, payload: Payload) -> Status:
        """Return how one stands."""
        return next(each for each in self.all() if each["info_hash"] == payload.info_hash.hex())

    def ask(self, command: str, **words: Any) -> Any:
        """Let it do something; return its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([command, words]).encode() + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the manager ended: {self.output()[-3000:]}"
        return json.loads(line)
