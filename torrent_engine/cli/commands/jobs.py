"""``torrent-engine jobs``: the history of all runs that share a state folder."""

import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from torrent_engine.cli.options.common import (
    COUNT,
    Command,
    CommandOptions,
    ParsedType,
    common_options,
)
from torrent_engine.cli.options.groups import state_option
from torrent_engine.cli.output.exit_codes import CliError, ExitCode

if TYPE_CHECKING:
    from torrent_engine.base.ids import InfoHash
    from torrent_engine.disk.state.job_table import Job, JobFilter
    from torrent_engine.engine.jobs.job_log import JobLog

KINDS: Final = ("add", "check", "download", "seed", "move", "create")
STATUSES: Final = ("pending", "running", "paused", "completed", "failed", "cancelled")
STDOUT: Final = "-"
SHOWN: Final = 3  # ours: how many jobs an ambiguous id lists
_ID: Final = re.compile(r"[0-9a-fA-F-]{1,36}")
HEX_DIGITS: Final = 40  # of an info-hash
_HEX: Final = re.compile(r"[0-9a-fA-F]{1,40}")
_Result = TypeVar("_Result")


def _parse_info_hash(text: str) -> str:
    if _HEX.fullmatch(text) is None:
        raise ValueError("an info-hash is 40 hexadecimal digits, or the first of them")
    return text.lower()


def _parse_id(text: str) -> str:
    if _ID.fullmatch(text) is None:
        raise ValueError("an id is hexadecimal digits and dashes, or the first of them")
    return text.lower()


INFO_HASH: Final = ParsedType("info-hash", _parse_info_hash)
JOB_ID: Final = ParsedType("id", _parse_id)


