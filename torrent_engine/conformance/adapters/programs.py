"""The programs that the kit knows by name, and programs of a TOML file."""

import string
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from torrent_engine.conformance.adapters.launch import (
    LaunchBuilder,
    LaunchCommand,
    LaunchOrder,
    aria2,
    libtorrent,
    opentracker,
    torrent_engine,
)
from torrent_engine.conformance.adapters.qbittorrent import qbittorrent
from torrent_engine.conformance.adapters.rtorrent import rtorrent
from torrent_engine.conformance.adapters.transmission import transmission
from torrent_engine.conformance.adapters.webtorrent import webtorrent
from torrent_engine.conformance.errors import ConformanceError, NotOfferedError

BUILDERS: Final[Mapping[str, LaunchBuilder]] = {
    "torrent-engine": torrent_engine,
    "libtorrent": libtorrent,
    "transmission": transmission,
    "aria2": aria2,
    "rtorrent": rtorrent,
    "qbittorrent": qbittorrent,
    "webtorrent": webtorrent,
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
        _refuse_options(order)
        if order.over_utp and not utp:
            raise NotOfferedError(f"{path} has no command for uTP")
        seeding = utp if order.over_utp else command
        words = magnet if order.magnet else download if order.downloads else seeding
        argv = tuple(_filled(path, word, values) for word in words)
        return LaunchCommand(argv, filled, version_argv=version)

    return build


def _refuse_options(order: LaunchOrder) -> None:
    """Raise NotOfferedError for what the commands of a file have no words for."""
    if order.has_lsd:
        raise NotOfferedError("programs of a file are started without local discovery")
    if order.has_encryption:
        raise NotOfferedError("programs of a file are started to download without encryption")
    if order.downloads and order.over_utp:
        raise NotOfferedError("programs of a file are started to download without uTP")


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
