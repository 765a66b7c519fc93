"""``torrent-engine jobs``: the records of what was done, by all runs that share a state folder."""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from torrent_engine.cli.exit_codes import CliError, ExitCode
from torrent_engine.cli.option_groups import state_option
from torrent_engine.cli.options import COUNT, Command, ParsedType, common_options

if TYPE_CHECKING:
    from torrent_engine.disk.job_table import Job, JobFilter
    from torrent_engine.engine.job_log import JobLog

KINDS: Final = ("add", "check", "download", "seed", "move", "create")
STATUSES: Final = ("pending", "running", "paused", "completed", "failed", "cancelled")
STDOUT: Final = "-"
SHOWN: Final = 3  # ours: how many jobs an ambiguous id lists
_ID: Final = re.compile(r"[0-9a-fA-F-]{1,36}")
_HEX: Final = re.compile(r"[0-9a-fA-F]{40}")
Options = dict[str, Any]
_Result = TypeVar("_Result")


def _parse_info_hash(text: str) -> bytes:
    if _HEX.fullmatch(text) is None:
        raise ValueError("an info-hash is 40 hexadecimal digits")
    return bytes.fromhex(text)


def _parse_id(text: str) -> str:
    if _ID.fullmatch(text) is None:
        raise ValueError("an id is hexadecimal digits and dashes, or the first of them")
    return text.lower()


INFO_HASH: Final = ParsedType("info-hash", _parse_info_hash)
JOB_ID: Final = ParsedType("id", _parse_id)


