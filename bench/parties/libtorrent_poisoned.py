"""libtorrent_poisoned.py ORDER: libtorrent as a leech of honest and other peers.

ORDER is as in our_hostile.py. Prints "ready", waits for a line, then downloads, for ``limit_s`` at
most, and prints one JSON object.
"""

import json
import os
import sys
import time

import libtorrent

from bench.harness import MIB
from bench.parties.libtorrent_settings import SETTINGS, add

ALERTS = libtorrent.alert.category_t

order = json.loads(sys.argv[1])
session = libtorrent.session(
    {
        **SETTINGS,
        "listen_interfaces": "127.0.0.1:0",
        "alert_mask": ALERTS.status_notification | ALERTS.peer_notification,
    }
)
handle = add(session, order["torrent"], order["save_dir"])
while handle.status().state != libtorrent.torrent_status.downloading:
    time.sleep(0.01)
session.pop_alerts()
print("ready", flush=True)
sys.stdin.readline()
began_s, is_done = time.perf_counter(), False
banned: set[str] = set()
failed_pieces = 0
for host, port in order["honest"]:
    handle.connect_peer((host, port))
while not is_done and time.perf_counter() - began_s < order["limit_s"]:
    session.wait_for_alert(1_000)
    for alert in session.pop_alerts():
        is_done |= isinstance(alert, libtorrent.torrent_finished_alert)
        failed_pieces += isinstance(alert, libtorrent.hash_failed_alert)
        if isinstance(alert, libtorrent.peer_ban_alert):
            banned.add(alert.endpoint[0])
seconds, status = time.perf_counter() - began_s, handle.status()
wasted_bytes = status.total_failed_bytes + status.total_redundant_bytes
figures = {
    "is_done": is_done,
    "seconds": round(seconds, 2),
    "goodput_mib_per_s": round(status.total_wanted_done / seconds / MIB, 2),
    "wasted_mib": round(wasted_bytes / MIB, 1),
    "bans": len(banned),
    "honest_bans": len(banned.intersection(order["honest_hosts"])),
    "failed_pieces": failed_pieces,
}
print(json.dumps(figures), flush=True)
os._exit(0)
