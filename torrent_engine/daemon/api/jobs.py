"""Records of work: ``/api/v1/jobs``, and the same below ``/api/sessions`` as plain arrays."""

import csv
import io
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.api.adding import TorrentAdder, accepted
from torrent_engine.daemon.api.answers import answers_of_kinds, further_answers
from torrent_engine.daemon.api.job_fields import job_value
from torrent_engine.daemon.api.requests import seconds_of
from torrent_engine.daemon.common.replies import json_bytes, json_reply
from torrent_engine.daemon.engine_port.facts import JobFacts, JobQuery
from torrent_engine.daemon.problems import InputError, Problem, ProblemError
from torrent_engine.daemon.security.access import needs
from torrent_engine.daemon.security.principals import Scope

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext

ACTIVE: Final = frozenset({"pending", "running", "paused"})
STATUSES: Final = ACTIVE | {"completed", "failed", "cancelled"}
KINDS: Final = frozenset({"add", "check", "download", "seed", "move", "create"})
ADDING: Final = frozenset({"add", "download"})
MIN_PREFIX: Final = 8
MAX_LIMIT: Final = 10_000
DEFAULT_LIMIT: Final = 100
EXPORTS: Final = answers_of_kinds("application/jsonl", "text/csv")
JobAction = Literal["pause", "resume", "cancel", "retry"]
_Id = Annotated[str, Query(max_length=64)]
_Text = Annotated[str | None, Query(max_length=200)]


def router(context: "DaemonContext") -> APIRouter:
    """Return the routes."""
    routes, jobs = APIRouter(), JobRunner(context)
    for prefix, is_array in (("/api/v1/jobs", False), ("/api/sessions", True)):
        part = APIRouter(prefix=prefix, tags=["jobs"])
        _add_lists(part, jobs, is_array=is_array)
        _add_changes(part, jobs)
        _add_export(part, jobs)
        if is_array:
            _add_event_alias(part)
        _add_one(part, jobs)
        for route in part.routes:
            routes.routes.append(route)
    return routes


def _add_lists(routes: APIRouter, jobs: "JobRunner", *, is_array: bool) -> None:
    @routes.get("")
    @needs(Scope.READ)
    async def list_jobs(  # noqa: PLR0913 - the parameters of the query
        request: Request,
        status: _Text = None,
        kind: _Text = None,
        torrent: Annotated[str | None, Query(max_length=64)] = None,
        id_prefix: Annotated[str, Query(max_length=64)] = "",
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT,
        cursor: Annotated[str | None, Query(max_length=64)] = None,
    ) -> Response:
        """Return jobs, the newest first; ``cursor`` is the last id of the page before."""
        found = await jobs.list(jobs.query(status, kind, torrent, id_prefix))
        page, following = page_of(found, limit, cursor)
        told = [job_value(job) for job in page]
        value: Any = {"items": told, "next": following, "total": len(found)}
        return await json_reply(request, json_bytes(told if is_array else value))

    @routes.get("/active")
    @needs(Scope.READ)
    async def list_active_jobs(request: Request) -> Response:
        """Return the jobs that have not ended."""
        told = [job_value(job) for job in await jobs.list(JobQuery(statuses=ACTIVE))]
        value: Any = told if is_array else {"items": told}
        return await json_reply(request, json_bytes(value))


