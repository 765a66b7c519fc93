"""honest_leech.py TORRENT SAVE_DIR OUR_HOST HOST PORT LIMIT_S: one libtorrent leech.

Prints "ready" and its port, waits for a line, and prints one JSON object when it has everything, or
after LIMIT_S. It dials again when it was cut off.
"""

import json
import os
import sys
import time

import libtorrent

from bench.harness import MIB
from bench.parties.libtorrent_settings import SETTINGS

torrent, save_dir, our_host, host, port, limit_s = sys.argv[1:]
REDIAL_S = 2.0
session = libtorrent.session({
    **SETTINGS, "alert_mask": 0, "outgoing_interfaces": our_host,
    "listen_interfaces": f"{our_host}:0", "min_reconnect_time": 1,
})  # fmt: skip
parameters = libtorrent.add_torrent_params()
parameters.ti = libtorrent.torrent_info(torrent)
parameters.save_path = save_dir
parameters.flags &= ~libtorrent.torrent_flags.auto_managed
parameters.flags &= ~libtorrent.torrent_flags.paused
handle = session.add_torrent(parameters)
while handle.status().state != libtorrent.torrent_status.downloading:
    time.sleep(0.01)
print("ready", session.listen_port(), flush=True)
sys.stdin.readline()
began_s = time.monotonic()
dialled_s, dials = -REDIAL_S, 0
while True:
    now, status = time.monotonic(), handle.status()
    if status.is_seeding or now - began_s > float(limit_s):
        break
    if not status.num_peers and now - dialled_s >= REDIAL_S:
        handle.connect_peer((host, int(port)))
        dialled_s, dials = now, dials + 1
    time.sleep(0.05)
seconds = time.monotonic() - began_s
figures = {
    "is_done": status.is_seeding,
    "seconds": round(seconds, 2),
    "goodput_mib_per_s": round(status.total_done / seconds / MIB, 2),
    "dials": dials,
}
print(json.dumps(figures), flush=True)
os._exit(0)