@click.group(
    "jobs",
    invoke_without_command=True,
    epilog="An ID or INFO_HASH may be shortened to an unambiguous prefix.",
)
@common_options
@click.pass_context
def command(context: click.Context) -> None:
    """Show the history: every download, seed, check, move and creation is a job.

    Finished jobs are kept for a day.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def _choices(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _filter_options(function: Command) -> Command:
    decorators: tuple[Callable[[Any], Any], ...] = (
        click.option(
            "--status",
            "statuses",
            type=click.Choice(STATUSES),
            multiple=True,
            metavar="STATUS",
            help=f"Only jobs with this status: {_choices(STATUSES)}; may be repeated.",
        ),
        click.option(
            "--kind",
            "kinds",
            type=click.Choice(KINDS),
            multiple=True,
            metavar="KIND",
            help=f"Only jobs of this kind: {_choices(KINDS)}; may be repeated.",
        ),
        click.option(
            "--info-hash",
            type=INFO_HASH,
            metavar="INFO_HASH",
            help="Only jobs of this torrent.  [default: all]",
        ),
    )
    for decorate in reversed(decorators):
        function = decorate(function)
    return function


@command.command("list")
@_filter_options
@click.option(
    "-n",
    "--limit",
    type=COUNT,
    default=0,
    metavar="N",
    help="Only the newest N.  [default: all]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON for each job.")
@state_option
@common_options
@click.pass_context
def list_jobs(context: click.Context, /, **options: Any) -> ExitCode:  # noqa: ANN401
    """List jobs, newest first."""
    from torrent_engine.cli.options.common import settings_of
    from torrent_engine.cli.output.jobs import as_record, print_jobs, unambiguous_chars
    from torrent_engine.cli.output.render import print_json

    found, ids = _with_log(options, lambda log: _found(log, options))
    if not options["as_json"]:
        no_color = settings_of(context).no_color
        print_jobs(found, id_chars=unambiguous_chars(ids), no_color=no_color)
    for job in found if options["as_json"] else ():
        print_json(as_record(job))
    return ExitCode.OK


@command.command("show")
@click.argument("job_ids", nargs=-1, required=True, type=JOB_ID, metavar="ID...")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON for each job.")
@state_option
@common_options
def show_jobs(**options: Any) -> ExitCode:  # noqa: ANN401
    """Print the details of each job."""
    from torrent_engine.cli.output.jobs import as_record, print_details
    from torrent_engine.cli.output.render import print_json, print_line

    async def show(log: "JobLog | None") -> "list[Job]":
        return [await _find(log, job_id) for job_id in options["job_ids"]]

    for number, job in enumerate(_with_log(options, show)):
        if options["as_json"]:
            print_json(as_record(job))
        else:
            if number:
                print_line()
            print_details(job)
    return ExitCode.OK


@command.command("clear")
@click.argument("job_ids", nargs=-1, type=JOB_ID, metavar="[ID...]")
@_filter_options
@click.option("--json", "as_json", is_flag=True, help="Print the count as a line of JSON.")
@state_option
@common_options
def clear_jobs(**options: Any) -> ExitCode:  # noqa: ANN401
    """Delete finished jobs: all, those that match, or those given by ID.

    A job given by ID may also be paused, if no process owns it.
    """
    from torrent_engine.cli.output.render import print_json, print_line

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
    help="JSON array of objects, or CSV with a header.",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    default=STDOUT,
    help="File to write.  [default: standard output]",
)
@click.option("-f", "--force", is_flag=True, help="Overwrite an existing FILE.")
@_filter_options
@state_option
@common_options
def export_jobs(**options: Any) -> ExitCode:  # noqa: ANN401
    """Write jobs to a file."""
    from torrent_engine.cli.commands.metadata import check_place
    from torrent_engine.cli.output.jobs import as_csv, as_json
    from torrent_engine.cli.output.render import print_lines
    from torrent_engine.cli.tasks.new_file import write_new

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


def _read(options: CommandOptions) -> "list[Job]":
    return _with_log(options, lambda log: _found(log, options))[0]


async def _found(log: "JobLog | None", options: CommandOptions) -> "tuple[list[Job], list[str]]":
    """Return the jobs that match, and the ids of all jobs."""
    if log is None:
        return [], []
    found = await log.list(await _filter_of(log, options))
    return found, [job.id for job in await log.list()]


async def _filter_of(log: "JobLog", options: CommandOptions) -> "JobFilter":
    from torrent_engine.disk.state.job_table import JobFilter, JobKind, JobStatus

    prefix: str | None = options["info_hash"]
    return JobFilter(
        statuses=frozenset(map(JobStatus, options["statuses"])),
        kinds=frozenset(map(JobKind, options["kinds"])),
        info_hash=None if prefix is None else await _info_hash(log, prefix),
        limit=options.get("limit", 0),
    )


async def _info_hash(log: "JobLog", prefix: str) -> "InfoHash":
    """Return the info-hash with a prefix; CliError unless there is exactly one."""
    from torrent_engine.base.ids import InfoHash

    known = {job.info_hash.hex() for job in await log.list() if job.info_hash is not None}
    found = sorted(each for each in known if each.startswith(prefix))
    if len(prefix) == HEX_DIGITS:
        return InfoHash(bytes.fromhex(prefix))
    if not found:
        raise CliError(f"no job of a torrent {prefix!r}", ExitCode.NOT_FOUND)
    if len(found) > 1:
        raise CliError(f"{len(found)} torrents begin with {prefix!r}: {_some(found)}")
    return InfoHash(bytes.fromhex(found[0]))


def _some(ids: "Sequence[str]") -> str:
    return ", ".join(ids[:SHOWN]) + (", ..." if len(ids) > SHOWN else "")


def _with_log(
    options: CommandOptions, work: Callable[["JobLog | None"], Awaitable[_Result]]
) -> _Result:
    """Run ``work`` with the job log of the state folder; None if it has no database."""
    from torrent_engine.engine.resources.state_folder import default_state_dir
    from torrent_engine.service import loop

    folder = options["state_dir"] or default_state_dir()
    if (folder / "state.db").exists():
        return loop.run(lambda: _in_log(folder, work))
    if options["state_dir"] is not None:
        raise CliError(f"{folder}: no state database there", ExitCode.NOT_FOUND)
    return loop.run(lambda: work(None))


async def _in_log(folder: Path, work: Callable[["JobLog | None"], Awaitable[_Result]]) -> _Result:
    from torrent_engine.disk.state.store import NO_RESERVE, StateStore
    from torrent_engine.engine.jobs.job_log import JobLog

    async with await StateStore.open(folder, config=NO_RESERVE) as store:
        log = await JobLog.open(store)
        try:
            return await work(log)
        finally:
            await log.close()


async def _find(log: "JobLog | None", job_id: str) -> "Job":
    """Return the job with an id or a prefix of it; CliError unless there is exactly one."""
    from torrent_engine.disk.state.job_table import JobFilter

    found = [] if log is None else await log.list(JobFilter(id_prefix=job_id))
    if not found:
        raise CliError(f"no job {job_id!r}", ExitCode.NOT_FOUND)
    if len(found) > 1:
        some = _some([job.id for job in found])
        raise CliError(f"{len(found)} jobs begin with {job_id!r}: {some}")
    return found[0]


async def _clear(log: "JobLog | None", options: CommandOptions) -> int:
    jobs = [await _find(log, job_id) for job_id in options["job_ids"]]
    if log is None:
        return 0
    ids = frozenset(job.id for job in jobs)
    count = await log.clear(await _filter_of(log, options), ids=ids or None)
    left = [job for job in jobs if await log.get(job.id) is not None]
    if left:
        raise CliError(f"job {left[0].id} is {left[0].status}, or does not match; it was kept")
    return count
