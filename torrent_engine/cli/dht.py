"""``torrent-engine dht``: a node of the distributed hash table, and questions to it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from torrent_engine.cli.exit_codes import ExitCode
from torrent_engine.cli.option_groups import STATE_DIR_VARIABLE
from torrent_engine.cli.options import (
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
    epilog="All but `node` run a node of their own for as long as they take, which only asks"
    " (BEP 43). An INFO_HASH is 40 hexadecimal or 32 base32 digits, a magnet link or a .torrent.",
)
@common_options
@click.pass_context
def command(context: click.Context) -> None:
    """Ask the distributed hash table, or be a node of it."""
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
        help="Node to enter the DHT by, in place of the usual ones; may be repeated.",
    )(function)


def _listen_option(function: Command) -> Command:
    return click.option(
        "--listen",
        "listen_hosts",
        type=ADDRESS,
        multiple=True,
        metavar="ADDRESS",
        help="Address to send from and to listen on; may be repeated.  [default: all]",
    )(function)


def _port_option(default: int) -> Callable[[Command], Command]:
    return click.option(
        "--udp-port",
        "port",
        type=PORT,
        default=default,
        show_default=True,
        metavar="PORT",
        help="UDP port of our node; 0: any.",
    )


def _question(function: Command) -> Command:
    """Add the options of a command that asks something and ends."""
    json_option = click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
    timeout_option = click.option(
        "--timeout",
        "timeout_s",
        type=SECONDS,
        default="30s",
        show_default=True,
        metavar="TIME",
        help="Longest time for all of it.",
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


@command.command("ping", short_help="Ask nodes whether they are there.")
@click.argument("nodes", nargs=-1, required=True, type=PEER, metavar="HOST:PORT...")
@_question
def ping(**options: Any) -> ExitCode:  # noqa: ANN401
    """Ask nodes whether they are there: their id, their program, the round trip."""
    from torrent_engine.cli import dht_lookups

    return dht_lookups.ping(options)


@command.command("get-peers")
@click.argument("info_hash", metavar="INFO_HASH")
@click.option("--scrape", is_flag=True, help="Estimate how many seeds and leeches there are.")
@click.option("--no-seeds", is_flag=True, help="Ask for peers that are no seeds.")
@_question
def get_peers(**options: Any) -> ExitCode:  # noqa: ANN401
    """Look for the peers of a torrent; print one a line."""
    from torrent_engine.cli import dht_lookups

    return dht_lookups.get_peers(options)


@command.command("announce", short_help="Announce that a peer takes connections here.")
@click.argument("info_hash", metavar="INFO_HASH")
@click.argument("peer_port", type=PEER_PORT, metavar="PORT")
@click.option("--seed", "is_seed", is_flag=True, help="Say that the peer has all of it.")
@_question
def announce(**options: Any) -> ExitCode:  # noqa: ANN401
    """Announce that a peer of a torrent takes connections at PORT of this machine.

    The nodes that take it forget it within an hour or so. Prints which they are.
    """
    from torrent_engine.cli import dht_lookups

    return dht_lookups.announce(options)


@command.command("sample", short_help="Ask for info-hashes that nodes store.")
@click.argument("where", type=WHERE, required=False, metavar="[HOST:PORT | NODE_ID]")
@_question
def sample(**options: Any) -> ExitCode:  # noqa: ANN401
    """Ask one node, or those around an id, for info-hashes that they store (BEP 51).

    Without an argument the id is one by chance.
    """
    from torrent_engine.cli import dht_lookups

    return dht_lookups.sample(options)


@command.command("get", short_help="Fetch a value by its hash or its public key.")
@click.argument("target", type=TARGET, metavar="TARGET | KEY")
@click.option("--salt", type=SALT, default="", metavar="TEXT", help="Salt of a KEY's value.")
@click.option("--raw", is_flag=True, help="Print the value as it is bencoded, in hexadecimal.")
@_question
def get(**options: Any) -> ExitCode:  # noqa: ANN401
    """Fetch a value by its hash, or the newest one that the owner of a public KEY signed."""
    from torrent_engine.cli import dht_values

    return dht_values.get(options)


@command.command("put", short_help="Have nodes keep a value.")
@click.argument("value", metavar="VALUE")
@click.option("--bencoded", is_flag=True, help="VALUE is bencoding already, no plain text.")
@click.option(
    "--key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Sign it with the 32-byte seed in FILE, which is made if missing; then it can be changed.",
)
@click.option("--salt", type=SALT, default="", metavar="TEXT", help="One of several values a key.")
@click.option(
    "--seq",
    "sequence",
    type=click.IntRange(0, MAX_SEQUENCE),
    metavar="NUMBER",
    help="Version of a signed value.  [default: one more than the newest that is found]",
)
@_question
def put(**options: Any) -> ExitCode:  # noqa: ANN401
    """Have nodes keep a VALUE (BEP 44) for some two hours; - reads it from standard input.

    Prints the target, or the public key, that `get` finds it by.
    """
    from torrent_engine.cli import dht_values

    return dht_values.put(options)


@command.command("node", short_help="Run a node until stopped.")
@_bootstrap_option
@_listen_option
@_port_option(6881)
@click.option("--read-only", is_flag=True, help="Ask, and answer nobody (BEP 43).")
@click.option(
    "--state-dir",
    type=FOLDER,
    envvar=STATE_DIR_VARIABLE,
    help=f"Folder of the database that keeps id and nodes (or {STATE_DIR_VARIABLE}).",
)
@click.option("--json", "as_json", is_flag=True, help="Print one event per line, as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print only errors.")
@common_options
def node(**options: Any) -> ExitCode:  # noqa: ANN401
    """Run a node until stopped: print its id and port, and now and then its counts."""
    from torrent_engine.cli import dht_node

    return dht_node.run(options)
