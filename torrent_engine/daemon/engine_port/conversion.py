"""Facts of the daemon made of objects of the engine."""

import os
from typing import Final, NamedTuple

from torrent_engine.base.config import SessionConfig
from torrent_engine.codec.urls import host_of
from torrent_engine.daemon.engine_port.facts import (
    AboutFacts,
    EngineState,
    ErrorKind,
    FileFacts,
    JobFacts,
    Limits,
    PeerFacts,
    ProgressFacts,
    RateFacts,
    SeedRules,
    SettingFacts,
    TrackerFacts,
    TrackerRequestFacts,
    TrackerSummary,
    WebSeedFacts,
)
from torrent_engine.engine.jobs.job_log import Job
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.engine.stats import (
    FileStats,
    PeerStats,
    SessionBrief,
    SessionTimes,
    TorrentProblem,
    TrackerRequest,
    TrackerStatus,
    WebSeedStats,
)

_BY_USEFULNESS: Final = ("working", "announcing", "waiting", "failed", "disabled")
LONG_AGO_AT: Final = 1.0
"""When something happened of which only that it did is known."""


class TrackerView(NamedTuple):
    """What rows tell of the trackers of a torrent; it changes when one answers or fails."""

    summary: TrackerSummary
    seeds: int | None
    leeches: int | None


def limits_of(config: SessionConfig) -> Limits:
    """Return the limits of a torrent."""
    return Limits(
        config.max_download_bytes_per_s,
        config.max_upload_bytes_per_s,
        config.max_peer_download_bytes_per_s,
        config.max_peer_upload_bytes_per_s,
        config.max_connections,
    )


def seed_rules_of(config: SessionConfig) -> SeedRules:
    """Return when seeding of a torrent ends."""
    return SeedRules(config.seed_ratio, config.seed_time_s, config.seed_idle_s)


def about_of(session: Session) -> AboutFacts:
    """Return what a torrent is; nothing is read for it."""
    link = session.magnet
    magnet = "" if link is None else str(link)
    added_at = session.times().added_s or 0.0
    if (facts := session.facts) is None:
        return AboutFacts(
            name=session.name,
            added_at=added_at,
            magnet=magnet,
            info_hash_v2=None if link is None else link.info_hash_v2,
        )
    return AboutFacts(
        name=session.name,
        total_bytes=facts.total_bytes,
        piece_bytes=facts.piece_bytes,
        piece_count=facts.piece_count,
        file_count=facts.file_count,
        is_private=facts.is_private,
        comment=facts.comment,
        creator=facts.creator,
        created_at=float(facts.created_s or 0),
        added_at=added_at,
        magnet=magnet,
        source=facts.source_tag,
        largest_suffix=facts.largest_suffix,
        info_hash_v1=facts.info_hash_v1,
        info_hash_v2=facts.info_hash_v2,
    )


def settings_of(session: Session, *, priority: int, queue_position: int) -> SettingFacts:
    """Return what is decided about a torrent."""
    config = session.config
    return SettingFacts(
        save_path=str(session.final_path),
        current_path=str(session.save_path),
        priority=priority,
        queue_position=queue_position,
        is_forced=session.is_forced,
        limits=limits_of(config),
        seed_rules=seed_rules_of(config),
        is_sequential=config.sequential,
        sequential_from=config.sequential_from,
        is_first_last_first=config.first_last_first,
        group=config.bandwidth_group,
        honors_session_limits=config.honors_session_limits,
        is_super_seeding=config.super_seeding,
        trackers=tuple(map(tuple, session.tracker_tiers())),
        web_seeds=tuple(each.url for each in session.web_seeds(secrets=True)),
        file_priorities=config.file_priorities,
        incomplete_path=os.fspath(config.incomplete_dir or ""),
        owner=config.owner,
        user_data=tuple(sorted(session.user_data.items())),
    )


def progress_of(session: Session, brief: SessionBrief, trackers: TrackerView) -> ProgressFacts:
    """Return how far a torrent is."""
    state, paused_state = session.state, session.paused_state
    problem = None if session.error is None else session.problem
    times = session.times()
    return ProgressFacts(
        state=EngineState(state.value),
        paused_state=None if paused_state is None else EngineState(paused_state.value),
        is_held=session.is_held,
        is_paused_by_user=session.is_paused_by_user,
        is_moving=session.is_moving,
        is_resting=session.is_resting,
        stop_reason=session.stop_reason if state is State.STOPPED else "",
        error="" if problem is None else problem.message,
        error_kind=_error_kind(problem),
        completed_bytes=brief.completed_bytes,
        wanted_bytes=brief.wanted_bytes,
        have_bytes=brief.total_bytes - brief.left_bytes,
        pieces_have=brief.pieces_have,
        checked_fraction=(
            brief.checked_fraction if State.CHECKING in {state, paused_state} else 0.0
        ),
        metadata_fraction=float(brief.pieces_total > 0),
        all_downloaded_bytes=brief.all_downloaded_bytes,
        all_uploaded_bytes=brief.all_uploaded_bytes,
        wasted_bytes=brief.all_wasted_bytes,
        failed_bytes=brief.all_failed_bytes,
        ratio=brief.ratio,
        started_at=times.started_s or 0.0,
        completed_at=_completed_at(times),
        activity_at=times.activity_s or 0.0,
        edited_at=times.edited_s or 0.0,
        seeding_s=times.seeding_s,
        downloading_s=times.downloading_s,
        tracker=trackers.summary,
    )


