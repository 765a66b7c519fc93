"""Files, peers and trackers of a torrent as JSON objects, in the daemon's fields."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torrent_engine.engine.stats import FileStats, PeerStats, TrackerStatus


def file_value(file: "FileStats") -> dict[str, Any]:
    """Return a file."""
    return {
        "index": file.index,
        "path": file.path.as_posix(),
        "size_bytes": file.size_bytes,
        "completed_bytes": file.completed_bytes,
        "priority": file.priority,
    }


def peer_value(peer: "PeerStats") -> dict[str, Any]:
    """Return a peer."""
    return {
        "host": peer.address.host,
        "port": peer.address.port,
        "client": peer.client,
        "source": peer.source,
        "transport": str(peer.transport),
        "encryption": str(peer.encryption),
        "is_incoming": peer.is_incoming,
        "is_seed": peer.is_seed,
        "progress": round(peer.progress, 4),
        "downloaded_bytes": peer.downloaded_bytes,
        "uploaded_bytes": peer.uploaded_bytes,
        "download_bytes_per_s": round(peer.download_bytes_per_s),
        "upload_bytes_per_s": round(peer.upload_bytes_per_s),
    }


def tracker_value(tracker: "TrackerStatus") -> dict[str, Any]:
    """Return a tracker; its URL is without secrets."""
    due = tracker.next_announce_at
    return {
        "id": tracker.tracker_id,
        "url": tracker.url,
        "tier": tracker.tier,
        "state": tracker.state,
        "message": tracker.message,
        "is_backup": tracker.is_backup,
        "peers": tracker.peers,
        "seeds": tracker.seeds,
        "leeches": tracker.leeches,
        "downloads": tracker.downloads,
        "failures": tracker.failures,
        "next_announce_at": None if due is None else datetime.fromtimestamp(due, UTC).isoformat(),
    }
