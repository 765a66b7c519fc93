"""Loop over several torrents in which an error of one does not stop the others."""

from collections.abc import Callable, Sequence

from torrent_engine.cli.output.exit_codes import ExitCode, exit_code_of, is_expected
from torrent_engine.cli.output.render import (
    OutputError,
    flush_output,
    print_failure,
    print_traceback,
)
from torrent_engine.service.sources import shown


def for_each(arguments: Sequence[str], work: Callable[[str], ExitCode], *, debug: bool) -> ExitCode:
    """Call ``work`` with each argument; return the first code that is not OK.

    What it raises is one line on stderr; a bug is not caught. What is printed of one argument can
    be read before the next is begun.
    """
    codes = [_one(argument, work, debug=debug) for argument in arguments]
    return next((code for code in codes if code is not ExitCode.OK), ExitCode.OK)


def _one(argument: str, work: Callable[[str], ExitCode], *, debug: bool) -> ExitCode:
    try:
        code = work(argument)
        flush_output()
    except (BrokenPipeError, OutputError):
        raise
    except Exception as error:
        if not is_expected(error):
            raise
        if debug:
            print_traceback(error)
        print_failure(error, about=shown(argument))
        return exit_code_of(error)
    return code
