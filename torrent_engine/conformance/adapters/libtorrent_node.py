"""A program of its own that seeds one torrent with libtorrent and runs a node of the DHT.

    python -m torrent_engine.conformance.adapters.libtorrent_node FILE FOLDER HOST:PORT [NODE...]

Its limits on nodes of one network are off, and that of its rate is high: all nodes of the kit are
on this machine, and ask at the same time.
"""

import signal
import sys
import time
from typing import Any, Final

SETTINGS: Final[dict[str, object]] = {
    "enable_dht": True,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "dht_restrict_routing_ips": False,
    "dht_restrict_search_ips": False,
    "dht_ignore_dark_internet": False,
    "dht_upload_rate_limit": 1_000_000,
    "alert_mask": 0,
}


def main(arguments: list[str]) -> int:
    """Run the node, or print the version; return an exit code."""
    try:
        import libtorrent
    except ImportError:
        sys.stderr.write("libtorrent is not installed (pip install libtorrent)\n")
        return 1
    if arguments == ["--version"]:
        sys.stdout.write(f"libtorrent {libtorrent.__version__}\n")
        return 0
    torrent, folder, address, *nodes = arguments
    settings: Any = {
        **SETTINGS,
        "listen_interfaces": f"{address},[::1]:{address.rpartition(':')[2]}",
        "dht_bootstrap_nodes": ",".join(nodes),
    }
    session = libtorrent.session(settings)
    parameters = libtorrent.load_torrent_file(torrent)
    parameters.save_path = folder
    parameters.flags &= ~(libtorrent.torrent_flags.auto_managed | libtorrent.torrent_flags.paused)
    session.add_torrent(parameters)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        while True:
            time.sleep(3600)
    finally:
        del session


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
