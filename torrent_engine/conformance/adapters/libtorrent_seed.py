"""A program of its own that seeds one torrent with libtorrent until it is ended.

    python -m torrent_engine.conformance.adapters.libtorrent_seed FILE|LINK FOLDER HOST:PORT
        [--utp] [--lsd] [--reconnect] [--ipv6]

Many uploads at once, so that cases that run together do not wait for each other's slots.
"""

import signal
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

MISSING: Final = "libtorrent is not installed (pip install libtorrent)\n"
RECONNECT_S: Final = 2
"""It connects with and without encryption in turn, a minute later if nothing else is set."""
SETTINGS: Final[dict[str, object]] = {
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_incoming_utp": False,
    "enable_outgoing_utp": False,
    "unchoke_slots_limit": -1,
    "alert_mask": 0,
}


def main(arguments: list[str]) -> int:
    """Seed, or print the version; return an exit code."""
    if is_version_asked(arguments):
        return print_version()
    torrent, folder, address, *options = arguments
    places = f"{address},[::]:{address.rpartition(':')[2]}" if "--ipv6" in options else address
    settings = {**SETTINGS, "listen_interfaces": places}
    has_utp = "--utp" in options
    settings |= {"enable_incoming_utp": has_utp, "enable_outgoing_utp": has_utp}
    settings["enable_lsd"] = "--lsd" in options
    if "--reconnect" in options:
        settings["min_reconnect_time"] = RECONNECT_S
    return run_session(settings, torrent, folder)


def is_version_asked(arguments: list[str]) -> bool:
    """Return whether the version is to be printed, and nothing else done."""
    return arguments == ["--version"]


def print_version() -> int:
    """Print the version of the library; return an exit code."""
    try:
        import libtorrent
    except ImportError:
        sys.stderr.write(MISSING)
        return 1
    sys.stdout.write(f"libtorrent {libtorrent.__version__}\n")
    return 0


def run_session(settings: Mapping[str, object], torrent: str, folder: str) -> int:
    """Add a torrent or a link, and run until the process is told to end; return an exit code."""
    try:
        import libtorrent
    except ImportError:
        sys.stderr.write(MISSING)
        return 1
    chosen: Any = dict(settings)
    session = libtorrent.session(chosen)
    if torrent.startswith("magnet:"):
        parameters = libtorrent.parse_magnet_uri(torrent)
    else:
        parameters = libtorrent.load_torrent_file(torrent)
    parameters.save_path = folder
    parameters.flags &= ~(libtorrent.torrent_flags.auto_managed | libtorrent.torrent_flags.paused)
    session.add_torrent(parameters)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        while True:
            time.sleep(3600)
    finally:
        del session  # it says goodbye to its trackers


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
