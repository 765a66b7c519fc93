"""A libtorrent session as a program of its own: one JSON request a line in, one answer a line out.

Requests: {"do": "add", "torrent" or "magnet", "save_path", "peers", "upload_limit",
"download_limit", "pex"},
{"do": "connect", "info_hash", "peer": [host, port]}, {"do": "limit_uploads", "bytes_per_s"},
{"do": "status"}, {"do": "links", "info_hash"}, {"do": "flush", "info_hash"}.
Its DHT: {"do": "dht_nodes"}, {"do": "dht_announce", "info_hash", "port"}, {"do": "dht_force"},
{"do": "dht_get_peers", "info_hash"},
{"do": "dht_put", "value" [, "key", "private", "salt"]},
{"do": "dht_get", "target" [, "key", "salt"]}. End of input ends it.
"""

import json
import sys
import time

import libtorrent

SETTINGS = {
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_incoming_utp": False,
    "enable_outgoing_utp": False,
    "allow_multiple_connections_per_ip": True,
    "announce_to_all_tiers": True,
    "announce_to_all_trackers": True,
    "handshake_timeout": 60,  # both sides share a busy machine
    "peer_connect_timeout": 60,
    "close_redundant_connections": False,
    "alert_mask": 0,
    "user_agent": "libtorrent-peer",
}
UTP_SOCKET = 1 << 17  # peer_info.utp_socket, which has no name in Python


class Peer:
    """Answers the requests."""

    def __init__(self, options):
        self.session = libtorrent.session({**SETTINGS, **options})  # type: ignore[call-overload]
        self.handles = {}

    def add(self, request):
        if "magnet" in request:
            parameters = libtorrent.parse_magnet_uri(request["magnet"])
        else:
            parameters = libtorrent.add_torrent_params()
            parameters.ti = libtorrent.torrent_info(request["torrent"])
        parameters.save_path = request["save_path"]
        parameters.flags &= ~libtorrent.torrent_flags.auto_managed
        parameters.flags &= ~libtorrent.torrent_flags.paused
        if not request.get("pex", True):
            parameters.flags |= libtorrent.torrent_flags.disable_pex
        if request.get("upload_limit"):
            parameters.upload_limit = request["upload_limit"]
        if request.get("download_limit"):
            parameters.download_limit = request["download_limit"]
        handle = self.session.add_torrent(parameters)
        self.handles[str(handle.info_hash())] = handle
        for host, port in request.get("peers", ()):
            handle.connect_peer((host, port))
        return {}

    def connect(self, request):
        self.handles[request["info_hash"]].connect_peer(tuple(request["peer"]))
        return {}

    def limit_uploads(self, request):
        for handle in self.handles.values():
            handle.set_upload_limit(request["bytes_per_s"])
        return {}

    def dht_nodes(self, _request):
        self.session.post_session_stats()
        return self._alerts(libtorrent.session_stats_alert)[0].values["dht.dht_nodes"]

    def dht_announce(self, request):
        self.session.dht_announce(_hash(request["info_hash"]), request["port"], 0)
        return {}

    def dht_force(self, _request):
        for handle in self.handles.values():
            handle.force_dht_announce()
        return {}

    def dht_get_peers(self, request):
        self.session.dht_get_peers(_hash(request["info_hash"]))
        alerts = self._alerts(libtorrent.dht_get_peers_reply_alert)
        return sorted({peer for alert in alerts for peer in alert.peers()})

    def dht_put(self, request):
        value = request["value"].encode()
        if "key" not in request:
            return {"target": str(self.session.dht_put_immutable_item(value))}
        keys = [bytes.fromhex(request[name]) for name in ("private", "key")]
        self.session.dht_put_mutable_item(*keys, value, request["salt"].encode())
        return {}

    def dht_get(self, request):
        if "key" not in request:
            self.session.dht_get_immutable_item(_hash(request["target"]))
            alerts = self._alerts(libtorrent.dht_immutable_item_alert)
            return [alert.item.decode() for alert in alerts if alert.item]
        self.session.dht_get_mutable_item(bytes.fromhex(request["key"]), request["salt"].encode())
        alerts = self._alerts(libtorrent.dht_mutable_item_alert)
        return [_plain(alert.item) for alert in alerts if alert.item]

    def _alerts(self, kind, timeout_s=1.0):
        """Wait for an alert of a kind, but not for ever; return all of that kind."""
        deadline = time.monotonic() + timeout_s
        found: list = []
        while not found and time.monotonic() < deadline:
            found += [alert for alert in self.session.pop_alerts() if isinstance(alert, kind)]
            time.sleep(0.01)
        return found

    def flush(self, request):
        """Write what is complete in memory only: progress does not wait for the disk."""
        heard = libtorrent.alert.category_t.storage_notification
        mask = self.session.get_settings()["alert_mask"]
        self.session.apply_settings({"alert_mask": mask | heard})
        self.handles[request["info_hash"]].flush_cache()
        return len(self._alerts(libtorrent.cache_flushed_alert, timeout_s=60.0))

    def links(self, request):
        half_open = libtorrent.peer_info.connecting | libtorrent.peer_info.handshake
        peers = self.handles[request["info_hash"]].get_peer_info()
        return [
            {
                "address": peer.ip,
                "utp": bool(peer.flags & UTP_SOCKET),
                "client": peer.client.decode(),
                "rc4": bool(peer.flags & libtorrent.peer_info.rc4_encrypted),
                "incoming": not peer.flags & libtorrent.peer_info.local_connection,
            }
            for peer in peers
            if not peer.flags & half_open
        ]

    def status(self, _request):
        return {info_hash: _status(handle) for info_hash, handle in self.handles.items()}


def _plain(item):
    """Return a text as it is, and a dictionary with its texts in hexadecimal."""
    if isinstance(item, dict):
        return {key.decode(): value.hex() for key, value in item.items()}
    return item.decode()


def _hash(text):
    return libtorrent.sha1_hash(bytes.fromhex(text))


def _status(handle):
    status = handle.status()
    return {
        "progress": status.progress,
        "seeding": bool(status.is_seeding),
        "checking": str(status.state) in {"checking_files", "checking_resume_data"},
        "uploaded_bytes": status.total_payload_upload,
        "downloaded_bytes": status.total_payload_download,
        "failed_bytes": status.total_failed_bytes,
        "peers": status.num_peers,
        "announced": any(tracker["verified"] for tracker in handle.trackers()),
    }


def main():
    peer = Peer(json.loads(sys.argv[1]))
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(getattr(peer, request["do"])(request)), flush=True)


main()
