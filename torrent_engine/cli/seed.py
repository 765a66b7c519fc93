"""``torrent-engine seed``."""

from typing import Any

import click

from torrent_engine.cli.exit_codes import ExitCode
from torrent_engine.cli.option_groups import source_options, transfer_options
from torrent_engine.cli.options import common_options


@click.command(
    "seed",
    epilog="The data is checked first; what was checked before and did not change since is"
    " trusted, unless --no-resume is given.",
)
@source_options
@transfer_options
@click.option(
    "--super-seeding",
    is_flag=True,
    help="Show each peer a few pieces at a time until there is another seed: the first copy is"
    " sent about once.",
)
@common_options
@click.pass_context
def command(context: click.Context, /, **options: Any) -> ExitCode:  # noqa: ANN401
    """Seed each TORRENT, whose data is in the folder given with -d, until stopped."""
    from torrent_engine.cli.transfers import run_transfers

    return run_transfers(context, {**options, "seeds_by_default": True}, must_be_complete=True)
