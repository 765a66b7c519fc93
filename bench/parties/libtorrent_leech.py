"""libtorrent_leech.py PORT TORRENT SAVE_DIR: from first connect to complete, one JSON line."""

import os
import sys
import time

import libtorrent

from bench.harness import report
from bench.parties.libtorrent_settings import add, make_session
from bench.parties.place import SEED_HOST

session = make_session(0)
handle = add(session, sys.argv[2], sys.argv[3])
while handle.status().state != libtorrent.torrent_status.downloading:
    time.sleep(0.01)
total_bytes = handle.torrent_file().total_size()
session.pop_alerts()
started = time.perf_counter()
handle.connect_peer((SEED_HOST, int(sys.argv[1])))
finished = False
while not finished:
    session.wait_for_alert(1_000)
    finished = any(
        isinstance(alert, libtorrent.torrent_finished_alert) for alert in session.pop_alerts()
    )
report(time.perf_counter() - started, total_bytes)
sys.stdout.flush()
os._exit(0)