def _completed_at(times: SessionTimes) -> float:
    """Return when a torrent became complete; when it was added, if that was before it was saved."""
    if times.completed_s is None:
        return 0.0
    return times.completed_s or times.added_s or LONG_AGO_AT


def _error_kind(problem: TorrentProblem | None) -> ErrorKind:
    return ErrorKind.NONE if problem is None else ErrorKind(problem.kind.value)


def tracker_view(session: Session) -> TrackerView:
    """Return the tracker that says most about a torrent, and the largest swarm that one tells."""
    statuses = session.trackers()
    if not statuses:
        return TrackerView(TrackerSummary(), None, None)
    best = min(statuses, key=lambda each: _BY_USEFULNESS.index(each.state))
    problem = session.problem if session.error is None else None
    message = best.message if problem is None else problem.message
    host = host_of(best.url)
    return TrackerView(
        TrackerSummary(host, best.state, message, _error_kind(problem)),
        max((each.seeds for each in statuses if each.seeds is not None), default=None),
        max((each.leeches for each in statuses if each.leeches is not None), default=None),
    )


def _tracker_kind(status: TrackerStatus) -> ErrorKind:
    if status.failures:
        return ErrorKind.TRACKER_ERROR
    return ErrorKind.TRACKER_WARNING if status.message else ErrorKind.NONE


def rates_of(brief: SessionBrief, trackers: TrackerView) -> RateFacts:
    """Return what changes by the second."""
    return RateFacts(
        download_bytes_per_s=round(brief.download_bytes_per_s),
        upload_bytes_per_s=round(brief.upload_bytes_per_s),
        eta_s=None if brief.eta_s is None else round(brief.eta_s),
        peers=brief.peers,
        seeds=brief.seeds,
        connecting=brief.connecting,
        sending_to_us=brief.sending_to_us,
        getting_from_us=brief.getting_from_us,
        swarm_seeds=trackers.seeds,
        swarm_leeches=trackers.leeches,
    )


def file_of(stats: FileStats) -> FileFacts:
    """Return one file."""
    return FileFacts(
        stats.index,
        stats.path.as_posix(),
        stats.size_bytes,
        stats.completed_bytes,
        stats.priority,
        stats.pieces.start,
        stats.pieces.stop,
    )


def peer_of(stats: PeerStats) -> PeerFacts:
    """Return one peer."""
    return PeerFacts(
        host=stats.address.host,
        port=stats.address.port,
        client=stats.client,
        peer_id=stats.peer_id,
        source=stats.source,
        transport=str(stats.transport),
        encryption=str(stats.encryption),
        is_incoming=stats.is_incoming,
        is_seed=stats.is_seed,
        is_optimistic=stats.is_optimistic,
        is_snubbed=stats.is_snubbed,
        sends_to_us=stats.sends_to_us,
        gets_from_us=stats.gets_from_us,
        am_interested=stats.am_interested,
        am_choking=stats.am_choking,
        peer_interested=stats.peer_interested,
        peer_choking=stats.peer_choking,
        progress=stats.progress,
        downloaded_bytes=stats.downloaded_bytes,
        uploaded_bytes=stats.uploaded_bytes,
        download_bytes_per_s=stats.download_bytes_per_s,
        upload_bytes_per_s=stats.upload_bytes_per_s,
    )


def tracker_of(status: TrackerStatus) -> TrackerFacts:
    """Return one tracker; its URL is as whole as that of ``status``."""
    return TrackerFacts(
        id=status.tracker_id,
        url=status.url,
        tier=status.tier,
        state=status.state,
        message=status.message,
        kind=_tracker_kind(status),
        is_backup=status.is_backup,
        peers=status.peers,
        seeds=status.seeds,
        leeches=status.leeches,
        downloads=status.downloads,
        failures=status.failures,
        next_announce_at=status.next_announce_at or 0.0,
        last_announce=_request(status.last_announce),
        last_scrape=_request(status.last_scrape),
    )


def _request(request: TrackerRequest | None) -> TrackerRequestFacts | None:
    if request is None:
        return None
    return TrackerRequestFacts(
        request.began_at,
        request.ended_at,
        request.error,
        request.is_timeout,
        request.is_refusal,
        request.warning,
        request.peers,
    )


def web_seed_of(stats: WebSeedStats) -> WebSeedFacts:
    """Return one web seed."""
    return WebSeedFacts(
        stats.url,
        stats.bep,
        str(stats.state),
        stats.downloaded_bytes,
        stats.download_bytes_per_s,
        stats.active_requests,
        stats.error,
    )


def job_of(job: Job) -> JobFacts:
    """Return one record of work."""
    return JobFacts(
        id=job.id,
        kind=str(job.kind),
        status=str(job.status),
        info_hash=job.info_hash,
        name=job.name,
        created_at=job.created_s,
        updated_at=job.updated_s,
        completed_at=job.completed_s,
        progress=job.progress,
        total_bytes=job.total_bytes,
        done_bytes=job.done_bytes,
        error=job.error,
        reason=job.reason,
    )
