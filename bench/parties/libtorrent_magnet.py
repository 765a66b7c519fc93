"""libtorrent_magnet.py LINK SAVE_DIR WAY ROUTER_PORT: as our_magnet.py, by libtorrent.

It is told to ask the DHT as soon as it has entered it, and again while nobody is found: by itself
it would do so a quarter of an hour after the torrent was added.
"""

import os
import sys
import time

import libtorrent

from bench.parties.libtorrent_settings import DHT_SETTINGS, SETTINGS
from bench.parties.magnet_clock import MagnetClock

HOST, ROUTER = "127.0.0.3", "127.0.1.1"
WARM_NODES = 8
ASK_AGAIN_S = 0.2
LOOK_AGAIN_S = 0.1
LOOKS_AT_LAYERS = "LIBTORRENT_LAYERS" in os.environ
MARKS = {
    libtorrent.metadata_received_alert: "metadata",
    libtorrent.piece_finished_alert: "first_piece",
    libtorrent.torrent_finished_alert: "complete",
}
CATEGORIES = libtorrent.alert.category_t

link, save_dir, way, router_port = sys.argv[1:5]
settings = {
    **SETTINGS,
    "listen_interfaces": f"{HOST}:0",
    "alert_mask": CATEGORIES.status_notification
    | CATEGORIES.piece_progress_notification
    | CATEGORIES.stats_notification
    | CATEGORIES.dht_notification,
}
if way != "peer":
    settings |= {**DHT_SETTINGS, "dht_bootstrap_nodes": f"{ROUTER}:{router_port}"}


def node_count() -> int:
    session.post_session_stats()
    while True:
        session.wait_for_alert(1_000)
        for alert in session.pop_alerts():
            if isinstance(alert, libtorrent.session_stats_alert):
                return int(alert.values["dht.dht_nodes"])


def has_layers(alert: libtorrent.save_resume_data_alert) -> bool:
    """Return whether as many nodes are known of the only tree as the torrent has pieces.

    Once they are, libtorrent holds no other nodes of a tree whose pieces are blocks.
    """
    trees = libtorrent.write_resume_data(alert.params).get(b"trees")
    metainfo = alert.handle.torrent_file()
    if not trees or metainfo is None:
        return False
    known = sum(byte.bit_count() for byte in trees[0][b"mask"])
    return len(trees) == 1 and known == metainfo.num_pieces()


clock = MagnetClock()
session = libtorrent.session(settings)
if way == "warm":  # it says that it is ready before it knows anybody
    while node_count() < WARM_NODES:
        time.sleep(0.05)
if way != "dht":
    clock = MagnetClock()
parameters = libtorrent.parse_magnet_uri(link)
parameters.save_path = save_dir
parameters.flags &= ~libtorrent.torrent_flags.auto_managed
parameters.flags &= ~libtorrent.torrent_flags.paused
handle = session.add_torrent(parameters)
if way == "warm":
    handle.force_dht_announce()
finished, asked, looked = False, time.monotonic(), 0.0
while not finished:
    if LOOKS_AT_LAYERS and time.monotonic() > looked + LOOK_AGAIN_S:
        handle.save_resume_data(0)
        looked = time.monotonic()
    if (
        not session.wait_for_alert(10 if LOOKS_AT_LAYERS else 100)
        and way != "peer"
        and time.monotonic() > asked + ASK_AGAIN_S
    ):
        handle.force_dht_announce()
        asked = time.monotonic()
    for alert in session.pop_alerts():
        if way == "dht" and isinstance(alert, libtorrent.dht_bootstrap_alert):
            handle.force_dht_announce()
        if isinstance(alert, libtorrent.save_resume_data_alert) and has_layers(alert):
            clock.mark("layers")
        if (name := MARKS.get(type(alert))) is not None:
            finished = name == "complete" and alert.handle.status().is_seeding
            if name != "complete" or finished:
                clock.mark(name)
clock.report()
sys.stdout.flush()
os._exit(0)
