"""Options that ``download``, ``seed``, ``run`` and ``metadata`` share.

How peers are found can be set by variables of the environment as well, for all runs of a shell.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from torrent_engine.base.config import PoolConfig
from torrent_engine.cli.network_options import FILTER_OPTIONS, REACH_OPTIONS
from torrent_engine.cli.options import (
    ADDRESS,
    COUNT,
    FOLDER,
    MINUTES,
    PEER,
    PORT,
    PREFIX,
    RATE,
    RATIO,
    SECONDS,
    Command,
)

STATE_DIR_VARIABLE: Final = f"{PREFIX}STATE_DIR"


def transfer_options(command: Command) -> Command:
    """Add what download and seed have in common."""
    network = (*_NETWORK_OPTIONS, *_PORT_OPTIONS, *REACH_OPTIONS, *FILTER_OPTIONS)
    return _decorated(command, (*_PAYLOAD_OPTIONS, *network, *_DISPLAY_OPTIONS, *_OUTPUT_OPTIONS))


def source_options(command: Command) -> Command:
    """Add the torrents themselves: as arguments, or as lines of files."""
    return _decorated(command, _SOURCE_OPTIONS)


def write_options(command: Command) -> Command:
    """Add which files may be written to that are there, or made."""
    return _decorated(command, _WRITE_OPTIONS)


def queue_option(command: Command) -> Command:
    """Add how many torrents download at a time."""
    return _decorated(command, _QUEUE_OPTIONS[:1])


def run_options(command: Command) -> Command:
    """Add what ``run`` may be told."""
    options = (
        *_WATCH_OPTIONS,
        _FOLDER_OPTION,
        *_WRITE_OPTIONS,
        *_QUEUE_OPTIONS,
        *_SEED_OPTIONS,
        *_LIMIT_OPTIONS,
    )
    network = (*_NETWORK_OPTIONS, *_PORT_OPTIONS, *REACH_OPTIONS, *FILTER_OPTIONS)
    return _decorated(command, (*options, *network, *_OUTPUT_OPTIONS))


def state_option(command: Command) -> Command:
    """Add the folder of the resume database."""
    return _STATE_OPTION(command)


def network_options(command: Command) -> Command:
    """Add how peers are found and reached, and what is printed."""
    return _decorated(
        command, (*_NETWORK_OPTIONS, *REACH_OPTIONS, *FILTER_OPTIONS, *_OUTPUT_OPTIONS)
    )


def _decorated(command: Command, options: tuple[Callable[[Any], Any], ...]) -> Command:
    for decorate in reversed(options):
        command = decorate(command)
    return command


def _switch_off(option: str, text: str) -> Callable[[Any], Any]:
    """Return a flag that a variable of the environment sets as well."""
    name = option.removeprefix("--").replace("-", "_")
    return click.option(
        option,
        name,
        is_flag=True,
        envvar=PREFIX + name.upper(),
        show_envvar=True,
        help=text,
    )


_SOURCE_OPTIONS: Final = (
    click.argument("torrents", nargs=-1, metavar="[TORRENT]..."),
    click.option(
        "-i",
        "--input-file",
        "input_files",
        multiple=True,
        metavar="FILE",
        help="Text file with one TORRENT a line, # before a comment, or - for standard input;"
        " may be repeated.",
    ),
)

_FOLDER_OPTION: Final = click.option(
    "-d",
    "--dir",
    "--save-path",
    "folder",
    type=FOLDER,
    default=Path(),
    help="Folder of the payload.  [default: the current folder]",
)

_NAME_OPTION: Final = click.option(
    "-o",
    "outputs",
    multiple=True,
    metavar="[INDEX=]NAME",
    help="Name of the file on disk; INDEX says which of several; may be repeated.",
)

_SEED_OPTIONS: Final = (
    click.option(
        "--seed-ratio",
        type=RATIO,
        metavar="RATIO",
        help="Seed until this share ratio; 0: no ratio ends it.",
    ),
    click.option(
        "--seed-time",
        type=MINUTES,
        metavar="TIME",
        help="Seed this long: 90s, 10m, 2h, a plain number is minutes; 0: do not seed.",
    ),
    click.option(
        "--seed-idle",
        type=MINUTES,
        metavar="TIME",
        help="Seed until nobody took anything for this long; a plain number is minutes.",
    ),
)

_LIMIT_OPTIONS: Final = (
    click.option(
        "--max-download-limit",
        "max_download",
        type=RATE,
        default=0,
        metavar="RATE",
        help="Bytes per second, over all torrents, such as 5M; 0: unlimited.",
    ),
    click.option(
        "--max-upload-limit",
        "max_upload",
        type=RATE,
        default=0,
        metavar="RATE",
        help="The same for uploads.",
    ),
    click.option(
        "--unlimited-local-network",
        is_flag=True,
        help="These limits are not for peers of the own network.",
    ),
    click.option(
        "--max-connections",
        type=COUNT,
        metavar="N",
        help="Peers connected at a time, shared among all torrents; 0: any number."
        f"  [default: {PoolConfig().max_connections}]",
    ),
)

_RESUME_OPTION: Final = click.option(
    "--no-resume", is_flag=True, help="Trust no saved state; hash what is there."
)

_PAYLOAD_OPTIONS: Final = (
    _FOLDER_OPTION,
    _NAME_OPTION,
    *_SEED_OPTIONS,
    *_LIMIT_OPTIONS,
    _RESUME_OPTION,
)

_WRITE_OPTIONS: Final = (
    click.option(
        "--overwrite",
        is_flag=True,
        help="Write to files that are there and match the torrent in no piece.  [default: refuse]",
    ),
    click.option(
        "--allow-hidden",
        is_flag=True,
        help="Let names at the top of the home folder begin with a dot.  [default: refuse]",
    ),
)

_QUEUE_OPTIONS: Final = (
    click.option(
        "-j",
        "--max-active-downloads",
        type=COUNT,
        default=0,
        metavar="N",
        help="Download so many at a time, the others wait their turn.  [default: all]",
    ),
    click.option(
        "--max-active-seeds",
        type=COUNT,
        default=0,
        metavar="N",
        help="Seed so many at a time, in turns.  [default: all]",
    ),
    click.option(
        "--max-torrents",
        type=COUNT,
        default=0,
        metavar="N",
        help="Take no more torrents than that.  [default: any number]",
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
        help="Add what is put into this folder: .torrent files, and .magnet files with a link a"
        " line. What was added is renamed to .added, what is no torrent to .invalid. May be"
        " repeated.",
    ),
    click.option(
        "--watch-delete", is_flag=True, help="Remove from there what was added, rename nothing."
    ),
    click.option(
        "--watch-interval",
        type=SECONDS,
        default="2s",
        show_default=True,
        metavar="TIME",
        help="How often the folders are looked into; SIGHUP does it at once.",
    ),
)

_STATE_OPTION: Final = click.option(
    "--state-dir",
    type=FOLDER,
    envvar=STATE_DIR_VARIABLE,
    help=f"Folder of the resume database (or {STATE_DIR_VARIABLE}).",
)

_NETWORK_OPTIONS: Final = (
    click.option(
        "--port",
        type=PORT,
        default=6881,
        show_default=True,
        metavar="PORT",
        help="TCP port to listen on; a busy one moves on to the next; 0: any.",
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
        help="Connect to this peer too; may be repeated.",
    ),
    _STATE_OPTION,
    click.option(
        "--dht-bootstrap",
        type=PEER,
        multiple=True,
        envvar=f"{PREFIX}DHT_BOOTSTRAP",
        show_envvar=True,
        metavar="HOST:PORT",
        help="Node to enter the DHT by, in place of the usual ones; may be repeated.",
    ),
    _switch_off("--no-dht", "Do not look for peers in the distributed hash table."),
    _switch_off("--no-pex", "Do not exchange addresses of peers with peers."),
    _switch_off("--no-lsd", "Do not look for peers on the local network."),
    _switch_off("--no-web-seeds", "Do not download from web servers."),
    click.option(
        "--allow-local-web-seeds",
        is_flag=True,
        envvar=f"{PREFIX}ALLOW_LOCAL_WEB_SEEDS",
        show_envvar=True,
        help="Let torrents name web servers on this machine and in this network.",
    ),
)

_PORT_OPTIONS: Final = (
    _switch_off("--no-port-mapping", "Do not ask the router to open the port."),
)

_DISPLAY_OPTIONS: Final = (
    click.option(
        "--multi/--no-multi",
        "multi",
        default=None,
        help="On a terminal: a line for each torrent, or a bar with details.  [default: lines if"
        " there are several]",
    ),
    click.option(
        "--show-peers",
        is_flag=True,
        help="Show the fastest peers of each torrent: transport, encryption, rates, program.",
    ),
)

_OUTPUT_OPTIONS: Final = (
    click.option("--json", "as_json", is_flag=True, help="Print one event per line, as JSON."),
    click.option("-q", "--quiet", is_flag=True, help="Print only errors."),
)
