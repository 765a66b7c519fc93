"""From the options of ``download``, ``seed`` and ``metadata`` to a run of the engine."""

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from itertools import chain
from pathlib import Path
from typing import Any, Final

import click

from torrent_engine.base.config import (
    BandwidthConfig,
    DhtConfig,
    DiskConfig,
    LsdConfig,
    PexConfig,
    PoolConfig,
    PortMappingConfig,
    SeedingConfig,
    SessionConfig,
    SharedConfig,
    TrackerConfig,
    WebSeedConfig,
)
from torrent_engine.base.ids import PeerAddress
from torrent_engine.cli.options import selection
from torrent_engine.cli.options.common import settings_of
from torrent_engine.cli.options.network import network_config
from torrent_engine.cli.options.trackers import tiers_of
from torrent_engine.cli.output.exit_codes import CliError, ExitCode
from torrent_engine.cli.output.render import reporter_of
from torrent_engine.cli.tasks import arguments
from torrent_engine.cli.tasks.completion import completion_hook
from torrent_engine.cli.tasks.process_owner import ProcessOwner
from torrent_engine.cli.tasks.runner import Runner
from torrent_engine.cli.tasks.torrent_task import TaskOptions
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.state.store import NO_RESERVE
from torrent_engine.net.sockets.resolver import is_literal
from torrent_engine.service import loop
from torrent_engine.service.sources import MAX_TORRENT_BYTES

STDOUT: Final = "-"
TRACKER_GRACE_S: Final = loop.STOP_GRACE_S - 1.0  # the rest is for saving the state


def run_transfers(
    context: click.Context, options: Mapping[str, Any], *, must_be_complete: bool = False
) -> ExitCode:
    """Run a command's torrents; ``options`` are its click parameters by name."""
    torrents = arguments.required_sources(context, options)
    if options["outputs"] and len(torrents) > 1:
        raise CliError("-o names files of one torrent; several torrents are given")
    settings = settings_of(context)
    pid: int | None = options.get("owner_process")
    owner = None if pid is None else ProcessOwner(pid)
    reporter = reporter_of(settings, options, quiet=options["quiet"])
    job_options = TaskOptions(
        folder=options["folder"],
        hook=completion_hook(options, reporter),
        owner=owner,
        session_config=partial(session_config, options, named_peers(options)),
        must_be_complete=must_be_complete,
        stop_timeout_s=options.get("stop_timeout"),
        is_overview=options["multi"],
        shows_peers=options["show_peers"],
        max_active=options.get("max_active_downloads", 0),
        trackers=tuple(chain.from_iterable(tiers_of(options.get("trackers", ())))),
        stdin=arguments.read_stdin(torrents, options["max_torrent_size"]),
        max_torrent_bytes=options["max_torrent_size"],
        debug=settings.debug,
    )
    runner = Runner(torrents, shared_config(options), job_options, reporter)
    return loop.run(runner.run)


def run_metadata(
    context: click.Context, options: Mapping[str, Any], save: Callable[[Metainfo], str]
) -> ExitCode:
    """Fetch the metadata of links, and nothing else."""
    settings = settings_of(context)
    peers = tuple((peer.host, peer.port) for peer in named_peers(options))
    job_options = TaskOptions(
        folder=Path(),
        session_config=lambda _: SessionConfig(metadata_only=True, peers=peers),
        timeout_s=options["timeout"],
        save_metadata=save,
        debug=settings.debug,
    )
    quiet = options["quiet"] or options["output"] == STDOUT
    reporter = reporter_of(settings, options, quiet=quiet)
    config = replace(shared_config(options), disk=NO_RESERVE)
    runner = Runner(options["torrents"], config, job_options, reporter)
    return loop.run(runner.run)


def shared_config(options: Mapping[str, Any]) -> SharedConfig:
    """Return what holds for all torrents."""
    return SharedConfig(
        max_torrent_bytes=options.get("max_torrent_size", MAX_TORRENT_BYTES),
        listen_port=options["port"],
        listen_hosts=options["listen_hosts"] or SharedConfig().listen_hosts,
        state_dir=None if options["state_dir"] is None else str(options["state_dir"]),
        max_download_bytes_per_s=options.get("max_download", 0),
        max_upload_bytes_per_s=options.get("max_upload", 0),
        pool=_pool_config(options),
        bandwidth=BandwidthConfig(limit_local_network=not options.get("unlimited_local_network")),
        port_mapping=_port_mapping_config(options),
        tracker=TrackerConfig(stop_grace_s=TRACKER_GRACE_S, dns_preferences=options["tracker_dns"]),
        dht=_dht_config(options),
        lsd=LsdConfig(enabled=not options["no_lsd"]),
        pex=PexConfig(enabled=not options["no_pex"]),
        web_seed=WebSeedConfig(
            enabled=not options["no_web_seeds"], allow_local=options["allow_local_web_seeds"]
        ),
        network=network_config(options),
        disk=DiskConfig(
            local_data=tuple(options.get("local_data", ())),
            similar_torrents=options.get("use_similar", False),
        ),
    )


