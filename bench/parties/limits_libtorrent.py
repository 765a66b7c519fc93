"""limits_libtorrent.py ROLE COUNT 0 0 TORRENT FOLDER [PORT ...]: libtorrent's nodes, unlimited.

Each is a session of its own. Prints as limits_ours.py does.
"""

import os
import signal
import threading
from pathlib import Path

import libtorrent

from bench.parties.libtorrent_settings import SETTINGS
from bench.parties.limits_meter import EVERY_S, Meter, arguments

SMALL = {"aio_threads": 1, "hashing_threads": 1, "alert_mask": 0}


def main() -> None:
    options = arguments()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    nodes = [node(options, number) for number in range(options.count)]
    handles = [handle for _, handle in nodes]
    while not all(is_ready(handle, options.role) for handle in handles):
        ended.wait(0.05)
    print("ready", *(session.listen_port() for session, _ in nodes), flush=True)
    for handle in handles:
        for port in options.ports:
            handle.connect_peer(("127.0.0.1", port))
    meter = Meter(lambda: [moved(handle, options.role) for handle in handles])
    while not ended.wait(EVERY_S * (1 + options.count // 10)):  # each look is a round trip
        meter.take()
    meter.report()
    os._exit(0)


def node(options, number: int) -> tuple[libtorrent.session, libtorrent.torrent_handle]:
    session = libtorrent.session({**SETTINGS, **SMALL, "listen_interfaces": "127.0.0.1:0"})
    parameters = libtorrent.add_torrent_params()
    parameters.ti = libtorrent.torrent_info(options.torrent)
    parameters.flags &= ~libtorrent.torrent_flags.auto_managed
    parameters.flags &= ~libtorrent.torrent_flags.paused
    parameters.flags |= libtorrent.torrent_flags.disable_pex
    if options.role == "seed":
        parameters.flags |= libtorrent.torrent_flags.seed_mode
        parameters.save_path = str(Path(options.torrent).parent / "source")
    else:
        parameters.save_path = str(Path(options.folder) / f"libtorrent-{number}")
    return session, session.add_torrent(parameters)


def is_ready(handle: libtorrent.torrent_handle, role: str) -> bool:
    states = libtorrent.torrent_status
    return handle.status().state == (states.seeding if role == "seed" else states.downloading)


def moved(handle: libtorrent.torrent_handle, role: str) -> int:
    status = handle.status(0)
    return status.total_payload_upload if role == "seed" else status.total_payload_download


main()
