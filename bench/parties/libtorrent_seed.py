"""libtorrent_seed.py PORT TORRENT SAVE_DIR: checks the data, prints ready, seeds until ended."""

import signal
import sys
import time

from bench.parties.libtorrent_settings import add, make_session

session = make_session(int(sys.argv[1]))
handle = add(session, sys.argv[2], sys.argv[3])
while not handle.status().is_seeding:
    time.sleep(0.05)
print("ready", flush=True)
signal.sigwait({signal.SIGTERM, signal.SIGINT})
