"""``torrent-engine list``, ``pause``, ``resume``, ``remove`` and other changes of torrents.

They ask whoever runs the torrents of the state folder, the daemon or ``run``, at its unix socket,
and work on the database while nobody runs them.
"""

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from torrent_engine.cli.options.common import COUNT, RATE, CommandOptions, ParsedType, settings_of
from torrent_engine.cli.output.exit_codes import CliError, ExitCode
from torrent_engine.cli.tasks.managed import (
    EITHER_WAY,
    EPILOG,
    managed_folder,
    managing_options,
    one_torrent,
    several_torrents,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from torrent_engine.service.torrents import Failure, TorrentControl, TorrentRow

_CODES: Final = {
    "torrent_not_found": ExitCode.NOT_FOUND,
    "file_not_found": ExitCode.NOT_FOUND,
    "in_use": ExitCode.IN_USE,
    "network": ExitCode.NETWORK,
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


@click.command("list", epilog=EITHER_WAY)
@click.argument("torrents", nargs=-1, metavar="[TORRENT]...")
@managing_options
@click.pass_context
def list_torrents(context: click.Context, /, **options: Any) -> ExitCode:  # noqa: ANN401
    """List the torrents of the daemon or of `run`, in queue order."""
    from torrent_engine.cli.output.render import print_json
    from torrent_engine.cli.output.torrent_table import print_torrents
    from torrent_engine.cli.tasks.last_list import save_list

    folder = managed_folder(options)
    rows = folder.run(lambda torrents: torrents.rows())
    if options["torrents"]:
        rows = folder.named(rows, options["torrents"])
    save_list(folder.path, [row.info_hash for row in rows])
    if not options["as_json"]:
        print_torrents(rows, no_color=settings_of(context).no_color)
    for row in rows if options["as_json"] else ():
        print_json(asdict(row))
    return ExitCode.OK


@click.command("pause", epilog=EITHER_WAY)
@several_torrents
@managing_options
def pause(**options: Any) -> ExitCode:  # noqa: ANN401
    """Pause torrents until `resume`, also across restarts."""
    return _change(options, "pause", lambda _: "paused")


@click.command("resume", epilog=EITHER_WAY)
@several_torrents
@managing_options
def resume(**options: Any) -> ExitCode:  # noqa: ANN401
    """Resume torrents that are paused, stopped or in error."""
    return _change(options, "resume", lambda _: "resumed")


@click.command("remove", epilog=EITHER_WAY)
@several_torrents
@click.option("--delete-files", is_flag=True, help="Delete their files, too.")
@managing_options
def remove(**options: Any) -> ExitCode:  # noqa: ANN401
    """Remove torrents; their files are kept unless --delete-files is given."""
    text = "removed with its files" if options["delete_files"] else "removed"
    return _change(options, "remove", lambda _: text, delete_files=options["delete_files"])


@click.command("move", epilog=EITHER_WAY)
@click.argument("torrent", metavar="TORRENT")
@click.argument("folder", type=click.Path(path_type=Path), metavar="FOLDER")
@managing_options
def move(**options: Any) -> ExitCode:  # noqa: ANN401
    """Move the files of a torrent to another folder."""
    options["torrents"] = (options["torrent"],)
    path = os.path.abspath(options["folder"])  # noqa: PTH100 - Path.absolute() keeps ..
    return _change(options, "move", lambda row: f"moved to {row.save_path}", path=path)


@click.command("priority", epilog=EITHER_WAY)
@click.argument("torrent", metavar="TORRENT")
@click.argument("priority", type=_PRIORITY, metavar="NUMBER")
@click.option(
    "--files",
    multiple=True,
    metavar="LIST",
    help="Set the priority of these files, 0 (skip) to 7: numbers as printed by `show --files`"
    " (1-3,7) or patterns (*.mkv); may be repeated.",
)
@managing_options
def priority(**options: Any) -> ExitCode:  # noqa: ANN401
    """Set the priority of a torrent in the queue, or of some of its files."""
    options["torrents"] = (options["torrent"],)
    number, files = options["priority"], tuple(options["files"])
    text = f"priority {number}" + (f" of files {','.join(files)}" if files else "")
    return _change(options, "priority", lambda _: text, priority=number, files=files)


@click.command("recheck", epilog=EITHER_WAY)
@several_torrents
@managing_options
def recheck(**options: Any) -> ExitCode:  # noqa: ANN401
    """Check the data of torrents again, and print how much is complete."""
    from torrent_engine.cli.output.torrent_table import done_of

    return _change(options, "recheck", lambda row: f"checked, {done_of(row)} is there")


@click.command("reannounce", epilog=EPILOG)
@several_torrents
@managing_options
def reannounce(**options: Any) -> ExitCode:  # noqa: ANN401
    """Ask trackers for peers as soon as they allow it."""
    return _change(options, "reannounce", lambda _: "asks its trackers")


@click.command("limit", epilog=EITHER_WAY)
@several_torrents
@click.option(
    "--max-download-limit",
    "download_bytes_per_s",
    type=RATE,
    metavar="RATE",
    help="Download rate limit of each of them, in bytes per second, such as 5M; 0: unlimited."
    "  [default: as it is]",
)
@click.option(
    "--max-upload-limit",
    "upload_bytes_per_s",
    type=RATE,
    metavar="RATE",
    help="Upload rate limit of each of them, in bytes per second, such as 5M; 0: unlimited."
    "  [default: as it is]",
)
@click.option(
    "--max-connections",
    "max_peers",
    type=COUNT,
    metavar="N",
    help="Connected peers of each of them; 0: as for all torrents.  [default: as it is]",
)
@managing_options
def limit(**options: Any) -> ExitCode:  # noqa: ANN401
    """Limit the rates and the peers of torrents."""
    names = ("download_bytes_per_s", "upload_bytes_per_s", "max_peers")
    limits = {name: options[name] for name in names if options[name] is not None}
    if not limits:
        raise CliError("give --max-download-limit, --max-upload-limit or --max-connections")
    return _change(options, "limit", lambda _: _limits_text(limits), **limits)


def _limits_text(limits: dict[str, int]) -> str:
    from torrent_engine.cli.output.sizes import format_rate

    told = []
    for name, word in (("download_bytes_per_s", "download"), ("upload_bytes_per_s", "upload")):
        if name in limits:
            rate = limits[name]
            told.append(f"{word} {f'at most {format_rate(rate)}' if rate else 'unlimited'}")
    if "max_peers" in limits:
        count = limits["max_peers"]
        told.append(f"at most {count:,} peers" if count else "as many peers as any torrent")
    return ", ".join(told)


@click.command("queue", epilog=EPILOG)
@click.argument("place", type=click.Choice(["top", "up", "down", "bottom"]))
@several_torrents
@managing_options
def queue(**options: Any) -> ExitCode:  # noqa: ANN401
    """Move torrents in the queue."""
    from torrent_engine.service.torrents import QueuePlace

    place = QueuePlace(options["place"])
    text = {"top": "first in the queue", "bottom": "last in the queue"}
    told = text.get(place, f"moved {place} in the queue")
    return _change(options, "queue", lambda _: told, place=place)


@click.command("label", epilog=EPILOG)
@one_torrent
@click.argument("labels", nargs=-1, metavar="[LABEL]...")
@managing_options
def label(**options: Any) -> ExitCode:  # noqa: ANN401
    """Set the labels of a torrent; without a LABEL it has none. Only the daemon has labels."""
    options["torrents"], labels = (options["torrent"],), tuple(options["labels"])
    text = f"labels {', '.join(labels)}" if labels else "no labels"
    return _change(options, "label", lambda _: text, labels=labels)


@click.command("category", epilog=EPILOG)
@one_torrent
@click.argument("category", default="", metavar="[CATEGORY]")
@managing_options
def category(**options: Any) -> ExitCode:  # noqa: ANN401
    """Set the category of a torrent; without CATEGORY it has none. Only the daemon has them."""
    options["torrents"], name = (options["torrent"],), options["category"]
    text = f"category {name}" if name else "no category"
    return _change(options, "category", lambda _: text, category=name)


COMMANDS: Final = {
    command.name: command
    for command in (
        list_torrents,
        pause,
        resume,
        remove,
        move,
        priority,
        recheck,
        reannounce,
        limit,
        queue,
        label,
        category,
    )
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

    folder = managed_folder(options)
    names, takes_all = options["torrents"], options.get("takes_all", False)
    if bool(names) == takes_all:
        raise CliError("give TORRENTs or --all" if not names else "TORRENTs and --all are given")

    async def work(
        torrents: "TorrentControl",
    ) -> "tuple[list[TorrentRow], dict[str, Failure], dict[str, TorrentRow]]":
        before = await torrents.rows()
        chosen = list(before) if takes_all else folder.named(before, names)
        ids = tuple(InfoHash(bytes.fromhex(row.info_hash)) for row in chosen)
        change: Change = Change(TorrentAction(action), ids, **arguments)
        change.check()
        failed = {failure.info_hash: failure for failure in await torrents.change(change)}
        return chosen, failed, {row.info_hash: row for row in await torrents.rows()}

    chosen, failed, after = folder.run(work)
    codes = []
    for row in chosen:
        now = after.get(row.info_hash, row)
        codes.append(
            _print_result(action, now, describe(now), failed.get(row.info_hash), options["as_json"])
        )
    return next((code for code in codes if code is not ExitCode.OK), ExitCode.OK)


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
