"""What is needed to start a program, and how each is told to seed or download a torrent."""

import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torrent_engine.conformance.errors import ConformanceError, NotOfferedError


@dataclass(frozen=True, slots=True)
class LaunchOrder:
    """What a program is to do: seed or download a torrent, at a port of an address."""

    torrent: Path
    data: Path
    """Folder with the data of the torrent, or for it."""
    home: Path
    """Folder for the program's own files."""
    host: str
    port: int
    downloads: bool = False
    """The folder is empty, and the torrent has a tracker that names peers."""
    magnet: str = ""
    """The link to download instead of a torrent."""
    over_utp: bool = False
    """Take connections over uTP, too; in a download, make such."""
    has_lsd: bool = False
    """Find neighbours on the local network, too."""
    has_encryption: bool = False
    """Try encryption first in a download, which is without it else where that can be told."""

    has_ipv6: bool = False
    """Use every address of this machine, also those of IPv6."""

    @property
    def what(self) -> str:
        """The magnet link, or the path of the torrent."""
        return self.magnet or str(self.torrent)


@dataclass(frozen=True, slots=True)
class LaunchCommand:
    """A command, and what has to be there first."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Paths below the program's own folder."""
    version_argv: tuple[str, ...] = ()
    """Prints the version."""


LaunchBuilder = Callable[[LaunchOrder], LaunchCommand]


def torrent_engine(order: LaunchOrder) -> LaunchCommand:
    """Return the command for the engine that this kit comes with."""
    program = (sys.executable, "-m", "torrent_engine")
    options: tuple[str, ...] = ("--no-dht", "--no-port-mapping")
    options += () if order.has_lsd else ("--no-lsd",)
    if order.downloads:
        encryption = "preferred" if order.has_encryption else "disabled"
        transport = "both" if order.over_utp else "tcp"
        options += ("--seed-ratio", "0", "--transport", transport, "--encryption", encryption)
        options += ("--allow-local-web-seeds",)
    else:
        options += ("--no-resume",)
    place = ("-d", str(order.data), "--port", str(order.port))
    environment = {
        "TORRENT_ENGINE_STATE_DIR": str(order.home / "state"),
        "TORRENT_ENGINE_CONFIG": "/dev/null",
    }
    if order.has_lsd:
        environment["TORRENT_ENGINE_NO_LSD"] = "0"
    verb = "download" if order.downloads else "seed"
    argv = (*program, verb, order.what, *place, *options)
    return LaunchCommand(argv, environment, version_argv=(*program, "--version"))


def libtorrent(order: LaunchOrder) -> LaunchCommand:
    """Return the command for libtorrent, by its package for Python."""
    module = "torrent_engine.conformance.adapters.libtorrent_seed"
    program = (sys.executable, "-m", module)
    options = ("--utp",) * order.over_utp + ("--lsd",) * order.has_lsd
    options += ("--reconnect",) * order.has_encryption + ("--ipv6",) * order.has_ipv6
    argv = (*program, order.what, str(order.data), f"{order.host}:{order.port}", *options)
    return LaunchCommand(argv, version_argv=(*program, "--version"))


def aria2(order: LaunchOrder) -> LaunchCommand:
    """Return the command for aria2. Raises NotOfferedError for uTP.

    A download runs a node of the DHT that knows no other: without one there are no UDP trackers.
    """
    if order.over_utp:
        raise NotOfferedError("aria2 has no uTP")
    program = found_program("aria2c", "aria2")
    argv = (
        program,
        "--no-conf=true",
        f"--dir={order.data}",
        f"--listen-port={order.port}",
        *((f"--interface={order.host}",) if not order.has_ipv6 else ()),
        "--check-integrity=true",
        "--allow-overwrite=true",
        "--seed-ratio=0.0",
        "--bt-max-peers=0",
        f"--enable-dht={str(order.downloads).lower()}",
        f"--dht-listen-port={order.port}",
        f"--dht-file-path={order.home / 'dht.dat'}",
        "--enable-dht6=false",
        f"--bt-enable-lpd={str(order.has_lsd).lower()}",
        f"--bt-lpd-interface={order.host}",
        "--file-allocation=none",
        "--summary-interval=0",
        order.what,
    )
    return LaunchCommand(argv, {"HOME": str(order.home)}, version_argv=(program, "--version"))


def opentracker(order: LaunchOrder) -> LaunchCommand:
    """Raise NotOfferedError: it is a tracker only."""
    raise NotOfferedError("opentracker is a tracker only")


def found_program(program: str, name: str) -> str:
    """Return the path of a program. Raises ConformanceError if it is not installed."""
    path = shutil.which(program)
    if path is None:
        raise ConformanceError(f"{name} is not installed: there is no {program} in PATH")
    return path
