"""Options that ``download``, ``seed``, ``run`` and ``metadata`` share.

Options that control how peers are found can also be set by environment variables.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from torrent_engine.base.config import FILE_BENCODE_LIMITS, PoolConfig
from torrent_engine.cli.options.common import (
    ADDRESS,
    COUNT,
    FOLDER,
    INTERVAL,
    MINUTES,
    PEER,
    PORT,
    PREFIX,
    PROGRAM,
    RATE,
    RATIO,
    SECONDS,
    SOURCE,
    TORRENT_SIZE,
    Command,
    ParsedType,
)
from torrent_engine.cli.options.network import FILTER_OPTIONS, REACH_OPTIONS

MAX_TORRENT_SIZE: Final = FILE_BENCODE_LIMITS.max_bytes
STATE_DIR_VARIABLE: Final = f"{PREFIX}STATE_DIR"


def transfer_options(*, seeds_by_default: bool) -> Callable[[Command], Command]:
    """Return a decorator that adds the options common to download and seed."""
    payload = (
        _FOLDER_OPTION,
        _NAME_OPTION,
        *_seed_options(seeds_by_default=seeds_by_default),
        *_LIMIT_OPTIONS,
        _RESUME_OPTION,
    )
    network = (*_NETWORK_OPTIONS, *_PORT_OPTIONS, *REACH_OPTIONS, *FILTER_OPTIONS)
    options = (*payload, *network, *_DISPLAY_OPTIONS, *_OUTPUT_OPTIONS)
    return lambda command: _decorated(command, options)


def source_options(command: Command) -> Command:
    """Add the torrents, as arguments or as lines of a file."""
    return _decorated(command, _SOURCE_OPTIONS)


def write_options(command: Command) -> Command:
    """Add options about which existing files and folders may be written to."""
    return _decorated(command, _WRITE_OPTIONS)


def queue_option(command: Command) -> Command:
    """Add the limit of concurrent downloads."""
    return _decorated(command, _QUEUE_OPTIONS[:1])


def hook_options(command: Command) -> Command:
    """Add the program that runs when a download completes."""
    return _decorated(command, _HOOK_OPTIONS)


def run_options(command: Command) -> Command:
    """Add the options of ``run``."""
    options = (
        *_WATCH_OPTIONS,
        *_UPDATE_OPTIONS,
        _FOLDER_OPTION,
        *_WRITE_OPTIONS,
        *_QUEUE_OPTIONS,
        *_seed_options(seeds_by_default=True),
        *_LIMIT_OPTIONS,
        *_HOOK_OPTIONS,
    )
    network = (*_NETWORK_OPTIONS, *_PORT_OPTIONS, *REACH_OPTIONS, *FILTER_OPTIONS)
    return _decorated(command, (*options, *network, *_OUTPUT_OPTIONS))


def state_option(command: Command) -> Command:
    """Add the folder of the resume database."""
    return _STATE_OPTION(command)


def torrent_size_option(command: Command) -> Command:
    """Add the size limit of .torrent files."""
    return _TORRENT_SIZE_OPTION(command)


def tracker_dns_option(command: Command) -> Command:
    """Add the choice to look for trackers in the DNS."""
    return _TRACKER_DNS_OPTION(command)


def network_options(command: Command) -> Command:
    """Add options about finding and connecting to peers, and about the output."""
    return _decorated(
        command, (*_NETWORK_OPTIONS, *REACH_OPTIONS, *FILTER_OPTIONS, *_OUTPUT_OPTIONS)
    )


def _decorated(command: Command, options: tuple[Callable[[Any], Any], ...]) -> Command:
    for decorate in reversed(options):
        command = decorate(command)
    return command


def _switch_off(option: str, text: str) -> Callable[[Any], Any]:
    """Return a flag that can also be set by an environment variable."""
    name = option.removeprefix("--").replace("-", "_")
    return click.option(
        option,
        name,
        is_flag=True,
        envvar=PREFIX + name.upper(),
        show_envvar=True,
        help=text,
    )


_TORRENT_SIZE_OPTION: Final = click.option(
    "--max-torrent-size",
    type=TORRENT_SIZE,
    default=MAX_TORRENT_SIZE,
    envvar=f"{PREFIX}MAX_TORRENT_SIZE",
    show_envvar=True,
    metavar="SIZE",
    help="Largest .torrent that is accepted, after decompression, such as 10M."
    f"  [default: {MAX_TORRENT_SIZE >> 20}M]",
)

_SOURCE_OPTIONS: Final = (
    click.argument("torrents", nargs=-1, type=SOURCE, metavar="[TORRENT]..."),
    click.option(
        "-i",
        "--input-file",
        "input_files",
        multiple=True,
        metavar="FILE",
        help="Text file with one TORRENT per line (# starts a comment), or - for standard input;"
        " may be repeated.",
    ),
    _TORRENT_SIZE_OPTION,
)

_FOLDER_OPTION: Final = click.option(
    "-d",
    "--dir",
    "--save-path",
    "folder",
    type=FOLDER,
    default=Path(),
    help="Folder of the data.  [default: the current folder]",
)

_NAME_OPTION: Final = click.option(
    "-o",
    "outputs",
    multiple=True,
    metavar="[INDEX=]NAME",
    help="Name of the file on disk; INDEX selects one of several files; may be repeated.",
)


def _seed_options(*, seeds_by_default: bool) -> tuple[Callable[[Any], Any], ...]:
    """Return the rules that end seeding; without any, a command seeds forever or not at all."""
    default = "  [default: no limit]" if seeds_by_default else "  [default: do not seed]"
    return (
        click.option(
            "--seed-ratio",
            type=RATIO,
            metavar="RATIO",
            help=f"Seed until this share ratio; 0: no limit.{default}",
        ),
        click.option(
            "--seed-time",
            type=MINUTES,
            metavar="TIME",
            help="Seed for this long: 90s, 10m, 2h; a plain number is minutes, 0: do not seed."
            f"{default}",
        ),
        click.option(
            "--seed-idle",
            type=MINUTES,
            metavar="TIME",
            help="Seed until nothing was uploaded for this long; a plain number is minutes."
            f"{default}",
        ),
    )


_LIMIT_OPTIONS: Final = (
    click.option(
        "--max-download-limit",
        "max_download",
        type=RATE,
        default=0,
        metavar="RATE",
        help="Download rate limit over all torrents, in bytes per second, such as 5M; 0: unlimited."
        "  [default: unlimited]",
    ),
    click.option(
        "--max-upload-limit",
        "max_upload",
        type=RATE,
        default=0,
        metavar="RATE",
        help="Upload rate limit over all torrents, in bytes per second, such as 5M; 0: unlimited."
        "  [default: unlimited]",
    ),
    click.option(
        "--unlimited-local-network",
        is_flag=True,
        help="Exempt peers of the local network from these limits.",
    ),
    click.option(
        "--max-connections",
        type=COUNT,
        metavar="N",
        help="Connected peers over all torrents; 0: unlimited."
        f"  [default: {PoolConfig().max_connections}]",
    ),
)

_RESUME_OPTION: Final = click.option(
    "--no-resume", is_flag=True, help="Ignore saved state and check all data on disk."
)

_WRITE_OPTIONS: Final = (
    click.option(
        "--overwrite",
        is_flag=True,
        help="Overwrite existing files that match no piece of the torrent.  [default: refuse]",
    ),
    click.option(
        "--allow-hidden",
        is_flag=True,
        help="Allow names that begin with a dot directly in the home folder.  [default: refuse]",
    ),
    click.option(
        "--follow-links",
        is_flag=True,
        help="Write through symbolic links inside a torrent's folder.  [default: only read]",
    ),
    click.option(
        "--incomplete-dir",
        type=click.Path(file_okay=False, resolve_path=True),
        metavar="DIR",
        help="Keep files here until the torrent is complete.  [default: their final place]",
    ),
    click.option(
        "--incomplete-suffix",
        default="",
        metavar="TEXT",
        help="Suffix of file names until the torrent is complete, such as .part.  [default: none]",
    ),
    click.option(
        "--use-local-data",
        "local_data",
        type=click.Path(file_okay=False, exists=True, resolve_path=True),
        multiple=True,
        metavar="FOLDER",
        help="Copy what is in files of this folder, under any name, instead of downloading it; they"
        " are only read. Can be given several times.  [default: none]",
    ),
    click.option(
        "--use-similar",
        is_flag=True,
        help="Copy what is in files of other torrents that this one names as similar, or that are"
        " of one of its collections; they are only read.  [default: download it]",
    ),
)

_QUEUE_OPTIONS: Final = (
    click.option(
        "-j",
        "--max-active-downloads",
        type=COUNT,
        default=0,
        metavar="N",
        help="Torrents downloading at a time; the others are queued.  [default: unlimited]",
    ),
    click.option(
        "--max-active-seeds",
        type=COUNT,
        default=0,
        metavar="N",
        help="Torrents seeding at a time, in rotation.  [default: unlimited]",
    ),
    click.option(
        "--max-torrents",
        type=COUNT,
        default=0,
        metavar="N",
        help="Largest number of torrents.  [default: unlimited]",
    ),
)

_HOOK_OPTIONS: Final = (
    click.option(
        "--on-complete",
        type=PROGRAM,
        metavar="PROGRAM",
        help="Run this program when a download completes, without a shell. Its argument is the path"
        " of the data; its environment has TORRENT_ENGINE_NAME, _INFO_HASH, _PATH, _SAVE_PATH,"
        " _SIZE, _FILE_COUNT and _STATE_DIR.  [default: none]",
    ),
    click.option(
        "--on-complete-timeout",
        type=SECONDS,
        default="1h",
        show_default=True,
        metavar="TIME",
        help="Terminate the program after this long; a plain number is seconds, 0: never.",
    ),
)

_WATCH_OPTIONS: Final = (
    click.option(
        "-w",
        "--watch",
        "watched",
        type=click.Path(path_type=Path),
        multiple=True,
        metavar="DIR",
        help="Add the .torrent files that appear in this folder, and .magnet files with one link"
        " per line. Added files are renamed to .added, invalid ones to .invalid; may be repeated.",
    ),
    click.option(
        "--watch-delete", is_flag=True, help="Delete added files instead of renaming them."
    ),
    click.option(
        "--watch-interval",
        type=SECONDS,
        default="2s",
        show_default=True,
        metavar="TIME",
        help="Time between scans of the folders; SIGHUP scans at once.",
    ),
)

_UPDATE_OPTIONS: Final = (
    click.option(
        "--update-interval",
        type=INTERVAL,
        default="30m",
        show_default=True,
        metavar="TIME",
        help="Time between two lookups of what a public key publishes (BEP 46), for torrents that"
        " were added by such a link; a plain number is seconds.",
    ),
    click.option(
        "--follow-feeds",
        is_flag=True,
        help="Ask the feeds of torrents each 6 hours, and replace torrents by newer versions that"
        " their originators have signed (BEP 39).",
    ),
)

_STATE_OPTION: Final = click.option(
    "--state-dir",
    type=FOLDER,
    envvar=STATE_DIR_VARIABLE,
    help=f"Folder of the resume database (or {STATE_DIR_VARIABLE}); commands that keep torrents"
    " reserve 64 MiB there for the case of a full disk.  [default: torrent_engine in the"
    " user's state folder, such as ~/.local/state]",
)

_TRACKER_DNS_OPTION: Final = click.option(
    "--tracker-dns",
    is_flag=True,
    envvar=f"{PREFIX}TRACKER_DNS",
    show_envvar=True,
    help="Ask the DNS which ports of a host are trackers (BEP 34), if no proxy asks them; needs"
    " dnspython.",
)

_NETWORK_OPTIONS: Final = (
    click.option(
        "--port",
        type=PORT,
        default=6881,
        show_default=True,
        metavar="PORT",
        help="TCP and UDP port to listen on; if it is in use, the next free one; 0: any.",
    ),
    click.option(
        "--listen",
        "listen_hosts",
        type=ADDRESS,
        multiple=True,
        metavar="ADDRESS",
        help="Address to listen on; may be repeated.  [default: all]",
    ),
    click.option(
        "--peer",
        "peers",
        type=PEER,
        multiple=True,
        metavar="HOST:PORT",
        help="Additional peer to connect to; may be repeated.",
    ),
    _STATE_OPTION,
    click.option(
        "--dht-bootstrap",
        type=PEER,
        multiple=True,
        envvar=f"{PREFIX}DHT_BOOTSTRAP",
        show_envvar=True,
        metavar="HOST:PORT",
        help="DHT bootstrap node, instead of the default ones; may be repeated.",
    ),
    _TRACKER_DNS_OPTION,
    _switch_off("--no-dht", "Disable the distributed hash table (BEP 5)."),
    _switch_off("--no-pex", "Disable peer exchange (BEP 11)."),
    _switch_off("--no-lsd", "Disable local service discovery (BEP 14)."),
    _switch_off("--no-web-seeds", "Disable web seeds (BEP 17 and 19)."),
    click.option(
        "--allow-local-web-seeds",
        is_flag=True,
        envvar=f"{PREFIX}ALLOW_LOCAL_WEB_SEEDS",
        show_envvar=True,
        help="Allow web seeds on this machine and in the local network.",
    ),
)

_PORT_OPTIONS: Final = (
    _switch_off("--no-port-mapping", "Disable port mapping on the router (UPnP, NAT-PMP, PCP)."),
)

_DISPLAY_OPTIONS: Final = (
    click.option(
        "--multi/--no-multi",
        "multi",
        default=None,
        help="Show one line per torrent on a terminal, or a progress bar with details.  [default:"
        " one line each if there are several]",
    ),
    click.option(
        "--show-peers",
        is_flag=True,
        help="Show the fastest peers of each torrent: transport, encryption, rates, client.",
    ),
)


def _parse_events(text: str) -> tuple[str, ...]:
    """Parse patterns of event types; imports late, to keep --help fast."""
    from torrent_engine.cli.output.records import parse_patterns

    return parse_patterns(text)


_OUTPUT_OPTIONS: Final = (
    click.option("--json", "as_json", is_flag=True, help="Print one event per line, as JSON."),
    click.option(
        "--json-events",
        type=ParsedType("events", _parse_events),
        metavar="TYPES",
        help="Print only these events, as JSON, such as tracker.*,torrent.result.  [default: all"
        " but job.changed, jobs.removed, queue.changed and torrent.changed]",
    ),
    click.option(
        "--stats-interval",
        type=SECONDS,
        default="1s",
        show_default=True,
        metavar="TIME",
        help="Shortest time between two stats.update events of a torrent; unchanged ones are not"
        " printed.",
    ),
    click.option("-q", "--quiet", is_flag=True, help="Print only errors."),
)
