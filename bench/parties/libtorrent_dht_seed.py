"""libtorrent_dht_seed.py PORT TORRENT SAVE_DIR ROUTER_PORT: a seed in the DHT of the bench.

Prints ready when a question to the DHT finds it.
"""

import signal
import sys
import time

import libtorrent

from bench.parties.libtorrent_settings import DHT_SETTINGS, SETTINGS, add

ROUTER = "127.0.1.1"
ASK_AGAIN_S = 1.0

port = int(sys.argv[1])
session = libtorrent.session(
    {
        **SETTINGS,
        **DHT_SETTINGS,
        "listen_interfaces": f"127.0.0.1:{port}",
        "dht_bootstrap_nodes": f"{ROUTER}:{sys.argv[4]}",
        "alert_mask": libtorrent.alert.category_t.dht_operation_notification,
    }
)
handle = add(session, sys.argv[2], sys.argv[3])
while not handle.status().is_seeding:
    time.sleep(0.05)


def is_found() -> bool:
    session.dht_get_peers(handle.info_hash())
    asked = time.monotonic()
    while time.monotonic() < asked + ASK_AGAIN_S:
        session.wait_for_alert(100)
        for alert in session.pop_alerts():
            is_reply = isinstance(alert, libtorrent.dht_get_peers_reply_alert)
            if is_reply and ("127.0.0.1", port) in map(tuple, alert.peers()):
                return True
    return False


handle.force_dht_announce()
while not is_found():
    handle.force_dht_announce()
print("ready", flush=True)
signal.sigwait({signal.SIGTERM, signal.SIGINT})
