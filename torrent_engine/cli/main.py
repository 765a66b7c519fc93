"""The command ``torrent-engine``: its sub-commands, error messages and exit codes.

The module of a sub-command is imported only when it is invoked, which keeps ``--help`` fast.
"""

import importlib
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, NoReturn, TextIO

import click

from torrent_engine.cli.options.common import common_options
from torrent_engine.cli.output import exit_codes
from torrent_engine.cli.output.exit_codes import ExitCode
from torrent_engine.cli.output.settings import ProcessSettings

PROGRAM: Final = "torrent-engine"
VERSION: Final = "0.1.0"

COMMANDS: Final[dict[str, str]] = {
    "download": "Download torrents, and optionally seed them.",
    "seed": "Seed complete torrents until stopped.",
    "run": "Download and seed torrents until stopped, and watch folders for new ones.",
    "daemon": "Download in the background, and serve remote controls over HTTP.",
    "stream": "Play a file of a torrent while it is downloaded.",
    "list": "List the torrents of the daemon or of `run`.",
    "add": "Add torrents to the daemon or to `run`.",
    "info": "Show what is known of a torrent.",
    "files": "List the files of a torrent.",
    "peers": "List the peers of a torrent.",
    "trackers": "List the trackers of a torrent.",
    "pause": "Pause torrents.",
    "resume": "Resume torrents.",
    "remove": "Remove torrents, with --delete-files their files too.",
    "move": "Move the files of a torrent.",
    "priority": "Set the queue priority of a torrent, or the priority of its files.",
    "queue": "Move torrents in the queue.",
    "limit": "Limit the rates and the peers of torrents.",
    "label": "Set the labels of a torrent of the daemon.",
    "category": "Set the category of a torrent of the daemon.",
    "recheck": "Check the data of torrents again.",
    "reannounce": "Ask the trackers of torrents for peers.",
    "stats": "Show the rates and totals of all torrents together.",
    "create": "Create a .torrent from files or folders.",
    "magnet": "Print the magnet link of a .torrent.",
    "metadata": "Fetch the .torrent of a magnet link without its data.",
    "show": "Print the contents of a .torrent.",
    "sign": "Sign a .torrent with a key and its certificate.",
    "update": "Fetch the newer version of a .torrent from its feed.",
    "verify": "Check data against its .torrent.",
    "scrape": "Ask trackers for the numbers of seeds and leeches.",
    "dht": "Query the distributed hash table, or run a node of it.",
    "publish": "Publish a torrent in the DHT under a link that later ones replace.",
    "jobs": "Show what all commands did in the last day.",
    "tracker": "Run a small HTTP and UDP tracker.",
    "conformance": "Try what a BitTorrent program does against the BEPs.",
    "completion": "Print the completion script of a shell.",
    "demo": "Try it all on this machine, in under a minute.",
}
"""Names of sub-commands (their module is ``cli/commands/NAME.py``) and their help lines."""
DETAILS: Final = frozenset({"info", "files", "peers", "trackers", "stats"})
"""Sub-commands in ``cli/commands/details.py``."""
MANAGING: Final = frozenset(
    {
        "list",
        "pause",
        "resume",
        "remove",
        "move",
        "priority",
        "recheck",
        "reannounce",
        "limit",
        "queue",
        "label",
        "category",
    }
)
"""Sub-commands in ``cli/commands/manage.py``."""
ELSEWHERE: Final = {
    "daemon": "torrent_engine.daemon.main",
    "stream": "torrent_engine.daemon.play.command",
    "conformance": "torrent_engine.conformance.command",
}
"""Modules of other layers that have a sub-command."""


