"""Our DHT as a user runs it: ``torrent-engine dht``, a node and questions to it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.engine_client import Address, EngineProcess, format_peer
from tests.support.netns import ADDRESSES_PER_HOST, Host
from tests.support.processes import Program, free_port, wait_until

ROOT = Path(__file__).parents[2]
QUESTION_TIMEOUT_S = 60.0
PATIENCE_S = 180.0


class EngineNode(EngineProcess):
    """``torrent-engine dht node``; runs until ended."""

    def __init__(
        self, host: Host, folder: Path, *bootstrap: Address, address: str | None = None
    ) -> None:
        self.address: Address = (address or host.address(), free_port())
        super().__init__(
            host,
            folder,
            "dht",
            [
                *("node", "--json", "--listen", self.address[0]),
                *("--udp-port", str(self.address[1])),
                *bootstrap_options(bootstrap),
            ],
            name="dht-node",
        )
        self.wait_event("dht.started")

    @property
    def node_count(self) -> int:
        """How many nodes answered it, as it said last."""
        return max((each["nodes"] for each in self._stats()), default=0)

    def wait_nodes(self, count: int, timeout_s: float = 20.0) -> None:
        """Wait until it knows so many nodes."""
        wait_until(
            lambda: self.node_count >= count, timeout_s=timeout_s, what=f"we know {count} nodes"
        )

    def _stats(self) -> list[Mapping[str, int]]:
        events = list(self.events("dht.stats"))
        networks = events[-1] if events else {}
        return [each for each in networks.values() if isinstance(each, dict)]


class EngineNodes(Program):
    """Two nodes of ours at each address of a host, in one process; they know each other."""

    def __init__(self, host: Host, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        ports = [free_port(), free_port()]
        hosts = [host.address(index + 1) for index in range(ADDRESSES_PER_HOST)]
        self.addresses: list[Address] = [(each, port) for port in ports for each in hosts]
        super().__init__(
            [sys.executable, "-m", "tests.support.dht_swarm", *map(str, ports), *hosts],
            host=host,
            log=folder / "dht-nodes.log",
            env={"PYTHONPATH": str(ROOT)},
        )
        try:
            wait_until(self._all_there, timeout_s=30, what="our nodes know each other")
        except AssertionError:
            self.end()
            raise

    def _all_there(self) -> bool:
        assert self.alive, self.output()[-2000:]
        return "ready" in self.output()


def bootstrap_options(bootstrap: Sequence[Address]) -> list[str]:
    """Return the options that name nodes to begin with."""
    return [word for node in bootstrap for word in ("--bootstrap", format_peer(node))]


def ask_dht(
    host: Host, *words: str, by: Sequence[Address], address: str | None = None
) -> dict[str, Any]:
    """Run one question of ``torrent-engine dht``; return its JSON, and its exit code as "code"."""
    return ask_engine(host, "dht", *words, by=by, address=address)


def ask_engine(
    host: Host, *words: str, by: Sequence[Address], address: str | None = None
) -> dict[str, Any]:
    """Run a command that asks the DHT; return its JSON, and its exit code as "code"."""
    options = ["--json", "--listen", address or host.address(), *bootstrap_options(by)]
    argv = [sys.executable, "-m", "torrent_engine", *words, *options]
    done = subprocess.run(
        host.command(argv),
        capture_output=True,
        text=True,
        check=False,
        timeout=QUESTION_TIMEOUT_S,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode in {0, 2, 3}, done.stderr
    answer = json.loads(done.stdout) if done.stdout else {}
    return {**answer, "code": done.returncode}


def peers_of(host: Host, info_hash: str, by: Address, address: str | None = None) -> set[str]:
    """Return whom a question of ours finds."""
    return set(ask_dht(host, "get-peers", info_hash, by=[by], address=address).get("peers", ()))


def wait_found(peer: Address, look: Callable[[], set[str]], timeout_s: float = PATIENCE_S) -> None:
    """Wait until a peer is found."""
    wait_until(
        lambda: format_peer(peer) in look(), timeout_s=timeout_s, what=f"{peer} is in the DHT"
    )
