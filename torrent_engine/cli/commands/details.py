"""``torrent-engine info``, ``files``, ``peers``, ``trackers``, ``stats``."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from torrent_engine.cli.options.common import CommandOptions, settings_of
from torrent_engine.cli.output.exit_codes import ExitCode
from torrent_engine.cli.tasks.managed import (
    EITHER_WAY,
    EPILOG,
    managed_folder,
    managing_options,
    one_torrent,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torrent_engine.service.torrents import TorrentControl


@click.command("info", epilog=EITHER_WAY)
@one_torrent
@managing_options
def info(**options: Any) -> ExitCode:  # noqa: ANN401
    """Show what is known of a torrent."""
    from torrent_engine.cli.output.detail_tables import fact_lines
    from torrent_engine.cli.output.render import print_json, print_lines

    folder = managed_folder(options)
    row = folder.run(lambda torrents: folder.one(torrents, options["torrent"]))
    if options["as_json"]:
        print_json(asdict(row))
    else:
        print_lines(fact_lines(row))
    return ExitCode.OK


@click.command("files", epilog=EITHER_WAY)
@one_torrent
@managing_options
@click.pass_context
def files(context: click.Context, /, **options: Any) -> ExitCode:  # noqa: ANN401
    """List the files of a torrent, how much of each is here, and its priority."""
    return _print_details(context, options, "files")


@click.command("peers", epilog=EPILOG)
@one_torrent
@managing_options
@click.pass_context
def peers(context: click.Context, /, **options: Any) -> ExitCode:  # noqa: ANN401
    """List the connected peers of a torrent, the fastest first."""
    return _print_details(context, options, "peers")


@click.command("trackers", epilog=EITHER_WAY)
@one_torrent
@managing_options
@click.pass_context
def trackers(context: click.Context, /, **options: Any) -> ExitCode:  # noqa: ANN401
    """List the trackers of a torrent, and what they answer."""
    return _print_details(context, options, "trackers")


@click.command(
    "stats", epilog="The daemon counts what ran ever, `run` the torrents that it has now."
)
@managing_options
def stats(**options: Any) -> ExitCode:  # noqa: ANN401
    """Show the rates and totals of all torrents together."""
    from torrent_engine.cli.output.detail_tables import stats_lines
    from torrent_engine.cli.output.render import print_json, print_lines

    found = managed_folder(options).run(lambda torrents: torrents.stats())
    if options["as_json"]:
        print_json(dict(found))
    else:
        print_lines(stats_lines(found))
    return ExitCode.OK


COMMANDS: Final = {command.name: command for command in (info, files, peers, trackers, stats)}


def _print_details(context: click.Context, options: CommandOptions, name: str) -> ExitCode:
    from torrent_engine.base.ids import InfoHash
    from torrent_engine.cli.output.detail_tables import print_details
    from torrent_engine.cli.output.render import print_json
    from torrent_engine.service.torrents import TorrentDetail

    folder, detail = managed_folder(options), TorrentDetail(name)

    async def work(torrents: "TorrentControl") -> "Sequence[Mapping[str, Any]]":
        row = await folder.one(torrents, options["torrent"])
        return await torrents.details(InfoHash.parse(row.info_hash), detail)

    entries = folder.run(work)
    if not options["as_json"]:
        print_details(detail, entries, no_color=settings_of(context).no_color)
    for entry in entries if options["as_json"] else ():
        print_json(dict(entry))
    return ExitCode.OK
