"""limit_costs_libtorrent.py ADDRESS PORT FOLDER TORRENT DOWN UP ends|stays: one torrent.

Limits are bytes per second. It ends when it is complete, or runs until ended.
"""

import signal
import sys
import time

import libtorrent

ALONE = {"enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False}


def main() -> None:
    address, port, folder, torrent, down, up, then = sys.argv[1:]
    limits = {"download_rate_limit": int(down), "upload_rate_limit": int(up)}
    listening = {"listen_interfaces": f"{address}:{port}"}
    session = libtorrent.session({**ALONE, **limits, **listening})
    parameters = libtorrent.add_torrent_params()
    parameters.ti = libtorrent.torrent_info(torrent)
    parameters.save_path = folder
    parameters.flags &= ~libtorrent.torrent_flags.auto_managed
    parameters.flags &= ~libtorrent.torrent_flags.paused
    handle = session.add_torrent(parameters)
    if then == "stays":
        signal.sigwait({signal.SIGTERM})
    while not handle.status().is_seeding:
        time.sleep(0.01)


main()
