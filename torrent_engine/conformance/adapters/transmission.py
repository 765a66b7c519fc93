"""How Transmission is told to seed or download a torrent, or to run a node of the DHT."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from torrent_engine.conformance.adapters.launch import LaunchCommand, LaunchOrder, found_program
from torrent_engine.conformance.adapters.process import free_port
from torrent_engine.conformance.errors import NotOfferedError
from torrent_engine.conformance.lab import LOOPBACK

_TRANSMISSION: Final[Mapping[str, object]] = {
    "dht-enabled": False,
    "lpd-enabled": False,
    "peer-limit-global": 2_000,
    "peer-limit-per-torrent": 1_000,
    "port-forwarding-enabled": False,
    "encryption": 1,
    "ratio-limit-enabled": False,
    "idle-seeding-limit-enabled": False,
    "rpc-enabled": False,
    "rpc-bind-address": "127.0.0.1",
    "start-added-torrents": True,
    "trash-original-torrent-files": False,
    "upload-slots-per-torrent": 100,
    "watch-dir-enabled": True,
    "watch-dir-force-generic": True,
}


_ADDER: Final = "torrent_engine.conformance.adapters.transmission_add"
_ADDS: Final = '"$0" -m "$1" "$2" "$3" & shift 3; exec "$@"'
"""The program that adds a link runs beside the daemon, which is the process of the kit."""


def transmission(order: LaunchOrder) -> LaunchCommand:
    """Return the command for transmission-daemon, which takes the torrent from a watched folder."""
    program = found_program("transmission-daemon", "Transmission")
    settings: dict[str, object] = {
        **_TRANSMISSION,
        "bind-address-ipv4": order.host,
        "download-dir": str(order.data),
        "lpd-enabled": order.has_lsd,
        "peer-port": order.port,
        "utp-enabled": order.over_utp,
        "watch-dir": str(order.home / "watched"),
    }
    argv: tuple[str, ...] = (program, "--foreground", "--config-dir", str(order.home))
    if order.magnet:
        settings.update({"rpc-enabled": True, "rpc-port": (rpc := free_port())})
        argv = ("/bin/sh", "-c", _ADDS, sys.executable, _ADDER, str(rpc), order.magnet, *argv)
    files = {"settings.json": json.dumps(settings).encode(), "watched/.keep": b"-"}
    if not order.magnet:
        files["watched/sample.torrent"] = order.torrent.read_bytes()
    environment = {"HOME": str(order.home), "TR_CURL_VERBOSE": ""}
    return LaunchCommand(argv, environment, files, (program, "--version"))


def transmission_node(order: LaunchOrder, nodes: Sequence[str]) -> LaunchCommand:
    """Return the command for transmission-daemon, which takes nodes from a file.

    Raises NotOfferedError on loopback: its DHT leaves out those addresses.
    """
    if order.host == LOOPBACK.host:
        raise NotOfferedError("the DHT of Transmission leaves out nodes on its own machine")
    command = transmission(order)
    settings = {**json.loads(command.files["settings.json"]), "dht-enabled": True}
    lines = "".join(f"{node.replace(':', ' ')}\n" for node in nodes)
    files = {
        **command.files,
        "settings.json": json.dumps(settings).encode(),
        "dht.bootstrap": lines.encode(),
    }
    return replace(command, files=files)
