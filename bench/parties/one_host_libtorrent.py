"""one_host_libtorrent.py seed|leech ADDRESS FOLDER TORRENT ...: many torrents in one session.

A leech has libtorrent's defaults, but for sources of peers beside the tracker, and ends when all
are complete; a seed unchokes everybody, and runs until ended.
"""

import signal
import sys
import time

import libtorrent

ALONE = {"enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False}
GENEROUS = {"unchoke_slots_limit": -1, "connections_limit": 1_000, "listen_queue_size": 200}


def main() -> None:
    role, address, folder, *torrents = sys.argv[1:]
    settings = {**ALONE, **(GENEROUS if role == "seed" else {})}
    session = libtorrent.session({**settings, "listen_interfaces": f"{address}:0"})
    handles = [add(session, torrent, folder, role) for torrent in torrents]
    if role == "seed":
        signal.sigwait({signal.SIGTERM})
        return
    while not all(handle.status().is_seeding for handle in handles):
        time.sleep(0.05)


def add(
    session: libtorrent.session, torrent: str, folder: str, role: str
) -> libtorrent.torrent_handle:
    parameters = libtorrent.add_torrent_params()
    parameters.ti = libtorrent.torrent_info(torrent)
    parameters.save_path = folder
    parameters.flags &= ~libtorrent.torrent_flags.auto_managed
    parameters.flags &= ~libtorrent.torrent_flags.paused
    if role == "seed":
        parameters.flags |= libtorrent.torrent_flags.seed_mode
    return session.add_torrent(parameters)


main()
