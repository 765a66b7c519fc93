"""honest_seeds.py TORRENT SAVE_DIR BYTES_PER_S HOST ...: libtorrent seeds, each with its own limit.

Prints "ready" and the port of each, then seeds until ended.
"""

import signal
import sys
import time

import libtorrent

from bench.parties.libtorrent_settings import SETTINGS

torrent, save_dir, rate, *hosts = sys.argv[1:]
nodes = []
for host in hosts:
    session = libtorrent.session({
        **SETTINGS, "aio_threads": 1, "hashing_threads": 1, "alert_mask": 0,
        "listen_interfaces": f"{host}:0", "allow_multiple_connections_per_ip": True,
    })  # fmt: skip
    parameters = libtorrent.add_torrent_params()
    parameters.ti = libtorrent.torrent_info(torrent)
    parameters.save_path = save_dir
    parameters.upload_limit = int(rate)
    parameters.flags |= libtorrent.torrent_flags.seed_mode
    parameters.flags &= ~libtorrent.torrent_flags.auto_managed
    parameters.flags &= ~libtorrent.torrent_flags.paused
    nodes.append((session, session.add_torrent(parameters)))
while not all(handle.status().is_seeding for _, handle in nodes):
    time.sleep(0.05)
print("ready", *(session.listen_port() for session, _ in nodes), flush=True)
signal.sigwait({signal.SIGTERM, signal.SIGINT})
