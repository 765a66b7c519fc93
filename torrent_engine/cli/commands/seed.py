"""``torrent-engine seed``."""

from typing import Any

import click

from torrent_engine.cli.options.common import common_options
from torrent_engine.cli.options.groups import source_options, transfer_options
from torrent_engine.cli.options.sections import SectionedCommand
from torrent_engine.cli.output.exit_codes import ExitCode


@click.command(
    "seed",
    cls=SectionedCommand,
    epilog="The data is checked first. Files that were checked before and have not changed since"
    " are trusted, unless --no-resume is given.",
)
@source_options
@transfer_options(seeds_by_default=True)
@click.option(
    "--super-seeding",
    is_flag=True,
    help="Offer each peer only a few pieces at a time until there is another seed (BEP 16), so that"
    " the first copy costs little more than its size.",
)
@common_options
@click.pass_context
def command(context: click.Context, /, **options: Any) -> ExitCode:  # noqa: ANN401
    """Seed each TORRENT from the data in the folder given with -d, until stopped."""
    from torrent_engine.cli.tasks.transfers import run_transfers

    return run_transfers(context, {**options, "seeds_by_default": True}, must_be_complete=True)
