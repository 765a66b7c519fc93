"""libtorrent_web_leech.py TORRENT SAVE_DIR: a web seed download by libtorrent."""

import os
import sys
import time

import libtorrent

from bench.harness import report
from bench.parties.libtorrent_settings import add, make_session

session = make_session(0)
session.apply_settings({"ssrf_mitigation": False})
handle = add(session, *sys.argv[1:3])
while handle.status().state not in (
    libtorrent.torrent_status.downloading,
    libtorrent.torrent_status.seeding,
    libtorrent.torrent_status.finished,
):
    time.sleep(0.005)
started = time.perf_counter()
total_bytes = handle.torrent_file().total_size()
while not handle.status().is_seeding:
    time.sleep(0.005)
report(time.perf_counter() - started, total_bytes)
sys.stdout.flush()
os._exit(0)
