"""soak_seed.py FOLDER BYTES_PER_S: one libtorrent session that seeds FOLDER/*.torrent.

The payloads are in FOLDER/payload. Prints "ready" and its port, then seeds until ended.
"""

import signal
import sys
import time
from pathlib import Path

import libtorrent

from bench.parties.libtorrent_settings import SETTINGS

folder, rate = Path(sys.argv[1]), int(sys.argv[2])
session = libtorrent.session({
    **SETTINGS, "alert_mask": 0, "listen_interfaces": "127.0.0.2:0", "active_limit": 10_000,
    "connections_limit": 5_000, "hashing_threads": 1, "aio_threads": 1,
})  # fmt: skip
handles = []
for path in sorted(folder.glob("*.torrent")):
    parameters = libtorrent.add_torrent_params()
    parameters.ti = libtorrent.torrent_info(str(path))
    parameters.save_path = str(folder / "payload")
    parameters.upload_limit = rate
    parameters.flags |= libtorrent.torrent_flags.seed_mode
    parameters.flags &= ~libtorrent.torrent_flags.auto_managed
    parameters.flags &= ~libtorrent.torrent_flags.paused
    handles.append(session.add_torrent(parameters))
while not all(handle.status().is_seeding for handle in handles):
    time.sleep(0.05)
print("ready", session.listen_port(), flush=True)
signal.sigwait({signal.SIGTERM, signal.SIGINT})
