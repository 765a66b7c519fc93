"""The command ``torrent-engine``: its sub-commands, and how every run ends.

A sub-command's module is imported when it is invoked, so that ``--help`` costs next to nothing.
"""

import importlib
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, NoReturn

import click

from torrent_engine.cli import exit_codes
from torrent_engine.cli.exit_codes import ExitCode
from torrent_engine.cli.options import Settings, common_options

PROGRAM: Final = "torrent-engine"
VERSION: Final = "0.1.0"

COMMANDS: Final[dict[str, str]] = {
    "download": "Download torrents, and seed them if asked to.",
    "seed": "Seed torrents whose data is there, until stopped.",
    "run": "Keep torrents going until stopped, with folders that are watched for more.",
    "create": "Make a .torrent from files or folders.",
    "magnet": "Print the magnet link of a .torrent.",
    "metadata": "Fetch only the .torrent of a magnet link.",
    "show": "Print what a .torrent contains.",
    "verify": "Check data against its .torrent.",
    "scrape": "Ask a torrent's trackers for their counts.",
    "dht": "Ask the distributed hash table, or be a node of it.",
    "jobs": "See what was done, by all runs of the last day.",
    "tracker": "Run a small HTTP and UDP tracker.",
    "demo": "Show it all at work on this machine, in under a minute.",
}
"""Name of a sub-command (its module is ``cli/NAME.py``) and its line in ``--help``."""


class LazyGroup(click.Group):
    """A group that imports a sub-command only to run it, and owns how the process ends.

    Whatever happens, the user sees at most one line on stderr, and the exit code says which kind.
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
        module = importlib.import_module(f"torrent_engine.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of sub-commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the exit codes as they stand, one a line."""
        del ctx
        formatter.write_paragraph()
        formatter.write(exit_codes.epilog() + "\n")

    def main(  # type: ignore[override]  # click: NoReturn or Any, by standalone_mode
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001, FBT002 - click's signature
        **extra: Any,  # noqa: ANN401
    ) -> int:
        """Run the program; in standalone mode end the process with the exit code."""
        arguments = list(sys.argv[1:] if args is None else args)
        del prog_name  # the name is the same however the program is started
        settings = extra.setdefault("obj", Settings())
        code = _ended_by(settings, lambda: self._run(complete_var, arguments, extra))
        if standalone_mode:
            sys.exit(int(code))
        return int(code)

    def _run(
        self, complete_var: str | None, arguments: list[str], extra: dict[str, Any]
    ) -> ExitCode:
        self._main_shell_completion(extra, PROGRAM, complete_var)
        with self.make_context(PROGRAM, arguments, **extra) as context:
            code = self.invoke(context)
        if "torrent_engine.cli.render" in sys.modules:
            sys.modules["torrent_engine.cli.render"].flush_output()
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
    cli.main()
    raise AssertionError("cli.main() ends the process")


def _fill_standard_descriptors() -> None:
    """Put the null device where stdin, stdout or stderr is closed.

    Otherwise the next socket or file gets its number, and what is printed goes there.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one


def _ended_by(settings: Settings, run: Any) -> ExitCode:  # noqa: ANN401
    """Run, and turn whatever ends it into a line on stderr and an exit code."""
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
            return _output_is_closed()
        return _failed(error, settings)
    return code


def _failed(error: Exception, settings: Settings) -> ExitCode:
    if settings.debug:
        from torrent_engine.cli.render import print_traceback

        print_traceback(error)
    return _fail(exit_codes.message_of(error), exit_codes.exit_code_of(error))


def _fail(message: str, code: ExitCode) -> ExitCode:
    from torrent_engine.cli.render import print_error

    print_error(message)
    return code


def _usage_line(error: click.ClickException) -> str:
    """Return click's sentence as one line, with the command to ask for help."""
    text = " ".join(error.format_message().split()).rstrip(".")
    text = text[:1].lower() + text[1:]
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context is not None else PROGRAM
    return f"{text} (see {path} --help)"


def _known(code: int) -> ExitCode:
    return ExitCode(code) if code in set(ExitCode) else ExitCode.UNKNOWN


def _output_is_closed() -> ExitCode:
    """End quietly when the reader of our output has gone, as ``head`` does."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):  # what is buffered is flushed once more at the end
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
            continue
        with suppress(OSError, ValueError, AttributeError):
            os.dup2(null, stream.fileno())
    return ExitCode.OUTPUT_CLOSED


def end_at_once(code: ExitCode) -> NoReturn:
    """End the process without asking anybody: the second Ctrl-C."""
    signal.set_wakeup_fd(-1)
    os._exit(int(code))
