"""What is needed to start a program, and how each is told to seed or download a torrent."""

import json
import shutil
import string
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

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
    """Take connections over uTP, too."""

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
    options: tuple[str, ...] = ("--no-dht", "--no-lsd", "--no-port-mapping")
    if order.downloads:
        options += ("--seed-ratio", "0", "--transport", "tcp", "--encryption", "disabled")
        options += ("--allow-local-web-seeds",)
    else:
        options += ("--no-resume",)
    place = ("-d", str(order.data), "--port", str(order.port))
    environment = {
        "TORRENT_ENGINE_STATE_DIR": str(order.home / "state"),
        "TORRENT_ENGINE_CONFIG": "/dev/null",
    }
    verb = "download" if order.downloads else "seed"
    argv = (*program, verb, order.what, *place, *options)
    return LaunchCommand(argv, environment, version_argv=(*program, "--version"))


def libtorrent(order: LaunchOrder) -> LaunchCommand:
    """Return the command for libtorrent, by its package for Python."""
    module = "torrent_engine.conformance.adapters.libtorrent_seed"
    program = (sys.executable, "-m", module)
    options = ("--utp",) if order.over_utp else ()
    argv = (*program, order.what, str(order.data), f"{order.host}:{order.port}", *options)
    return LaunchCommand(argv, version_argv=(*program, "--version"))


_TRANSMISSION: Final[Mapping[str, object]] = {
    "dht-enabled": False,
    "lpd-enabled": False,
    "port-forwarding-enabled": False,
    "encryption": 1,
    "ratio-limit-enabled": False,
    "idle-seeding-limit-enabled": False,
    "rpc-enabled": False,
    "start-added-torrents": True,
    "trash-original-torrent-files": False,
    "upload-slots-per-torrent": 100,
    "watch-dir-enabled": True,
    "watch-dir-force-generic": True,
}


def transmission(order: LaunchOrder) -> LaunchCommand:
    """Return the command for transmission-daemon, which takes the torrent from a watched folder."""
    program = _found("transmission-daemon", "Transmission")
    settings = {
        **_TRANSMISSION,
        "bind-address-ipv4": order.host,
        "download-dir": str(order.data),
        "peer-port": order.port,
        "utp-enabled": order.over_utp,
        "watch-dir": str(order.home / "watched"),
    }
    files = {
        "settings.json": json.dumps(settings).encode(),
    }
    if order.magnet:
        files["watched/sample.magnet"] = order.magnet.encode()
    else:
        files["watched/sample.torrent"] = order.torrent.read_bytes()
    argv = (program, "--foreground", "--config-dir", str(order.home))
    environment = {"HOME": str(order.home), "TR_CURL_VERBOSE": ""}
    return LaunchCommand(argv, environment, files, (program, "--version"))


def aria2(order: LaunchOrder) -> LaunchCommand:
    """Return the command for aria2. Raises NotOfferedError for uTP."""
    if order.over_utp:
        raise NotOfferedError("aria2 has no uTP")
    program = _found("aria2c", "aria2")
    argv = (
        program,
        "--no-conf=true",
        f"--dir={order.data}",
        f"--listen-port={order.port}",
        f"--interface={order.host}",
        "--check-integrity=true",
        "--allow-overwrite=true",
        "--seed-ratio=0.0",
        "--bt-max-peers=0",
        "--enable-dht=false",
        "--enable-dht6=false",
        "--bt-enable-lpd=false",
        "--file-allocation=none",
        "--summary-interval=0",
        order.what,
    )
    return LaunchCommand(argv, {"HOME": str(order.home)}, version_argv=(program, "--version"))


def opentracker(order: LaunchOrder) -> LaunchCommand:
    """Raise NotOfferedError: it is a tracker only."""
    raise NotOfferedError("opentracker is a tracker only")


BUILDERS: Final[Mapping[str, LaunchBuilder]] = {
    "torrent-engine": torrent_engine,
    "libtorrent": libtorrent,
    "transmission": transmission,
    "aria2": aria2,
    "opentracker": opentracker,
}


def builder_named(name: str) -> LaunchBuilder:
    """Return what builds the command of a program: a name of the table, or a file of TOML.

    Raises ConformanceError.
    """
    if name in BUILDERS:
        return BUILDERS[name]
    if not name.endswith(".toml"):
        raise ConformanceError(f"no program {name}; known: {', '.join(BUILDERS)}, or a .toml file")
    return _from_toml(Path(name))


def _from_toml(path: Path) -> LaunchBuilder:
    """Read ``command = ["program", "{torrent}", "{data}", "{home}", "{host}", "{port}"]``.

    ``download`` is the same for an empty folder, ``magnet`` with ``{magnet}`` for a link; ``utp``
    is the first one again, with uTP.
    """
    try:
        table = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConformanceError(f"{path}: {error}") from error
    command, download, magnet, utp = (
        _strings(path, table, key) for key in ("command", "download", "magnet", "utp")
    )
    if not command:
        raise ConformanceError(f"{path}: command is missing")
    version = _strings(path, table, "version")
    environment = table.get("environment", {})
    if not isinstance(environment, dict):
        raise ConformanceError(f"{path}: environment is not a table")

    def build(order: LaunchOrder) -> LaunchCommand:
        values = {
            name: str(getattr(order, name))
            for name in ("torrent", "data", "home", "host", "port", "magnet")
        }
        filled = {key: _filled(path, str(text), values) for key, text in environment.items()}
        if order.downloads and not download:
            raise NotOfferedError(f"{path} has no command for downloads")
        if order.magnet and not magnet:
            raise NotOfferedError(f"{path} has no command for magnet links")
        if order.over_utp and not utp:
            raise NotOfferedError(f"{path} has no command for uTP")
        seeding = utp if order.over_utp else command
        words = magnet if order.magnet else download if order.downloads else seeding
        argv = tuple(_filled(path, word, values) for word in words)
        return LaunchCommand(argv, filled, version_argv=version)

    return build


def _strings(path: Path, table: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ConformanceError(f"{path}: {key} is not a list of strings")
    return tuple(value)


def _filled(path: Path, text: str, values: Mapping[str, str]) -> str:
    try:
        return string.Formatter().vformat(text, (), values)
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        names = ", ".join(f"{{{name}}}" for name in values)
        raise ConformanceError(f"{path}: {text!r}: what may stand in braces is {names}") from error


def _found(program: str, name: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise ConformanceError(f"{name} is not installed: there is no {program} in PATH")
    return path
