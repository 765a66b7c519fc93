"""``torrent-engine run``."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from torrent_engine.cli.options.common import common_options, settings_of
from torrent_engine.cli.options.groups import run_options, source_options
from torrent_engine.cli.options.sections import SectionedCommand
from torrent_engine.cli.output.exit_codes import ExitCode

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from torrent_engine.base.config import ManagerConfig
    from torrent_engine.cli.tasks.foreground import ControlOpener
    from torrent_engine.engine.manager.torrent_manager import TorrentManager
    from torrent_engine.service.adding import Adder


@click.command(
    "run",
    cls=SectionedCommand,
    epilog="Torrents of the previous run are resumed, also after a crash. Only one `run` can use a"
    " state folder at a time; --state-dir selects another. Limits and seeding rules apply to all"
    " torrents, --dir and --peer to those that are added. Ctrl-C or SIGTERM shuts down cleanly, a"
    " second one immediately. SIGHUP scans the watched folders and reloads the --ip-filter lists."
    " `torrent-engine list`, add, pause, resume, remove and their like manage the torrents;"
    " `torrent-engine jobs` shows the history.",
)
@source_options
@run_options
@common_options
@click.pass_context
def command(context: click.Context, /, **options: Any) -> ExitCode:  # noqa: ANN401
    """Download and seed torrents until stopped, and watch folders for new ones.

    These are the torrents of the previous run, each TORRENT (as in `download`), and the files that
    are put into the watched folders.
    """
    from torrent_engine.cli.output.render import reporter_of
    from torrent_engine.cli.tasks import arguments
    from torrent_engine.cli.tasks.completion import completion_hook
    from torrent_engine.cli.tasks.foreground import ForegroundRun, RunOptions
    from torrent_engine.engine.manager.torrent_manager import TorrentManager
    from torrent_engine.service import loop
    from torrent_engine.service.source_list import expanded
    from torrent_engine.service.watch_folder import WatchOptions

    settings = settings_of(context)
    named = expanded(options["torrents"], options["input_files"])
    run = RunOptions(
        config=manager_config(options),
        sources=tuple(named),
        stdin=arguments.read_stdin(named, options["max_torrent_size"]),
        watched=arguments.watched_folders(options["watched"]),
        watch=WatchOptions(
            deletes=options["watch_delete"], max_torrent_bytes=options["max_torrent_size"]
        ),
        watch_interval_s=options["watch_interval"],
        debug=settings.debug,
    )
    reporter = reporter_of(settings, options, quiet=options["quiet"])
    hook = completion_hook(options, reporter)
    return loop.run(ForegroundRun(run, reporter, TorrentManager, control_opener(), hook).run)


def control_opener() -> "ControlOpener":
    """Return what answers at the control socket of a manager's state folder.

    What it needs is imported now, and not while torrents run.
    """
    from torrent_engine.service.control_api import ControlApi
    from torrent_engine.service.control_socket import ControlServer
    from torrent_engine.service.live import LiveTorrents

    def open_control(
        manager: "TorrentManager", adder: "Adder"
    ) -> "AbstractAsyncContextManager[None]":
        api = ControlApi(LiveTorrents(manager, adder))
        return ControlServer(api.answer).open(manager.shared.state_dir)

    return open_control


def manager_config(options: Mapping[str, Any]) -> "ManagerConfig":
    """Return what a TorrentManager is told by the options, which are click parameters by name."""
    from dataclasses import replace

    from torrent_engine.base.config import FeedConfig, ManagerConfig, QueueConfig, SessionConfig
    from torrent_engine.cli.tasks.transfers import named_peers, seed_rules, shared_config

    shared = shared_config(options)
    seeding = seed_rules({**options, "seeds_by_default": True})
    dht = replace(shared.dht, update_interval_s=options["update_interval"])
    peers = tuple((peer.host, peer.port) for peer in named_peers(options))
    return ManagerConfig(
        shared=replace(shared, seeding=seeding, dht=dht),
        save_path=str(options["folder"].absolute()),
        session=SessionConfig(
            peers=peers,
            overwrite=options["overwrite"],
            allow_hidden=options["allow_hidden"],
            follow_links=options["follow_links"],
            incomplete_dir=options["incomplete_dir"],
            incomplete_suffix=options["incomplete_suffix"],
        ),
        max_torrents=options["max_torrents"],
        feeds=FeedConfig(enabled=options["follow_feeds"]),
        queue=QueueConfig(
            max_active_downloads=options["max_active_downloads"],
            max_active_seeds=options["max_active_seeds"],
        ),
    )