def _pool_config(options: Mapping[str, Any]) -> PoolConfig:
    count: int | None = options.get("max_connections")
    return PoolConfig() if count is None else PoolConfig(max_connections=count)


def _port_mapping_config(options: Mapping[str, Any]) -> PortMappingConfig:
    """Return whether the router is asked: not by ``metadata``, nor for this machine alone."""
    hosts: Sequence[str] = options["listen_hosts"]
    is_local = bool(hosts) and all(ip_address(host).is_loopback for host in hosts)
    is_wanted = not options.get("no_port_mapping", True)
    return PortMappingConfig(enabled=is_wanted and not is_local)


def _dht_config(options: Mapping[str, Any]) -> DhtConfig:
    nodes: Sequence[PeerAddress] = options["dht_bootstrap"]
    bootstrap = tuple((node.host, node.port) for node in nodes) or DhtConfig().bootstrap
    return DhtConfig(enabled=not options["no_dht"], bootstrap=bootstrap)


def session_config(
    options: Mapping[str, Any], peers: tuple[PeerAddress, ...], torrent: Metainfo | Magnet
) -> SessionConfig:
    """Return what holds for one torrent. Raises ConfigError where an option does not fit it.

    Of a magnet link that shows when the metadata has come.
    """
    seeding = seed_rules(options)
    config = SessionConfig(
        sequential=options.get("sequential", False),
        super_seeding=options.get("super_seeding", False),
        seed_ratio=seeding.seed_ratio,
        seed_time_s=seeding.seed_time_s,
        seed_idle_s=seeding.seed_idle_s,
        use_resume=not options["no_resume"],
        check_only=options.get("check_only", False),
        overwrite=options.get("overwrite", False),
        allow_hidden=options.get("allow_hidden", False),
        follow_links=options.get("follow_links", False),
        incomplete_dir=options.get("incomplete_dir"),
        incomplete_suffix=options.get("incomplete_suffix", ""),
        fetch_missing=not options.get("seeds_by_default", True),  # a download was asked for
        peers=tuple((peer.host, peer.port) for peer in peers),
    )
    selections, outputs = options.get("selections", ()), options["outputs"]
    priorities = options.get("file_priorities", ())
    if isinstance(torrent, Metainfo):
        return replace(
            config,
            file_priorities=selection.with_priorities(torrent, selections, priorities),
            renamed_files=selection.renamed_files(torrent, outputs),
        )
    return replace(
        config,
        file_priorities_of=partial(
            selection.with_priorities,
            selections=selections,
            priorities=priorities,
            linked=torrent.selected_files,
        ),
        renamed_files_of=partial(selection.renamed_files, outputs=outputs),
    )


def seed_rules(options: Mapping[str, Any]) -> SeedingConfig:
    """Return the ratio, the time and the idle time at which seeding ends; None: no such rule.

    As in aria2 a ratio of 0 is no rule and a time of 0 means not to seed at all. ``download``
    does not seed unless one of them is given, ``seed`` goes on unless one of them is.
    """
    ratio, time_s, idle_s = options["seed_ratio"], options["seed_time"], options["seed_idle"]
    if options["seeds_by_default"] or (ratio, time_s, idle_s) != (None, None, None):
        return SeedingConfig(ratio or None, time_s, idle_s)
    return SeedingConfig(seed_time_s=0.0)


def named_peers(options: Mapping[str, Any]) -> tuple[PeerAddress, ...]:
    """Return the peers of --peer with literal addresses.

    Raises CliError for a name that is unknown, or that must not be looked up here.
    """
    peers: Sequence[PeerAddress] = options["peers"]
    if options["require_proxy"]:
        for peer in peers:
            if not is_literal(peer.host):
                raise CliError(f"--peer {peer}: with --require-proxy no name is looked up here")
    return _resolved(peers)


def _resolved(peers: Sequence[PeerAddress]) -> tuple[PeerAddress, ...]:
    """Return the peers of --peer with literal addresses; a name may have several."""
    found: dict[PeerAddress, None] = {}
    for peer in peers:
        try:
            infos = socket.getaddrinfo(peer.host, peer.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise CliError(f"--peer {peer}: {error.strerror}", ExitCode.NAME_RESOLUTION) from error
        found |= {PeerAddress(str(info[4][0]), peer.port): None for info in infos}
    return tuple(found)
