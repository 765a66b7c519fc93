"""``torrent-engine publish``."""

from pathlib import Path
from typing import Any, Final

import click

from torrent_engine.cli.commands.dht import MAX_SEQUENCE, SALT, query_options
from torrent_engine.cli.options.groups import torrent_size_option
from torrent_engine.cli.options.sections import SectionedCommand
from torrent_engine.cli.output.exit_codes import ExitCode

_NUMBER: Final = click.IntRange(0, MAX_SEQUENCE)


@click.command(
    "publish",
    cls=SectionedCommand,
    epilog="Nodes forget it after two hours, so that it is stored again each hour until Ctrl-C or"
    " SIGTERM; --once stores it once. Whoever opens the printed link with `download` gets the"
    " torrent, and whoever opens it with `run` or the daemon gets the later ones too. Keep FILE:"
    " without it nothing newer can be published.",
)
@click.argument("torrent", metavar="TORRENT")
@click.option(
    "--key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    metavar="FILE",
    help="Sign with the 32-byte Ed25519 seed in FILE; created, readable by you alone, if missing.",
)
@click.option(
    "--salt",
    type=SALT,
    default="",
    metavar="TEXT",
    help="Distinguishes several torrents of one key.  [default: none]",
)
@click.option(
    "--seq",
    "sequence",
    type=_NUMBER,
    metavar="NUMBER",
    help="Number of the version.  [default: one more than the newest found]",
)
@click.option(
    "--cas",
    type=_NUMBER,
    metavar="NUMBER",
    help="Publish only in place of this version.  [default: the newest found]",
)
@click.option("--once", is_flag=True, help="Store it once and end.")
@torrent_size_option
@query_options
def command(**options: Any) -> ExitCode:  # noqa: ANN401
    """Publish a TORRENT in the DHT as the newest version of a link (BEP 46).

    A TORRENT is an info-hash, a magnet link in quotes or a .torrent file.
    """
    from torrent_engine.cli.dht import publishing

    return publishing.publish(options)