@click.group(
    "jobs",
    invoke_without_command=True,
    epilog="An ID may be cut to as many of its first digits as no other job has.",
)
@common_options
@click.pass_context
def command(context: click.Context) -> None:
    """See what was done: every download, seed, check, move and creation is a job.

    Finished jobs are remembered for a day.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def _filter_options(function: Command) -> Command:
    decorators: tuple[Callable[[Any], Any], ...] = (
        click.option(
            "--status",
            "statuses",
            type=click.Choice(STATUSES),
            multiple=True,
            help="Only jobs that are this; may be repeated.",
        ),
        click.option(
            "--kind",
            "kinds",
            type=click.Choice(KINDS),
            multiple=True,
            help="Only jobs of this kind; may be repeated.",
        ),
        click.option(
            "--info-hash", type=INFO_HASH, metavar="INFO_HASH", help="Only jobs of this torrent."
        ),
    )
    for decorate in reversed(decorators):
        function = decorate(function)
    return function


@command.command("list")
@_filter_options
@click.option("-n", "--limit", type=COUNT, default=0, metavar="N", help="Only the newest N.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON for each job.")
@state_option
@common_options
@click.pass_context
def list_jobs(context: click.Context, /, **options: Any) -> ExitCode:  # noqa: ANN401
    """List jobs, the newest first."""
    from torrent_engine.cli.job_views import as_record, print_table
    from torrent_engine.cli.options import settings_of
    from torrent_engine.cli.render import print_json

    found = _read(options)
    if not options["as_json"]:
        print_table(found, no_color=settings_of(context).no_color)
    for job in found if options["as_json"] else ():
        print_json(as_record(job))
    return ExitCode.OK


@command.command("show")
@click.argument("job_ids", nargs=-1, required=True, type=JOB_ID, metavar="ID...")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON for each job.")
@state_option
@common_options
def show_jobs(**options: Any) -> ExitCode:  # noqa: ANN401
    """Print all that is known of each job."""
    from torrent_engine.cli.job_views import as_record, detail_lines
    from torrent_engine.cli.render import print_json, print_lines

    async def show(log: "JobLog | None") -> "list[Job]":
        return [await _find(log, job_id) for job_id in options["job_ids"]]

    for number, job in enumerate(_with_log(options, show)):
        if options["as_json"]:
            print_json(as_record(job))
        else:
            print_lines([*([""] if number else []), *detail_lines(job)])
    return ExitCode.OK


@command.command("clear")
@click.argument("job_ids", nargs=-1, type=JOB_ID, metavar="[ID...]")
@_filter_options
@click.option("--json", "as_json", is_flag=True, help="Print the number as a line of JSON.")
@state_option
@common_options
def clear_jobs(**options: Any) -> ExitCode:  # noqa: ANN401
    """Forget finished jobs: all, those that pass, or those named by ID.

    A job that is named is forgotten as well if it is paused and no process goes on with it.
    """
    from torrent_engine.cli.render import print_json, print_line

    count = _with_log(options, lambda log: _clear(log, options))
    if options["as_json"]:
        print_json({"cleared": count})
    else:
        print_line(f"{count} {'job' if count == 1 else 'jobs'} cleared")
    return ExitCode.OK


@command.command("export")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["json", "csv"]),
    default="json",
    show_default=True,
    help="An array of objects, or a table with a header.",
)
@click.option("-o", "--output", metavar="FILE", default=STDOUT, help="[default: standard output]")
@click.option("-f", "--force", is_flag=True, help="Replace FILE if it is there.")
@_filter_options
@state_option
@common_options
def export_jobs(**options: Any) -> ExitCode:  # noqa: ANN401
    """Write jobs to a file."""
    from torrent_engine.cli.job_views import as_csv, as_json
    from torrent_engine.cli.metadata import check_place
    from torrent_engine.cli.new_file import write_new
    from torrent_engine.cli.render import print_lines

    path = None if options["output"] == STDOUT else Path(options["output"])
    if path is not None:
        check_place(path, may_replace=options["force"])
    found = _read(options)
    text = as_csv(found) if options["file_format"] == "csv" else as_json(found)
    if path is None:
        print_lines([text.rstrip("\n")])
    else:
        write_new(path, text.encode(), replace=options["force"])
    return ExitCode.OK


# -- the database ---------------------------------------------------------------------------------


def _read(options: Options) -> "list[Job]":
    async def read(log: "JobLog | None") -> "list[Job]":
        return [] if log is None else await log.list(_filter_of(options))

    return _with_log(options, read)


def _filter_of(options: Options) -> "JobFilter":
    from torrent_engine.base.ids import InfoHash
    from torrent_engine.disk.job_table import JobFilter, JobKind, JobStatus

    info_hash = options["info_hash"]
    return JobFilter(
        statuses=frozenset(map(JobStatus, options["statuses"])),
        kinds=frozenset(map(JobKind, options["kinds"])),
        info_hash=None if info_hash is None else InfoHash(info_hash),
        limit=options.get("limit", 0),
    )


def _with_log(options: Options, work: Callable[["JobLog | None"], Awaitable[_Result]]) -> _Result:
    """Run ``work`` with the log of the state folder; None where there never was one."""
    from torrent_engine.cli import loop
    from torrent_engine.engine.state_folder import default_state_dir

    folder = options["state_dir"] or default_state_dir()
    if (folder / "state.db").exists():
        return loop.run(lambda: _in_log(folder, work))
    if options["state_dir"] is not None:
        raise CliError(f"{folder}: no state database there", ExitCode.NOT_FOUND)
    return loop.run(lambda: work(None))


async def _in_log(folder: Path, work: Callable[["JobLog | None"], Awaitable[_Result]]) -> _Result:
    from torrent_engine.disk.state import StateStore
    from torrent_engine.engine.job_log import JobLog

    async with await StateStore.open(folder) as store:
        log = await JobLog.open(store)
        try:
            return await work(log)
        finally:
            await log.close()


async def _find(log: "JobLog | None", job_id: str) -> "Job":
    """Return the job of an id or of its first digits; CliError unless there is just one."""
    from torrent_engine.disk.job_table import JobFilter

    found = [] if log is None else await log.list(JobFilter(id_prefix=job_id))
    if not found:
        raise CliError(f"no job {job_id!r}", ExitCode.NOT_FOUND)
    if len(found) > 1:
        some = ", ".join(job.id for job in found[:SHOWN])
        more = ", ..." if len(found) > SHOWN else ""
        raise CliError(f"{len(found)} jobs begin with {job_id!r}: {some}{more}")
    return found[0]


async def _clear(log: "JobLog | None", options: Options) -> int:
    jobs = [await _find(log, job_id) for job_id in options["job_ids"]]
    if log is None:
        return 0
    ids = frozenset(job.id for job in jobs)
    count = await log.clear(_filter_of(options), ids=ids or None)
    left = [job for job in jobs if await log.get(job.id) is not None]
    if left:
        raise CliError(f"job {left[0].id} is {left[0].status}, or does not pass; it was kept")
    return count
