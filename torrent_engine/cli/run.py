"""``torrent-engine run``."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from torrent_engine.cli.exit_codes import ExitCode
from torrent_engine.cli.option_groups import run_options, source_options
from torrent_engine.cli.options import common_options, settings_of

if TYPE_CHECKING:
    from torrent_engine.base.config import ManagerConfig


@click.command(
    "run",
    epilog="Torrents of the last run are taken up again as they were, after a kill as well. One run"
    " at a time has a state folder; --state-dir names another. Limits and rules hold for all"
    " torrents, --dir and --peer for those that are added. Ctrl-C or SIGTERM stops in order, a"
    " second one at once; SIGHUP looks into the watched folders at once, and reads the lists of"
    " --ip-filter again. `torrent-engine jobs` tells what was done.",
)
@source_options
@run_options
@common_options
@click.pass_context
def command(context: click.Context, /, **options: Any) -> ExitCode:  # noqa: ANN401
    """Keep torrents going until stopped, with folders that are watched for more.

    They are those of the last run, each TORRENT (all that `download` takes), and what is put into
    the folders. They are downloaded, then seeded.
    """
    from torrent_engine.cli import loop, source_list, sources
    from torrent_engine.cli.keeper import Keeper, RunOptions
    from torrent_engine.cli.render import reporter_for
    from torrent_engine.cli.watcher import WatchOptions, watched_folders
    from torrent_engine.engine.torrent_manager import TorrentManager

    settings = settings_of(context)
    named = source_list.expanded(options["torrents"], options["input_files"])
    run = RunOptions(
        config=manager_config(options),
        sources=tuple(named),
        stdin=sources.read_stdin(named),
        watched=watched_folders(options["watched"]),
        watch=WatchOptions(deletes=options["watch_delete"]),
        watch_interval_s=options["watch_interval"],
        debug=settings.debug,
    )
    reporter = reporter_for(settings, as_json=options["as_json"], quiet=options["quiet"])
    return loop.run(Keeper(run, reporter, TorrentManager).run)


def manager_config(options: Mapping[str, Any]) -> "ManagerConfig":
    """Return what a TorrentManager is told by the options, which are click parameters by name."""
    from dataclasses import replace

    from torrent_engine.base.config import ManagerConfig, QueueConfig, SessionConfig
    from torrent_engine.cli.transfers import named_peers, seed_rules, shared_config

    shared = shared_config(options)
    seeding = seed_rules({**options, "seeds_by_default": True})
    peers = tuple((peer.host, peer.port) for peer in named_peers(options))
    return ManagerConfig(
        shared=replace(shared, seeding=seeding),
        save_path=str(options["folder"].absolute()),
        session=SessionConfig(
            peers=peers, overwrite=options["overwrite"], allow_hidden=options["allow_hidden"]
        ),
        max_torrents=options["max_torrents"],
        queue=QueueConfig(
            max_active_downloads=options["max_active_downloads"],
            max_active_seeds=options["max_active_seeds"],
        ),
    )
