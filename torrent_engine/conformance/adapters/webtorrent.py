"""How webtorrent is told to seed or download a torrent, or to run a node of the DHT."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

from torrent_engine.conformance.adapters.launch import LaunchCommand, LaunchOrder, found_program
from torrent_engine.conformance.errors import ConformanceError, NotOfferedError

SCRIPT: Final = Path(__file__).with_name("webtorrent.mjs")
FOLDER: Final = "WEBTORRENT"
"""Variable of the environment: where ``npm install --ignore-scripts webtorrent`` was run."""


def webtorrent(order: LaunchOrder) -> LaunchCommand:
    """Return the command for webtorrent, by its package for Node.js.

    Raises NotOfferedError for local service discovery, which its script starts it without.
    """
    if order.has_lsd:
        raise NotOfferedError("webtorrent is started without local service discovery")
    return _command(order)


def webtorrent_node(order: LaunchOrder, nodes: Sequence[str]) -> LaunchCommand:
    """Return the command for webtorrent with its DHT, which listens at the same number."""
    return _command(order, nodes)


def _command(order: LaunchOrder, nodes: Sequence[str] = ()) -> LaunchCommand:
    program, module = found_program("node", "Node.js"), package()
    task = {
        "module": str(module / "index.js"),
        "torrent": order.what,
        "folder": str(order.data),
        "port": order.port,
        "nodes": list(nodes),
        "utp": order.over_utp,
        "encryption": order.has_encryption or not order.downloads,
    }
    version = (program, str(SCRIPT), json.dumps({"version": str(module / "package.json")}))
    argv = (program, str(SCRIPT), json.dumps(task))
    return LaunchCommand(argv, {"HOME": str(order.home)}, version_argv=version)


def package() -> Path:
    """Return the folder of the package. Raises ConformanceError if it is not installed."""
    place = os.environ.get(FOLDER)
    folder = Path(place, "node_modules") if place else Path(_global_folder())
    if not (folder / "webtorrent" / "index.js").is_file():
        where = f"{FOLDER} names the folder of `npm install --ignore-scripts webtorrent`"
        raise ConformanceError(f"webtorrent is not installed in {folder}; {where}")
    return folder / "webtorrent"


@cache
def _global_folder() -> str:
    """Return where npm keeps what is installed for everybody."""
    npm = shutil.which("npm")
    if npm is None:
        return "/usr/lib/node_modules"
    done = subprocess.run(  # noqa: S603 - npm itself
        (npm, "root", "--global"), capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout.strip()
