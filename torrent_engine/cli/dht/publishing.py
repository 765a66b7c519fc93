"""``torrent-engine publish``: a torrent under a public key (BEP 46), kept in the DHT."""

from typing import Final

import anyio

from torrent_engine.base.errors import NetworkError
from torrent_engine.base.ids import InfoHash
from torrent_engine.cli.dht.access import temporary_node
from torrent_engine.cli.dht.lookups import counted
from torrent_engine.cli.dht.values import read_seed
from torrent_engine.cli.options.common import CommandOptions
from torrent_engine.cli.output import render
from torrent_engine.cli.output.exit_codes import CliError, ExitCode
from torrent_engine.cli.tasks import arguments
from torrent_engine.net.dht.mutable_torrents import (
    MutableTorrentPublisher,
    MutableTorrents,
    Publication,
)
from torrent_engine.service import loop, sources

REPUBLISH_INTERVAL_S: Final = 3_600.0  # BEP 44: once an hour
RETRY_INTERVAL_S: Final = 300.0  # ours: after a store that nobody took


def publish(options: CommandOptions) -> ExitCode:
    """Publish a torrent; without --once keep it until SIGINT or SIGTERM."""
    info_hash = published_hash(options["torrent"], options["max_torrent_size"])
    seed = read_seed(options["key_file"])

    async def run() -> None:
        async with temporary_node(options) as dht:
            torrents = MutableTorrents(dht, timeout_s=options["timeout_s"])
            publisher = MutableTorrentPublisher(torrents, seed, salt=options["salt"])
            done = await publisher.publish(
                info_hash, sequence=options["sequence"], cas=options["cas"]
            )
            _print_first(options, publisher, done)
            if not options["once"]:
                await _keep(options, torrents, done)

    loop.run(run if options["once"] else lambda: loop.run_until_signalled(run))
    return ExitCode.OK


def published_hash(source: str, max_bytes: int) -> InfoHash:
    """Return the v1 info-hash of a link or a .torrent, the only one that BEP 46 knows.

    Raises CliError for a private torrent and for one of v2 only.
    """
    if sources.is_magnet(source):
        magnet = sources.parse_magnet(source)
        has_v1, is_private, info_hash = magnet.has_v1, False, magnet.info_hash
    else:
        metainfo = arguments.load_now(source, max_bytes)
        has_v1, is_private = metainfo.info_hash_v1 is not None, metainfo.is_private
        info_hash = metainfo.info_hash
    if is_private:
        raise CliError(f"{source}: is private; only its trackers may know of it")
    if not has_v1:
        raise CliError(f"{sources.shown(source)}: has no v1 info-hash, which BEP 46 needs")
    return info_hash


async def _keep(options: CommandOptions, torrents: MutableTorrents, done: Publication) -> None:
    """Store a version again and again; whatever is newer by then stays."""
    while True:
        await anyio.sleep(REPUBLISH_INTERVAL_S if done.stored_at else RETRY_INTERVAL_S)
        try:
            done = await torrents.store(done.torrent)
        except NetworkError as error:
            done = Publication(done.torrent, (), (str(error),))
        if options["as_json"]:
            render.print_json(_counts(done), flush=True)
        else:
            render.print_line(_line(done), flush=True)


def _print_first(
    options: CommandOptions, publisher: MutableTorrentPublisher, done: Publication
) -> None:
    """Print the link; raise CliError if nobody took the version."""
    if options["as_json"]:
        facts = {"link": str(publisher.key), "key": publisher.key.public_key.hex()}
        facts |= {
            "info_hash": done.torrent.info_hash.hex(),
            "target": done.torrent.item.target.hex(),
        }
        render.print_json({**facts, **_counts(done)}, flush=True)
    else:
        render.print_line(str(publisher.key))
        render.print_line(_line(done), flush=True)
    if not done.stored_at:
        reason = f": {done.refusals[0]}" if done.refusals else ""
        raise CliError(f"no node took it{reason}", ExitCode.NETWORK)


def _counts(done: Publication) -> dict[str, object]:
    return {
        "seq": done.torrent.sequence,
        "stored_at": list(done.stored_at),
        "refusals": list(done.refusals),
    }


def _line(done: Publication) -> str:
    nodes = counted(len(done.stored_at), "node")
    return f"version {done.torrent.sequence} of {done.torrent.info_hash.hex()}: kept by {nodes}"
