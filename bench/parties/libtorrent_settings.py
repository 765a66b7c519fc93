"""Settings of libtorrent for transfers on one machine.

``SETTINGS`` is what any program must set to serve many peers of one address without limits; the
rest stays as libtorrent has it. ``TUNED`` is added, unless the environment has
``LIBTORRENT_DEFAULTS=1``, as a user would who wants speed and knows which settings give it.
"""

import os

import libtorrent

from bench.parties.encryption import IS_ASKED_FOR, LIBTORRENT_SETTINGS
from bench.parties.place import IS_UTP, LIBTORRENT_UTP, OUR_HOST

DISABLED = 2  # of the encryption policies

SETTINGS = {
    "alert_mask": libtorrent.alert.category_t.status_notification,
    "alert_queue_size": 100_000,
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_incoming_utp": False,
    "enable_outgoing_utp": False,
    "in_enc_policy": DISABLED,
    "out_enc_policy": DISABLED,
    "allow_multiple_connections_per_ip": True,
    "connections_limit": 1_000,
    "unchoke_slots_limit": -1,
    "connection_speed": 1_000,
    "listen_queue_size": 200,
}
TUNED = {
    "max_out_request_queue": 1_500,
    "max_allowed_in_request_queue": 3_000,
    "send_buffer_watermark": 3 * 1024 * 1024,
    "send_buffer_low_watermark": 512 * 1024,
    "send_buffer_watermark_factor": 150,
    "hashing_threads": 2,
}
DHT_SETTINGS = {  # its nodes are on one machine, and it must believe in them
    "enable_dht": True,
    "dht_restrict_routing_ips": False,
    "dht_restrict_search_ips": False,
    "dht_prefer_verified_node_ids": False,
    "dht_enforce_node_id": False,
    "dht_ignore_dark_internet": False,
    "dht_block_ratelimit": 1_000,
}
if "LIBTORRENT_DEFAULTS" not in os.environ:
    SETTINGS |= TUNED
if IS_ASKED_FOR:
    SETTINGS |= LIBTORRENT_SETTINGS
if IS_UTP:
    SETTINGS |= LIBTORRENT_UTP


def make_session(port: int) -> libtorrent.session:
    """Return a session that listens on our address."""
    return libtorrent.session({**SETTINGS, "listen_interfaces": f"{OUR_HOST}:{port}"})


def add(session: libtorrent.session, torrent: str, save_dir: str) -> libtorrent.torrent_handle:
    """Start one torrent."""
    parameters = libtorrent.add_torrent_params()
    parameters.ti = libtorrent.torrent_info(torrent)
    parameters.save_path = save_dir
    parameters.max_connections = 1_000
    parameters.max_uploads = 1_000
    parameters.flags &= ~libtorrent.torrent_flags.auto_managed
    parameters.flags &= ~libtorrent.torrent_flags.paused
    return session.add_torrent(parameters)
