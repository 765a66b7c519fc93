"""``torrent-engine conformance``: the commands. What they need is imported when they run."""

import ipaddress
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from torrent_engine.conformance.errors import ConformanceError, SubjectUnreachableError
from torrent_engine.conformance.verdicts import Level, Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyio import CancelScope

    from torrent_engine.conformance.results import RuleResult, RunReport
    from torrent_engine.conformance.rule import ConformanceRule
    from torrent_engine.conformance.runner import RunPlan

Command = TypeVar("Command", bound=Callable[..., Any])
USAGE: Final = 2
NO_SUBJECT: Final = 3
TOLD_TO_END: Final = 128 + signal.SIGTERM
MAX_PORT: Final = 65_535


class ConformanceGroup(click.Group):
    """A group with exit codes of its own."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's signature
        """Run a command; end the process with the kit's code for a wrong option."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            click.echo(f"torrent-engine: {error.format_message()}", err=True)
            sys.exit(USAGE)


@click.group(
    "conformance",
    cls=ConformanceGroup,
    invoke_without_command=True,
    epilog="Exit codes: 0 all right, 1 failures, 2 usage, 3 the program cannot be started or"
    " reached, 4 more than a tenth is inconclusive, 5 a crash was seen.",
)
@click.pass_context
def command(context: click.Context) -> None:
    """Try what a BitTorrent program does against the BEPs, rule by rule."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


_prefixes = click.argument("prefixes", nargs=-1, metavar="[PREFIX]...")
_levels = click.option(
    "--level",
    "levels",
    type=click.Choice([each.value for each in Level]),
    multiple=True,
    metavar="LEVEL",
    help=f"Only rules of this level: {', '.join(Level)}; may be repeated.",
)


def _run_options(function: Command) -> Command:
    decorators: tuple[Callable[[Any], Any], ...] = (
        _levels,
        click.option("--strict", is_flag=True, help="Count non-strict results and SHOULD too."),
        click.option(
            "--patience",
            type=click.FloatRange(0.1, 20),
            default=1.0,
            show_default=True,
            metavar="N",
            help="Factor of every time limit, for slow programs and machines.",
        ),
        click.option(
            "--jobs",
            type=click.IntRange(1, 32),
            default=6,
            show_default=True,
            metavar="N",
            help="Rules that run at the same time.",
        ),
        click.option(
            "--json",
            "json_file",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            help="Write the results as JSON. [default: none are written]",
        ),
        click.option(
            "--junit",
            "junit_file",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            help="Write the results as JUnit XML. [default: none are written]",
        ),
        click.option(
            "--repeat",
            type=click.IntRange(1, 100),
            default=1,
            show_default=True,
            metavar="N",
            help="Run everything so often; verdicts that differ are inconclusive.",
        ),
        click.option(
            "--log",
            "log_dir",
            type=click.Path(file_okay=False, path_type=Path),
            metavar="DIR",
            help="Write what was sent and received, a file for each rule. [default: none]",
        ),
        click.option(
            "--expected",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            help="TOML with known verdicts; only differences are failures. [default: none]",
        ),
        click.option("--dry-run", is_flag=True, help="Print the rules, and run none."),
    )
    for decorate in reversed(decorators):
        function = decorate(function)
    return function


@command.command("list")
@_prefixes
@_levels
@click.option(
    "--role",
    type=click.Choice([each.value for each in Role]),
    metavar="ROLE",
    help=f"Only rules of one role: {', '.join(Role)}.  [default: all roles]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON for each rule.")
def list_rules(
    prefixes: tuple[str, ...], levels: tuple[str, ...], role: str | None, *, as_json: bool
) -> None:
    """List the rules whose id begins with a PREFIX, such as BEP3-HS; without one, all."""
    from torrent_engine.conformance.catalogue import choose
    from torrent_engine.conformance.reports.records import rule_record
    from torrent_engine.conformance.reports.text import rule_line

    with _kit_errors():
        chosen_role = Role(role) if role else None
        found = choose(prefixes, levels=list(map(Level, levels)), role=chosen_role)
        for each in found:
            click.echo(json.dumps(rule_record(each)) if as_json else rule_line(each))


@command.command("prepare")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
def prepare(folder: Path) -> None:
    """Write the sample torrent, its data and its link into DIR.

    Let the program seed it from DIR/data, then run `torrent-engine conformance seed`.
    """
    from torrent_engine.conformance.torrent_set import basic_torrent, write_sample

    torrent = basic_torrent()
    try:
        path = write_sample(torrent, folder)
        (folder / "basic.magnet").write_text(f"{torrent.magnet()}\n")
    except OSError as error:
        click.echo(f"torrent-engine: {folder}: {error.strerror}", err=True)
        sys.exit(USAGE)
    click.echo(f"{path}: seed it from {folder / 'data'}, then")
    click.echo("torrent-engine conformance seed HOST:PORT")


@command.command("seed")
@click.argument("address", metavar="HOST:PORT")
@_prefixes
@_run_options
@click.option(
    "--this-is-mine",
    is_flag=True,
    help="Allow an address that is neither of this machine nor private: the cases look like"
    " attacks.",
)
@click.option("--destructive", is_flag=True, help="Run the rules that end some programs, too.")
def seed(address: str, prefixes: tuple[str, ...], **options: Any) -> None:  # noqa: ANN401
    """Try a program that seeds the sample torrent of `prepare` at HOST:PORT."""
    from torrent_engine.conformance.session import run_remote

    host, port = _address(address, may_be_public=options["this_is_mine"])
    plan = _plan(options)

    async def run(rules: "Sequence[ConformanceRule]") -> "RunReport":
        return await run_remote(host, port, rules=rules, plan=plan, progress=_show)

    _run(run, prefixes, options)


@command.command("run")
@click.option(
    "--subject",
    required=True,
    metavar="NAME",
    help="libtorrent, transmission, aria2, rtorrent, qbittorrent, webtorrent, opentracker,"
    " torrent-engine, or the path of a TOML file.",
)
@_prefixes
@_run_options
@click.option(
    "--own-network",
    is_flag=True,
    help="Run in a network namespace, with addresses that look public and no way out. For programs"
    " that leave peers of their own machine out, such as Transmission. Needs Linux.",
)
def run_subject(subject: str, prefixes: tuple[str, ...], **options: Any) -> None:  # noqa: ANN401
    """Start a program, try it, and end it."""
    from torrent_engine.conformance.session import run_program

    plan = _plan(options)
    if options["own_network"]:
        from torrent_engine.conformance.lab import enter_own_network

        with _kit_errors():
            plan = replace(plan, addresses=enter_own_network())

    async def run(rules: "Sequence[ConformanceRule]") -> "RunReport":
        return await run_program(subject, rules=rules, plan=plan, progress=_show)

    _run(run, prefixes, options)


@command.command("report")
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.json...",
)
@click.option(
    "--html",
    "page",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="OUT",
    help="The page to write.",
)
@click.option(
    "--withhold-crashes",
    is_flag=True,
    help="Leave crashes out: for a page that others read before the program's authors know.",
)
def report_matrix(files: tuple[Path, ...], page: Path, *, withhold_crashes: bool) -> None:
    """Write the results of several runs, as `--json` wrote them, as one HTML matrix.

    It shows the wire logs of runs that had `--log`, too.
    """
    from torrent_engine.conformance.reports.matrix import load_column, matrix_page

    with _kit_errors(), _file_errors():
        columns = [load_column(each) for each in files]
        page.write_text(matrix_page(columns, withholds_crashes=withhold_crashes))


def _run(run: Callable[..., Any], prefixes: tuple[str, ...], options: Mapping[str, Any]) -> None:
    """Choose rules, run them, write the reports, and end the process with the code for them."""
    from torrent_engine.conformance.catalogue import choose
    from torrent_engine.conformance.expectations import load_expected
    from torrent_engine.conformance.reports.text import ending_lines, rule_line
    from torrent_engine.conformance.results import merged

    with _kit_errors():
        rules = choose(prefixes, levels=list(map(Level, options["levels"])))
        expected = load_expected(options["expected"]) if options["expected"] else None
        if options["dry_run"]:
            click.echo("\n".join(map(rule_line, rules)))
            return
        report = merged([_run_once(run, rules) for _ in range(options["repeat"])])
    report.strict = options["strict"]
    if expected is not None:
        report.compare(expected)
    _write_files(report, options)
    for line in ending_lines(report):
        click.echo(line)
    if code := int(report.exit_code()):
        sys.exit(code)


def _run_once(run: Callable[..., Any], rules: "Sequence[ConformanceRule]") -> "RunReport":
    """Run rules; when the process is told to end (SIGTERM), end what it started, and then it."""
    import anyio

    found: list[RunReport | ConformanceError] = []

    async def until_told() -> None:
        with anyio.open_signal_receiver(signal.SIGTERM) as signals:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_cancel_at, signals, tasks.cancel_scope)
                try:
                    found.append(await run(rules))
                except ConformanceError as error:
                    found.append(error)
                tasks.cancel_scope.cancel()

    anyio.run(until_told)
    if not found:
        sys.exit(TOLD_TO_END)
    if isinstance(found[0], ConformanceError):
        raise found[0]
    return found[0]


async def _cancel_at(signals: AsyncIterator[signal.Signals], scope: "CancelScope") -> None:
    """Cancel what runs when the first signal comes."""
    async for _ in signals:
        scope.cancel()


def _write_files(report: "RunReport", options: Mapping[str, Any]) -> None:
    from torrent_engine.conformance.reports.junit import junit_of
    from torrent_engine.conformance.reports.records import record_of

    json_file, junit_file, log_dir = (
        options[each] for each in ("json_file", "junit_file", "log_dir")
    )
    logs: dict[str, str] = {}
    with _file_errors():
        if log_dir is not None:
            log_dir.mkdir(parents=True, exist_ok=True)
            start = json_file.parent if json_file is not None else log_dir
            for each in report.results:
                path = log_dir / f"{each.rule.rule_id}.log"
                path.write_text(each.log)
                logs[each.rule.rule_id] = os.path.relpath(path, start)
        if json_file is not None:
            json_file.write_text(json.dumps(record_of(report, logs), indent=1) + "\n")
        if junit_file is not None:
            junit_file.write_text(junit_of(report))


@contextmanager
def _file_errors() -> Iterator[None]:
    """Print an error of a file as one line, and end the process."""
    try:
        yield
    except OSError as error:
        click.echo(f"torrent-engine: {error.filename}: {error.strerror}", err=True)
        sys.exit(USAGE)


def _plan(options: Mapping[str, Any]) -> "RunPlan":
    from torrent_engine.conformance.runner import RunPlan

    return RunPlan(options["patience"], options["jobs"], options.get("destructive", False))


def _show(result: "RuleResult") -> None:
    from torrent_engine.conformance.reports.text import result_line

    click.echo(result_line(result))


@contextmanager
def _kit_errors() -> Iterator[None]:
    """Print an error of the kit as one line, and end the process with its code."""
    try:
        yield
    except SubjectUnreachableError as error:
        click.echo(f"torrent-engine: {error}", err=True)
        sys.exit(NO_SUBJECT)
    except ConformanceError as error:
        click.echo(f"torrent-engine: {error}", err=True)
        sys.exit(USAGE)


def _address(text: str, *, may_be_public: bool) -> tuple[str, int]:
    """Read HOST:PORT; refuse what is neither of this machine nor private."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) <= MAX_PORT:
        raise click.UsageError(f"{text!r} is no HOST:PORT")
    host = host.strip("[]")
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise click.UsageError(f"{host!r} is no address") from None
    if not (address.is_private or address.is_loopback or may_be_public):
        raise click.UsageError(f"{address} is a public address; --this-is-mine allows it")
    return str(address), int(port)
