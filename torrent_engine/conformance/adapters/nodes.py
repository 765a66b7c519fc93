"""How programs are told to run a node of the DHT, and such a program that the kit starts."""

import shutil
import sys
import tomllib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from anyio.abc import ByteStream

from torrent_engine.conformance.adapters.download import write_files
from torrent_engine.conformance.adapters.guarded import GuardedProcess
from torrent_engine.conformance.adapters.launch import (
    LaunchBuilder,
    LaunchCommand,
    LaunchOrder,
)
from torrent_engine.conformance.adapters.process import free_port
from torrent_engine.conformance.adapters.programs import BUILDERS, builder_named
from torrent_engine.conformance.adapters.qbittorrent import qbittorrent_node
from torrent_engine.conformance.adapters.rtorrent import rtorrent_node
from torrent_engine.conformance.adapters.transmission import transmission_node
from torrent_engine.conformance.adapters.webtorrent import webtorrent_node
from torrent_engine.conformance.dht.krpc import NodeAddress
from torrent_engine.conformance.errors import (
    ConformanceError,
    NotOfferedError,
)
from torrent_engine.conformance.subject import connect_from
from torrent_engine.conformance.torrent_set import SampleTorrent, write_sample

NODE_KEY: Final = "node"
NodeBuilder = Callable[[LaunchOrder, Sequence[str]], LaunchCommand]
"""Takes the nodes, as HOST:PORT, that the program is to know first."""


def torrent_engine(order: LaunchOrder, nodes: Sequence[str]) -> LaunchCommand:
    """Return the command for the engine that this kit comes with."""
    command = BUILDERS["torrent-engine"](order)
    argv = [each for each in command.argv if each != "--no-dht"]
    for each in nodes:
        argv += ["--dht-bootstrap", each]
    environment = {**command.environment, "TORRENT_ENGINE_NO_DHT": "0"}
    return replace(command, argv=tuple(argv), environment=environment)


def libtorrent(order: LaunchOrder, nodes: Sequence[str]) -> LaunchCommand:
    """Return the command for libtorrent, by its package for Python."""
    program = (sys.executable, "-m", "torrent_engine.conformance.adapters.libtorrent_node")
    argv = (*program, str(order.torrent), str(order.data), f"{order.host}:{order.port}", *nodes)
    return LaunchCommand(argv, version_argv=(*program, "--version"))


def aria2(order: LaunchOrder, nodes: Sequence[str]) -> LaunchCommand:
    """Return the command for aria2, which takes one node."""
    plain = BUILDERS["aria2"](order)
    argv = (
        plain.argv[0],
        "--no-conf=true",
        f"--dir={order.data}",
        f"--listen-port={order.port}",
        f"--dht-listen-port={order.port}",
        f"--dht-file-path={order.home / 'dht.dat'}",
        f"--dht-entry-point={nodes[0]}",
        "--enable-dht=true",
        "--enable-dht6=false",
        "--check-integrity=true",
        "--seed-ratio=0.0",
        "--bt-enable-lpd=false",
        "--summary-interval=0",
        str(order.torrent),
    )
    return replace(plain, argv=argv)


NODE_BUILDERS: Final[Mapping[str, NodeBuilder]] = {
    "torrent-engine": torrent_engine,
    "libtorrent": libtorrent,
    "transmission": transmission_node,
    "aria2": aria2,
    "rtorrent": rtorrent_node,
    "qbittorrent": qbittorrent_node,
    "webtorrent": webtorrent_node,
}


def node_builder_named(name: str) -> NodeBuilder:
    """Return what builds the command of a node: a name of the table, or a file of TOML.

    Raises ConformanceError.
    """
    if name in NODE_BUILDERS:
        return NODE_BUILDERS[name]
    return _from_toml(Path(name), builder_named(name))


def _from_toml(path: Path, seeding: LaunchBuilder) -> NodeBuilder:
    """Read ``node = ["program", "{torrent}", "{port}", "{nodes}"]``; the last is many words."""
    words = tomllib.loads(path.read_text()).get(NODE_KEY, [])
    if not isinstance(words, list) or not all(isinstance(each, str) for each in words):
        raise ConformanceError(f"{path}: {NODE_KEY} is not a list of strings")

    def build(order: LaunchOrder, nodes: Sequence[str]) -> LaunchCommand:
        if not words:
            raise NotOfferedError(f"{path} has no command for nodes")
        names = ("torrent", "data", "home", "host", "port")
        argv: list[str] = []
        for word in words:
            filled = word
            for name in names:
                filled = filled.replace(f"{{{name}}}", str(getattr(order, name)))
            argv += nodes if word == "{nodes}" else [filled.replace("{nodes}", ",".join(nodes))]
        return replace(seeding(order), argv=tuple(argv))

    return build


@dataclass(slots=True)
class StartedNode:
    """A process with a folder of its own; see :class:`NodeLauncher`."""

    name: str
    builder: NodeBuilder
    torrent: SampleTorrent
    folder: Path
    address: NodeAddress
    command: LaunchCommand | None = None
    process: GuardedProcess | None = None

    async def start(self, bootstrap: Sequence[NodeAddress]) -> None:
        """Start it, with the nodes that it is to know first. Raises ConformanceError."""
        home = self.folder / "home"
        home.mkdir(parents=True, exist_ok=True)
        path = write_sample(self.torrent, self.folder)
        order = LaunchOrder(path, self.folder / "data", home, *self.address)
        nodes = [f"{host}:{port}" for host, port in bootstrap]
        self.command = self.builder(order, nodes)
        write_files(self.command, home)
        log = self.folder / "program.log"
        self.process = await GuardedProcess.open(self.command, log, home)

    async def connect(self, source: str) -> ByteStream:
        """Connect from an address of ours: it takes peers at the port of its node."""
        return await connect_from(source, *self.address)

    def is_running(self) -> bool:
        """Return whether the process has not ended."""
        return self.process is not None and self.process.returncode is None

    async def stop(self) -> None:
        """End the process, and remove its folder."""
        process, self.process = self.process, None
        if process is not None:
            await process.end()
        shutil.rmtree(self.folder, ignore_errors=True)


class NodeLauncher:
    """Makes fresh programs below a folder, each with the data of a torrent."""

    def __init__(
        self,
        name: str,
        builder: NodeBuilder,
        torrent: SampleTorrent,
        folder: Path,
        host: str,
    ) -> None:
        self._name = name
        self._host = host
        self._builder = builder
        self._torrent = torrent
        self._folder = folder
        self._count = 0
        self.command: LaunchCommand | None = None
        """Of the first one that was started."""

    @asynccontextmanager
    async def create(self) -> AsyncIterator[StartedNode]:
        """Return a program that has not been started; it is ended when the block ends."""
        self._count += 1
        folder = self._folder / f"node{self._count}"
        address = (self._host, free_port())
        program = StartedNode(self._name, self._builder, self._torrent, folder, address)
        try:
            yield program
        finally:
            self.command = self.command or program.command
            await program.stop()
