"""``torrent-engine dht``: a node of the distributed hash table, and queries to it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from torrent_engine.cli.options.common import (
    ADDRESS,
    FOLDER,
    PEER,
    PORT,
    PREFIX,
    SECONDS,
    Command,
    ParsedType,
    common_options,
    parse_port,
)
from torrent_engine.cli.options.groups import STATE_DIR_VARIABLE, torrent_size_option
from torrent_engine.cli.output.exit_codes import ExitCode

_NODE_ID: Final = re.compile(r"[0-9a-fA-F]{40}")
_TARGET: Final = re.compile(r"[0-9a-fA-F]{40}|[0-9a-fA-F]{64}")
MAX_SALT_BYTES: Final = 64  # BEP 44
MAX_SEQUENCE: Final = 2**63 - 1  # BEP 44


def _parse_target(text: str) -> bytes:
    if _TARGET.fullmatch(text) is None:
        raise ValueError("40 hexadecimal digits, or 64 of a public key")
    return bytes.fromhex(text)


def _parse_where(text: str) -> object:
    if _NODE_ID.fullmatch(text) is not None:
        return bytes.fromhex(text)
    return PEER.convert(text, None, None)


def _parse_peer_port(text: str) -> int:
    if (port := parse_port(text)) == 0:
        raise ValueError("peers need a number from 1 to 65535")
    return port


def _parse_salt(text: str) -> bytes:
    if len(salt := text.encode("utf-8", "surrogateescape")) > MAX_SALT_BYTES:
        raise ValueError(f"a salt has at most {MAX_SALT_BYTES} bytes")
    return salt


TARGET: Final = ParsedType("target", _parse_target)
WHERE: Final = ParsedType("where", _parse_where)
PEER_PORT: Final = ParsedType("port", _parse_peer_port)
SALT: Final = ParsedType("salt", _parse_salt)


@click.group(
    "dht",
    invoke_without_command=True,
    epilog="All commands but `node` run a temporary read-only node (BEP 43). An INFO_HASH is 40"
    " hexadecimal or 32 base32 digits, a magnet link or a .torrent.",
)
@common_options
@click.pass_context
def command(context: click.Context) -> None:
    """Query the distributed hash table (BEP 5), or run a node of it."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def _bootstrap_option(function: Command) -> Command:
    return click.option(
        "-b",
        "--bootstrap",
        type=PEER,
        multiple=True,
        envvar=f"{PREFIX}DHT_BOOTSTRAP",
        show_envvar=True,
        metavar="HOST:PORT",
        help="DHT bootstrap node, instead of the default ones; may be repeated.",
    )(function)


def _listen_option(function: Command) -> Command:
    return click.option(
        "--listen",
        "listen_hosts",
        type=ADDRESS,
        multiple=True,
        metavar="ADDRESS",
        help="Local address to use; may be repeated.  [default: all]",
    )(function)


def _port_option(default: int) -> Callable[[Command], Command]:
    return click.option(
        "--udp-port",
        "port",
        type=PORT,
        default=default,
        show_default=True,
        metavar="PORT",
        help="UDP port of the node; 0: any.",
    )


def query_options(function: Command) -> Command:
    """Add the options of a command that sends one query."""
    json_option = click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
    timeout_option = click.option(
        "--timeout",
        "timeout_s",
        type=SECONDS,
        default="30s",
        show_default=True,
        metavar="TIME",
        help="Time limit of the whole query.",
    )
    decorators = (
        _bootstrap_option,
        _listen_option,
        _port_option(0),
        timeout_option,
        json_option,
        common_options,
    )
    for decorate in reversed(decorators):
        function = decorate(function)
    return function


@command.command("ping", short_help="Ping nodes.")
@click.argument("nodes", nargs=-1, required=True, type=PEER, metavar="HOST:PORT...")
@query_options
def ping(**options: Any) -> ExitCode:  # noqa: ANN401
    """Ping nodes; print their id, client version and round-trip time."""
    from torrent_engine.cli.dht import lookups as dht_lookups

    return dht_lookups.ping(options)