def _add_changes(routes: APIRouter, jobs: "JobRunner") -> None:
    @routes.delete("")
    @needs(Scope.CONTROL)
    async def clear_jobs(
        request: Request,
        kind: _Text = None,
        before: Annotated[datetime | None, Query()] = None,
    ) -> Response:
        """Delete finished jobs, of some kinds or those that ended before a time only."""
        removed = await jobs.clear(query_of(None, kind, None, ""), before)
        return await json_reply(request, json_bytes({"removed": removed}))

    @routes.post("/{job_id}/{action}", status_code=204, responses=further_answers(202))
    @needs(Scope.CONTROL)
    async def act_on_job(
        job_id: str,
        action: JobAction,
        delete_files: Annotated[bool, Query()] = False,  # noqa: FBT002 - of the query
    ) -> Response:
        """Do something to the torrent of a job; a download that is cancelled is removed.

        A retry of what was fetched from a URL is another job, which is named with 202.
        """
        job = await jobs.find(job_id)
        if action == "retry" and (again := await jobs.retry(job)) is not None:
            return accepted(again)
        await jobs.act(job, action, delete_files=delete_files)
        return Response(status_code=204)

    @routes.delete("/{job_id}", status_code=204)
    @needs(Scope.CONTROL)
    async def delete_job(
        job_id: str,
        delete_files: Annotated[bool, Query()] = False,  # noqa: FBT002 - of the query
    ) -> Response:
        """Cancel a job; delete the record of one that has ended."""
        job = await jobs.find(job_id)
        if job.is_finished:
            await jobs.remove([job.id])
        else:
            await jobs.act(job, "cancel", delete_files=delete_files)
        return Response(status_code=204)


def _add_export(routes: APIRouter, jobs: "JobRunner") -> None:
    @routes.get("/export", response_class=Response, responses=EXPORTS)
    @needs(Scope.READ)
    async def export_jobs(format: Literal["jsonl", "csv"] = "jsonl") -> Response:  # noqa: A002
        """Return all jobs as lines of JSON, or as a table."""
        told = [job_value(job) for job in await jobs.list(JobQuery())]
        headers = {"Content-Disposition": f'attachment; filename="jobs.{format}"'}
        if format == "csv":
            return Response(table_of(told), 200, headers, "text/csv; charset=utf-8")
        lines = b"".join(json_bytes(each) + b"\n" for each in told)
        return Response(lines, 200, headers, "application/jsonl")


def _add_event_alias(routes: APIRouter) -> None:
    @routes.get("/{job_id}/events", status_code=307, response_class=RedirectResponse)
    @needs(Scope.READ, takes_ticket=True)
    async def follow_job(job_id: str) -> Response:
        """Lead to the events of a job."""
        if not job_id.isalnum() and not job_id.replace("-", "").isalnum():
            raise ProblemError(Problem("job_not_found", "no such job"))
        return RedirectResponse(f"/api/v1/events?types=jobs&job={job_id}", 307)


def _add_one(routes: APIRouter, jobs: "JobRunner") -> None:
    @routes.get("/{job_id}")
    @needs(Scope.READ)
    async def get_job(request: Request, job_id: str) -> Response:
        """Return one job, by its id or the beginning of it."""
        return await json_reply(request, json_bytes(job_value(await jobs.find(job_id))))


