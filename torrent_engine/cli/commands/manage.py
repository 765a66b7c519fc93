"""``torrent-engine list``, ``pause``, ``resume``, ``remove``, ``move``, ``priority``, ``recheck``.

They manage the torrents of ``run``: through its control socket while it runs, else in its database.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from torrent_engine.cli.options.common import (
    Command,
    CommandOptions,
    ParsedType,
    common_options,
    settings_of,
)
from torrent_engine.cli.options.groups import state_option
from torrent_engine.cli.output.exit_codes import CliError, ExitCode
from torrent_engine.service.system import HAS_UNIX_SOCKETS

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from torrent_engine.service.torrents import Failure, TorrentControl, TorrentRow

_Result = TypeVar("_Result")
_EPILOG: Final = (
    "A TORRENT is a name, an info-hash, or an unambiguous prefix of an info-hash. This works"
    " whether `run` is running or not."
)
_CODES: Final = {
    "torrent_not_found": ExitCode.NOT_FOUND,
    "file_not_found": ExitCode.NOT_FOUND,
    "in_use": ExitCode.IN_USE,
    "not_enough_space": ExitCode.DISK_FULL,
    "file_exists": ExitCode.FILE_EXISTS,
    "io_error": ExitCode.IO_ERROR,
    "internal": ExitCode.UNKNOWN,
}


def _parse_priority(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise ValueError("a whole number is needed") from error


_PRIORITY: Final = ParsedType("number", _parse_priority)


def _options(command: Command) -> Command:
    json_option = click.option(
        "--json", "as_json", is_flag=True, help="Print one line of JSON for each torrent."
    )
    return json_option(state_option(common_options(command)))


def _torrents(command: Command) -> Command:
    named = click.argument("torrents", nargs=-1, metavar="TORRENT...")
    return named(
        click.option("-a", "--all", "takes_all", is_flag=True, help="All torrents.")(command)
    )


@click.command("list", epilog=_EPILOG)
@click.argument("torrents", nargs=-1, metavar="[TORRENT]...")
@_options
@click.pass_context
def list_torrents(context: click.Context, /, **options: Any) -> ExitCode:  # noqa: ANN401
    """List the torrents of `run` in queue order."""
    from torrent_engine.cli.output.render import print_json
    from torrent_engine.cli.output.torrent_table import find_torrent, print_torrents

    rows = _with_torrents(options, lambda torrents: torrents.rows())
    if options["torrents"]:
        rows = [find_torrent(rows, name) for name in options["torrents"]]
    if not options["as_json"]:
        print_torrents(rows, no_color=settings_of(context).no_color)
    for row in rows if options["as_json"] else ():
        print_json(asdict(row))
    return ExitCode.OK


@click.command("pause", epilog=_EPILOG)
@_torrents
@_options
def pause(**options: Any) -> ExitCode:  # noqa: ANN401
    """Pause torrents until `resume`, also across restarts."""
    return _change(options, "pause", lambda _: "paused")


@click.command("resume", epilog=_EPILOG)
@_torrents
@_options
def resume(**options: Any) -> ExitCode:  # noqa: ANN401
    """Resume torrents that are paused, stopped or in error."""
    return _change(options, "resume", lambda _: "resumed")


@click.command("remove", epilog=_EPILOG)
@_torrents
@click.option("--delete-files", is_flag=True, help="Delete their files, too.")
@_options
def remove(**options: Any) -> ExitCode:  # noqa: ANN401
    """Remove torrents; their files are kept unless --delete-files is given."""
    text = "removed with its files" if options["delete_files"] else "removed"
    return _change(options, "remove", lambda _: text, delete_files=options["delete_files"])


@click.command("move", epilog=_EPILOG)
@click.argument("torrent", metavar="TORRENT")
@click.argument("folder", type=click.Path(path_type=Path), metavar="FOLDER")
@_options
def move(**options: Any) -> ExitCode:  # noqa: ANN401
    """Move the files of a torrent to another folder."""
    options["torrents"] = (options["torrent"],)
    path = os.path.abspath(options["folder"])  # noqa: PTH100 - Path.absolute() keeps ..
    return _change(options, "move", lambda row: f"moved to {row.save_path}", path=path)


@click.command("priority", epilog=_EPILOG)
@click.argument("torrent", metavar="TORRENT")
@click.argument("priority", type=_PRIORITY, metavar="NUMBER")
@click.option(
    "--files",
    multiple=True,
    metavar="LIST",
    help="Set the priority of these files, 0 (skip) to 7: numbers as printed by `show --files`"
    " (1-3,7) or patterns (*.mkv); may be repeated.",
)
@_options
def priority(**options: Any) -> ExitCode:  # noqa: ANN401
    """Set the priority of a torrent in the queue, or of some of its files."""
    options["torrents"] = (options["torrent"],)
    number, files = options["priority"], tuple(options["files"])
    text = f"priority {number}" + (f" of files {','.join(files)}" if files else "")
    return _change(options, "priority", lambda _: text, priority=number, files=files)


@click.command("recheck", epilog=_EPILOG)
@_torrents
@_options
def recheck(**options: Any) -> ExitCode:  # noqa: ANN401
    """Check the data of torrents again, and print how much is complete."""
    from torrent_engine.cli.output.torrent_table import done_of

    return _change(options, "recheck", lambda row: f"checked, {done_of(row)} is there")


COMMANDS: Final = {
    command.name: command
    for command in (list_torrents, pause, resume, remove, move, priority, recheck)
}


# -- the work -------------------------------------------------------------------------------------


def _change(
    options: CommandOptions,
    action: str,
    describe: "Callable[[TorrentRow], str]",
    **arguments: Any,  # noqa: ANN401 - fields of Change
) -> ExitCode:
    """Apply an action to the given torrents; print a line for each."""
    from torrent_engine.base.ids import InfoHash
    from torrent_engine.service.torrents import Change, TorrentAction

    names, takes_all = options["torrents"], options.get("takes_all", False)
    if bool(names) == takes_all:
        raise CliError("give TORRENTs or --all" if not names else "TORRENTs and --all are given")

    async def work(
        torrents: "TorrentControl",
    ) -> "tuple[list[TorrentRow], dict[str, Failure], dict[str, TorrentRow]]":
        before = await torrents.rows()
        chosen = list(before) if takes_all else _named(before, names)
        ids = tuple(InfoHash(bytes.fromhex(row.info_hash)) for row in chosen)
        change: Change = Change(TorrentAction(action), ids, **arguments)
        change.check()
        failed = {failure.info_hash: failure for failure in await torrents.change(change)}
        return chosen, failed, {row.info_hash: row for row in await torrents.rows()}

    chosen, failed, after = _with_torrents(options, work)
    codes = []
    for row in chosen:
        now = after.get(row.info_hash, row)
        codes.append(
            _print_result(action, now, describe(now), failed.get(row.info_hash), options["as_json"])
        )
    return next((code for code in codes if code is not ExitCode.OK), ExitCode.OK)


def _named(rows: "Sequence[TorrentRow]", names: Sequence[str]) -> "list[TorrentRow]":
    """Return the torrents with these names, without duplicates."""
    from torrent_engine.cli.output.torrent_table import find_torrent

    return list({row.info_hash: row for row in (find_torrent(rows, n) for n in names)}.values())


def _print_result(
    action: str,
    row: "TorrentRow",
    text: str,
    failure: "Failure | None",
    as_json: bool,  # noqa: FBT001
) -> ExitCode:
    from torrent_engine.cli.output.render import print_error, print_json, print_wrapped
    from torrent_engine.cli.output.text import safe

    if as_json:
        facts = {"action": action, "info_hash": row.info_hash, "name": row.name}
        problem = {} if failure is None else {"code": failure.code, "detail": failure.detail}
        print_json({**facts, "done": failure is None, **problem})
    elif failure is None:
        print_wrapped(f"{safe(row.name)}: {safe(text)}")
    if failure is None:
        return ExitCode.OK
    print_error(f"{row.name}: {failure.detail}")
    return _CODES.get(failure.code, ExitCode.BAD_OPTION)


def _with_torrents(
    options: CommandOptions, work: "Callable[[TorrentControl], Awaitable[_Result]]"
) -> _Result:
    """Run ``work`` with the torrents of the state folder."""
    from torrent_engine.engine.resources.state_folder import default_state_dir
    from torrent_engine.service import loop

    if not HAS_UNIX_SOCKETS:
        raise CliError("there are no unix sockets on Windows: use `run` and the library")
    folder: Path = options["state_dir"] or default_state_dir()
    if not (folder / "state.db").exists():
        raise CliError(f"{folder}: no state database there", ExitCode.NOT_FOUND)

    async def run() -> _Result:
        from torrent_engine.service.control_client import open_torrents

        async with open_torrents(folder) as torrents:
            return await work(torrents)

    return loop.run(run)