@command.command("get-peers")
@click.argument("info_hash", metavar="INFO_HASH")
@click.option("--scrape", is_flag=True, help="Estimate the numbers of seeds and leeches (BEP 33).")
@click.option("--no-seeds", is_flag=True, help="Ask for peers that are not seeds.")
@torrent_size_option
@query_options
def get_peers(**options: Any) -> ExitCode:  # noqa: ANN401
    """Find the peers of a torrent; print one per line."""
    from torrent_engine.cli.dht import lookups as dht_lookups

    return dht_lookups.get_peers(options)


@command.command("announce", short_help="Announce a peer of this machine.")
@click.argument("info_hash", metavar="INFO_HASH")
@click.argument("peer_port", type=PEER_PORT, metavar="PORT")
@click.option("--seed", "is_seed", is_flag=True, help="Announce the peer as a seed.")
@torrent_size_option
@query_options
def announce(**options: Any) -> ExitCode:  # noqa: ANN401
    """Announce that a peer of a torrent accepts connections at PORT of this machine.

    Prints the nodes that store it; they drop it after about an hour.
    """
    from torrent_engine.cli.dht import lookups as dht_lookups

    return dht_lookups.announce(options)


@command.command("sample", short_help="Sample the info-hashes that nodes store.")
@click.argument("where", type=WHERE, required=False, metavar="[HOST:PORT | NODE_ID]")
@query_options
def sample(**options: Any) -> ExitCode:  # noqa: ANN401
    """Sample the info-hashes stored by one node, or by the nodes around an id (BEP 51).

    Without an argument the id is random.
    """
    from torrent_engine.cli.dht import lookups as dht_lookups

    return dht_lookups.sample(options)


@command.command("get", short_help="Fetch a value by its hash or its public key.")
@click.argument("target", type=TARGET, metavar="TARGET | KEY")
@click.option(
    "--salt",
    type=SALT,
    default="",
    metavar="TEXT",
    help="Salt of the value of a KEY.  [default: none]",
)
@click.option("--raw", is_flag=True, help="Print the bencoded value in hexadecimal.")
@query_options
def get(**options: Any) -> ExitCode:  # noqa: ANN401
    """Fetch a value (BEP 44) by its hash, or the newest one signed with a public KEY."""
    from torrent_engine.cli.dht import values as dht_values

    return dht_values.get(options)


@command.command("put", short_help="Store a value.")
@click.argument("value", metavar="VALUE")
@click.option("--bencoded", is_flag=True, help="VALUE is bencoded, not plain text.")
@click.option(
    "--key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Sign with the 32-byte seed in FILE (created if missing), so that the value can be"
    " updated.  [default: unsigned]",
)
@click.option(
    "--salt",
    type=SALT,
    default="",
    metavar="TEXT",
    help="Distinguishes several values of one key.  [default: none]",
)
@click.option(
    "--seq",
    "sequence",
    type=click.IntRange(0, MAX_SEQUENCE),
    metavar="NUMBER",
    help="Sequence number of a signed value.  [default: one more than the newest found]",
)
@query_options
def put(**options: Any) -> ExitCode:  # noqa: ANN401
    """Store a VALUE (BEP 44) for about two hours; - reads it from standard input.

    Prints the target or public key to use with `get`.
    """
    from torrent_engine.cli.dht import values as dht_values

    return dht_values.put(options)


@command.command("node", short_help="Run a node until stopped.")
@_bootstrap_option
@_listen_option
@_port_option(6881)
@click.option("--read-only", is_flag=True, help="Do not answer queries (BEP 43).")
@click.option(
    "--state-dir",
    type=FOLDER,
    envvar=STATE_DIR_VARIABLE,
    help=f"Folder of the database with the node's id and its contacts (or {STATE_DIR_VARIABLE})."
    "  [default: torrent_engine in the user's state folder, such as ~/.local/state]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one event per line, as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print only errors.")
@common_options
def node(**options: Any) -> ExitCode:  # noqa: ANN401
    """Run a node until stopped; print its id and port, then its counters."""
    from torrent_engine.cli.dht import node as dht_node

    return dht_node.run(options)
