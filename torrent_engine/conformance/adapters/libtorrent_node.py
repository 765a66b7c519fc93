"""A program of its own that seeds one torrent with libtorrent and runs a node of the DHT.

    python -m torrent_engine.conformance.adapters.libtorrent_node FILE FOLDER HOST:PORT [NODE...]

Its limits on nodes of one network are off, and that of its rate is high: all nodes of the kit are
on this machine, and ask at the same time.
"""

import sys
from typing import Final

from torrent_engine.conformance.adapters.libtorrent_seed import (
    is_version_asked,
    print_version,
    run_session,
)

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
    if is_version_asked(arguments):
        return print_version()
    torrent, folder, address, *nodes = arguments
    settings = {
        **SETTINGS,
        "listen_interfaces": f"{address},[::1]:{address.rpartition(':')[2]}",
        "dht_bootstrap_nodes": ",".join(nodes),
    }
    return run_session(settings, torrent, folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
