"""A swarm in one network namespace and our download in another: alone, and with a proxy between.

Whatever is seen on our side, our process sent it. Names are known on the other side only; ours has
a name server that never answers, so that a look-up is seen.
"""

import json
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.capture import Packet, capturing
from tests.support.engine_client import EngineTracker
from tests.support.libtorrent_client import LibtorrentClient
from tests.support.netns import Host
from tests.support.nginx import Nginx
from tests.support.payload import Payload, make_payload
from tests.support.processes import Program, free_port, wait_until

ROOT = Path(__file__).parents[2]
NETNS_FILES = Path("/etc/netns")
PROXY, SEED, TRACKER, WEB_SEED, OUTSIDE, NODE, NAME_SERVER = range(1, 8)
"""Which of the addresses on the other side is whose."""
TRACKER_NAME, WEB_SEED_NAME = "tracker.test", "seed.test"
DNS_PORT = 53
WAIT_S = 100.0


@contextmanager
def files_of(host: Host, files: Mapping[str, str]) -> Iterator[None]:
    """Let programs that are started in a namespace see these files of /etc."""
    assert host.namespace
    folder = NETNS_FILES / host.namespace
    folder.mkdir(parents=True)
    try:
        for name, text in files.items():
            (folder / name).write_text(text)
        yield
    finally:
        for name in files:
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


class NetworkChild(Program):
    """Our download in a process of its own."""

    def __init__(self, host: Host, folder: Path, **order: object) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.save_dir = folder / "saved"
        script = str(ROOT / "tests" / "support" / "network_child.py")
        text = json.dumps({"folder": str(folder), **order}, default=str)
        env = {"PYTHONPATH": str(ROOT)}
        super().__init__([sys.executable, script, text], host=host, log=folder / "log", env=env)

    def facts(self, kind: str) -> list[dict[str, str]]:
        """Return what it told so far of one kind."""
        lines = (line for line in self.output().splitlines() if line.startswith("{"))
        return [fact for line in lines if (fact := json.loads(line))["type"] == kind]

    @property
    def listen_port(self) -> int:
        return int(self.facts("open")[0]["port"])

    def wait_complete(self) -> None:
        """Wait until it has everything; it goes on as a seed."""
        self.wait_for("complete")

    def wait_for(self, kind: str, count: int = 1) -> None:
        """Wait until it told so often of one kind."""

        def told() -> bool:
            assert self.alive, self.output()[-3000:]
            return len(self.facts(kind)) >= count

        wait_until(told, timeout_s=WAIT_S, what=kind)


@dataclass(frozen=True)
class Sent:
    """What our side sent."""

    packets: Sequence[Packet]
    proxy_host: str

    @property
    def around_the_proxy(self) -> list[Packet]:
        """What was not sent to the proxy."""
        return [packet for packet in self.packets if packet.target[0] != self.proxy_host]

    @property
    def datagrams(self) -> list[Packet]:
        return [packet for packet in self.packets if packet.is_udp]

    @property
    def look_ups(self) -> list[Packet]:
        return [packet for packet in self.datagrams if packet.target[1] == DNS_PORT]

    @property
    def targets(self) -> set[str]:
        return {packet.target[0] for packet in self.packets}

    def has(self, text: bytes) -> bool:
        return any(text in packet.payload for packet in self.packets)

    def wait_for(self, text: bytes) -> None:
        """Wait until a packet has it."""
        wait_until(lambda: self.has(text), timeout_s=WAIT_S, what=f"a packet with {text!r}")


class ProxiedSwarm:
    """Makes both sides."""

    def __init__(self, hosts: tuple[Host, Host], folder: Path, programs: ExitStack) -> None:
        self.left, self.right = hosts
        self.folder = folder
        self.programs = programs
        self.proxy_address = self.right.address(PROXY), free_port()
        names = (TRACKER, TRACKER_NAME), (WEB_SEED, WEB_SEED_NAME)
        lines = [f"{self.right.address(number)} {name}\n" for number, name in names]
        programs.enter_context(files_of(self.right, {"hosts": "".join(lines)}))
        resolver = f"nameserver {self.right.address(NAME_SERVER)}\noptions timeout:1 attempts:1\n"
        programs.enter_context(files_of(self.left, {"resolv.conf": resolver, "hosts": ""}))

    def payload(self, name: str = "proxied.bin", length: int = 1_500_003) -> Payload:
        return make_payload(self.folder, name, {name: length})

    def tracked(self, payload: Payload, *schemes: str, has_name: bool = True) -> Payload:
        """Start a tracker, whose name, if it has one, our side cannot look up."""
        address, port = self.right.address(TRACKER), free_port()
        folder = self.folder / "tracker"
        tracker = EngineTracker(self.right, folder, port=port, address=address, only_there=True)
        self.programs.enter_context(tracker)
        tracker.wait_listening()
        authority = f"{TRACKER_NAME if has_name else address}:{port}"
        urls = [f"{scheme}://{authority}/announce" for scheme in schemes or ("http",)]
        return payload.announced_to(*urls)

    def seed(
        self, payload: Payload, *, host: str | None = None, **settings: bool | str
    ) -> tuple[str, int]:
        """Start a libtorrent that has it all; return its address when its trackers know it.

        At another ``host`` no tracker needs to hear of it.
        """
        seed = LibtorrentClient(
            self.right,
            self.folder / "seed",
            port=free_port(),
            address=host or self.right.address(SEED),
            **settings,
        )
        self.programs.enter_context(seed)
        seed.add(payload, payload.source_dir)
        seed.wait_complete(payload)
        if host is None:
            wait_until(
                lambda: bool(seed.status(payload)["announced"]),
                timeout_s=WAIT_S,
                what="the seed is known",
            )
        return seed.address

    def dht_node(self) -> tuple[str, int]:
        address = self.right.address(NODE)
        node = LibtorrentClient(
            self.right,
            self.folder / "node",
            port=free_port(),
            address=address,
            enable_dht=True,
            dht_bootstrap_nodes="",
        )
        return self.programs.enter_context(node).address

    def web_seed(self, payload: Payload, *, has_name: bool = True) -> Payload:
        """Start an nginx, whose name, if it has one, our side cannot look up."""
        address = self.right.address(WEB_SEED), free_port()
        root = payload.source_dir
        server = Nginx(self.right, self.folder / "nginx", root, address=address)
        self.programs.enter_context(server)
        host = WEB_SEED_NAME if has_name else address[0]
        return payload.with_web_seeds(f"http://{host}:{address[1]}/")

    @contextmanager
    def downloading(self, payload: Payload, **order: object) -> Iterator[tuple[NetworkChild, Sent]]:
        """Run our download, and see what it sends."""
        folder = self.folder / f"ours-{secrets.token_hex(2)}"
        with (
            capturing(self.left) as capture,
            NetworkChild(
                self.left, folder, torrent=payload.torrent, port=free_port(), **order
            ) as child,
        ):
            yield child, Sent(capture.packets, self.proxy_address[0])