class LazyGroup(click.Group):
    """A group that imports sub-commands lazily and maps errors to exit codes.

    A failed command prints at most one line to stderr.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of ``--help``."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one sub-command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        if cmd_name in MANAGING:
            from torrent_engine.cli.commands import manage

            return manage.COMMANDS[cmd_name]
        if cmd_name in DETAILS:
            from torrent_engine.cli.commands import details

            return details.COMMANDS[cmd_name]
        place = ELSEWHERE.get(cmd_name, f"torrent_engine.cli.commands.{cmd_name}")
        module = importlib.import_module(place)
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of sub-commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the exit codes, one per line."""
        del ctx
        rows = [(f"{code.value:>3}", text) for code, text in exit_codes.MEANINGS.items()]
        with formatter.section("Exit codes"):
            formatter.write_dl(rows)

    def main(  # type: ignore[override]  # click: NoReturn or Any, by standalone_mode
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001, FBT002 - click's signature
        **extra: Any,  # noqa: ANN401
    ) -> int:
        """Run the program; in standalone mode exit with its code."""
        arguments = list(sys.argv[1:] if args is None else args)
        del prog_name  # the name is the same however the program is started
        settings = extra.setdefault("obj", ProcessSettings())
        code = _exit_code_after(settings, lambda: self._run(complete_var, arguments, extra))
        if standalone_mode:
            sys.exit(int(code))
        return int(code)

    def _run(
        self, complete_var: str | None, arguments: list[str], extra: dict[str, Any]
    ) -> ExitCode:
        self._main_shell_completion(extra, PROGRAM, complete_var)
        with self.make_context(PROGRAM, arguments, **extra) as context:
            code = self.invoke(context)
        if "torrent_engine.cli.output.render" in sys.modules:
            sys.modules["torrent_engine.cli.output.render"].flush_output()
        return ExitCode(code or ExitCode.OK)


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(VERSION, prog_name=PROGRAM)
@common_options
@click.pass_context
def cli(context: click.Context) -> None:
    """Download, seed, create and examine torrents."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main() -> NoReturn:
    """Run the command line; the entry point of the package."""
    _fill_standard_descriptors()
    _keep_own_rights()
    cli.main()
    raise AssertionError("cli.main() ends the process")


def _fill_standard_descriptors() -> None:
    """Open the null device in place of a closed stdin, stdout or stderr.

    Otherwise the next socket or file would get its descriptor, and receive what is printed.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - and no path


def _keep_own_rights() -> None:
    """Let no umask take from the user what is made for the user: it could not be opened again."""
    os.umask(os.umask(0o077) & 0o077)


def _exit_code_after(settings: ProcessSettings, run: Any) -> ExitCode:  # noqa: ANN401
    """Call ``run``; map any exception to a line on stderr and an exit code."""
    code = _code_of(settings, run)
    _drop_unwritable_output()
    return code


def _code_of(settings: ProcessSettings, run: Any) -> ExitCode:  # noqa: ANN401
    try:
        code: ExitCode = run()
    except click.exceptions.Exit as ended:
        return _known(ended.exit_code)
    except click.ClickException as error:
        return _fail(_usage_line(error), ExitCode.BAD_OPTION)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted", ExitCode.UNFINISHED)
    except Exception as error:
        if isinstance(exit_codes.first_leaf(error), BrokenPipeError):
            return ExitCode.OUTPUT_CLOSED
        return _failed(error, settings)
    return code


def _failed(error: Exception, settings: ProcessSettings) -> ExitCode:
    if settings.debug:
        from torrent_engine.cli.output.render import print_traceback

        print_traceback(error)
    return _fail(exit_codes.message_of(error), exit_codes.exit_code_of(error))


def _fail(message: str, code: ExitCode) -> ExitCode:
    from torrent_engine.cli.output.render import flush_output, print_error

    with suppress(OSError, exit_codes.CliError):
        flush_output()  # what was printed before comes first
    print_error(message)
    return code


def _usage_line(error: click.ClickException) -> str:
    """Return click's message as one line, with the command that prints help."""
    text = re.sub(r"\s*\n\s*", " ", error.format_message()).rstrip(".")
    text = text[:1].lower() + text[1:]
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context is not None else PROGRAM
    return f"{text} (see {path} --help)"


def _known(code: int) -> ExitCode:
    return ExitCode(code) if code in set(ExitCode) else ExitCode.UNKNOWN


def _drop_unwritable_output() -> None:
    """Drop buffered output of streams that are closed (``| head``) or full.

    The interpreter flushes both again at its exit, and would end with a message and a code of its
    own.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # closed by who started us
            try:
                stream.flush()
            except (OSError, ValueError):
                _send_to_null_device(stream)


def _send_to_null_device(stream: TextIO) -> None:
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