class JobRunner:
    """Finds jobs, and does what is asked to their torrents."""

    def __init__(self, context: "DaemonContext") -> None:
        self._jobs = context.port.jobs
        self._control = context.port.control
        self._state = context.state
        self._own = context.own_jobs
        self._adder = TorrentAdder(context)

    def query(
        self, status: str | None, kind: str | None, torrent: str | None, id_prefix: str
    ) -> JobQuery:
        """Return what a query asks for, of a hybrid by either info-hash. Raises ProblemError."""
        row = None if torrent is None else self._state.torrents.named(torrent)
        return query_of(status, kind, torrent if row is None else row.hash, id_prefix)

    async def list(self, query: JobQuery) -> Sequence[JobFacts]:
        """Return jobs, the newest first."""
        return await self._jobs.list(query)

    async def find(self, job_id: str) -> JobFacts:
        """Return the job of an id, or of an unambiguous beginning of one. Raises ProblemError."""
        job = await self._jobs.get(job_id)
        if job is None and len(job_id) >= MIN_PREFIX:
            found = await self._jobs.list(JobQuery(id_prefix=job_id, limit=2))
            job = found[0] if len(found) == 1 else None
        if job is None:
            raise ProblemError(Problem("job_not_found", "no such job"))
        return job

    async def remove(self, ids: Sequence[str]) -> int:
        """Delete records of finished jobs; return how many."""
        return await self._jobs.clear(ids) if ids else 0

    async def clear(self, query: JobQuery, before: datetime | None) -> int:
        """Delete records of finished jobs of a query that ended before a time."""
        limit_at = None if before is None else seconds_of(before)
        ids = [
            job.id
            for job in await self._jobs.list(query)
            if job.is_finished and (limit_at is None or (job.completed_at or 0.0) < limit_at)
        ]
        return await self.remove(ids)

    async def retry(self, job: JobFacts) -> str | None:
        """Carry out a job of the daemon again, and return the new one; None for other jobs."""
        _check_state(job, "retry")
        again = await self._adder.retry(job)
        return None if again is None else again.id

    async def act(self, job: JobFacts, action: JobAction, *, delete_files: bool = False) -> None:
        """Do something to the torrent of a job. Raises ProblemError."""
        _check_state(job, action)
        if action == "cancel" and self._own.cancel(job.id):
            return
        key = job.info_hash
        is_there = key is not None and self._state.torrents.get(key) is not None
        if key is not None and not is_there and action == "retry" and job.kind in ADDING:
            await self._adder.add_again(key)
            return
        if key is None or not is_there:
            raise ProblemError(Problem("state_conflict", "the job has no torrent any more"))
        if action == "cancel":
            await self._cancel(job, key, delete_files=delete_files)
        elif action == "pause":
            await self._control.pause(key)
        else:
            await self._control.start(key)
        self._state.look(key)

    async def _cancel(self, job: JobFacts, key: InfoHash, *, delete_files: bool) -> None:
        if job.kind == "move":
            if not self._control.cancel_move(key):
                raise ProblemError(Problem("state_conflict", "no move is under way"))
        elif job.kind in {"add", "download"}:
            await self._control.remove(key, delete_files=delete_files)
        else:
            await self._control.stop(key)


def _check_state(job: JobFacts, action: JobAction) -> None:
    if job.is_finished is not (action == "retry"):
        raise ProblemError(Problem("state_conflict", f"the job is {job.status}"))


def query_of(status: str | None, kind: str | None, torrent: str | None, id_prefix: str) -> JobQuery:
    """Return what a query asks for. Raises ProblemError."""
    info_hash = None
    if torrent is not None:
        try:
            info_hash = InfoHash.parse(torrent)
        except ValueError as error:
            raise _wrong("torrent", str(error)) from None
    return JobQuery(
        _chosen("status", status, STATUSES), _chosen("kind", kind, KINDS), info_hash, id_prefix
    )


def _chosen(name: str, text: str | None, known: frozenset[str]) -> frozenset[str]:
    chosen = frozenset((text or "").split(",")) - {""}
    if unknown := sorted(chosen - known):
        raise _wrong(name, f"there is no {unknown[0]!r:.40}")
    return chosen


def _wrong(name: str, detail: str) -> ProblemError:
    return ProblemError(Problem("input_invalid", name, errors=[InputError(f"/{name}", detail)]))


def page_of(
    found: Sequence[JobFacts], limit: int, cursor: str | None
) -> tuple[Sequence[JobFacts], str | None]:
    """Return the jobs behind a cursor, and the cursor of the next page; None: there is none.

    A cursor whose job is gone begins from the newest. Raises ProblemError for no cursor.
    """
    start = 0
    if cursor is not None:
        start = next((n for n, job in enumerate(found, 1) if job.id == cursor), 0)
    page = found[start : start + limit]
    return page, page[-1].id if start + limit < len(found) else None


def table_of(told: Sequence[dict[str, Any]]) -> bytes:
    """Return jobs as comma-separated values; no cell is a formula for a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text)
    names = ["id", "kind", "status", "created_at", "updated_at", "completed_at", "progress"]
    names += ["total_bytes", "done_bytes", "error", "reason"]
    writer.writerow([*names, "torrent_hash", "torrent_name"])
    for each in told:
        torrent = each["torrent"] or {"hash": "", "name": ""}
        cells = [*(each[name] for name in names), torrent["hash"], torrent["name"]]
        writer.writerow(_cell(cell) for cell in cells)
    return text.getvalue().encode("utf-8", "replace")


def _cell(value: object) -> object:
    if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"}:
        return f"'{value}"
    return "" if value is None else value
