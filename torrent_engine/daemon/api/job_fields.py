"""A job as the daemon's own interface tells it."""

from typing import Any

from torrent_engine.daemon.api.torrent_fields import timestamp
from torrent_engine.daemon.engine_port.facts import JobFacts


def job_value(job: JobFacts) -> dict[str, Any]:
    """Return the fields of a job; no credentials are ever in one."""
    torrent = None
    if job.info_hash is not None:
        torrent = {"hash": job.info_hash.hex(), "name": job.name}
    return {
        "id": job.id,
        "kind": job.kind,
        "name": job.name,
        "status": job.status,
        "created_at": timestamp(job.created_at),
        "updated_at": timestamp(job.updated_at),
        "completed_at": timestamp(job.completed_at or 0.0),
        "progress": round(job.progress, 6),
        "total_bytes": job.total_bytes,
        "done_bytes": job.done_bytes,
        "error": job.error,
        "reason": job.reason,
        "torrent": torrent,
    }
