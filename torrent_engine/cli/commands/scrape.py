"""``torrent-engine scrape``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import click

from torrent_engine.cli.options.common import SECONDS, SOURCE, common_options, settings_of
from torrent_engine.cli.options.groups import torrent_size_option, tracker_dns_option
from torrent_engine.cli.output.exit_codes import CliError, ExitCode

if TYPE_CHECKING:
    from torrent_engine.base.config import TrackerConfig
    from torrent_engine.base.ids import InfoHash
    from torrent_engine.net.tracker.client import TrackerClient
    from torrent_engine.protocol.tracker.announce import ScrapeCounts


@click.command("scrape")
@click.argument("torrents", nargs=-1, type=SOURCE, required=True, metavar="TORRENT...")
@click.option(
    "-t",
    "--tracker",
    "trackers",
    multiple=True,
    metavar="URL",
    help="Tracker to ask instead of those in the torrent; may be repeated.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=SECONDS,
    default="15s",
    show_default=True,
    metavar="TIME",
    help="Time limit for each tracker.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON for each torrent.")
@tracker_dns_option
@torrent_size_option
@common_options
@click.pass_context
def command(context: click.Context, /, **options: Any) -> ExitCode:  # noqa: ANN401
    """Ask the trackers of each TORRENT how many seeds and leeches they know."""
    from torrent_engine.cli.tasks.each import for_each

    debug = settings_of(context).debug
    return for_each(options["torrents"], lambda one: _scrape(one, options), debug=debug)


@dataclass(slots=True)
class ScrapeAnswer:
    """What one tracker said."""

    url: str
    """Without passkeys."""
    counts: "ScrapeCounts | None" = None
    error: str = ""

    def record(self) -> dict[str, object]:
        """Return it as JSON can carry it."""
        counts = self.counts
        if counts is None:
            return {"tracker": self.url, "error": self.error}
        fields = {"seeds": counts.seeds, "leeches": counts.leeches, "downloads": counts.downloads}
        return {"tracker": self.url, **fields}

    def line(self) -> str:
        """Return it as a line."""
        counts = self.counts
        if counts is None:
            return f"{self.url}: {self.error}"
        return (
            f"{self.url}: {_number(counts.seeds)} seeds, {_number(counts.leeches)} leeches,"
            f" {_number(counts.downloads)} downloads"
        )


def _scrape(source: str, options: dict[str, Any]) -> ExitCode:
    from torrent_engine.base.config import TrackerConfig
    from torrent_engine.cli.output import render
    from torrent_engine.cli.tasks import arguments
    from torrent_engine.service import loop

    metainfo = arguments.load_now(source, options["max_torrent_size"])
    trackers = options["trackers"] or [url for tier in metainfo.tiers for url in tier]
    if not trackers:
        raise CliError("has no trackers; give one with --tracker URL")
    config = TrackerConfig(
        total_timeout_s=options["timeout_s"], dns_preferences=options["tracker_dns"]
    )
    answers = loop.run(lambda: _ask_all(trackers, metainfo.info_hash, config))
    if options["as_json"]:
        fields = {"name": metainfo.name, "info_hash": metainfo.info_hash.hex()}
        render.print_json({**fields, "trackers": [answer.record() for answer in answers]})
    else:
        print_answers(metainfo.name, answers)
    if all(answer.counts is None for answer in answers):
        raise CliError("no tracker gave its counts", ExitCode.NETWORK)
    return ExitCode.OK


def print_answers(name: str, answers: Sequence[ScrapeAnswer]) -> None:
    """Print the name of a torrent, and below it what each tracker said."""
    from torrent_engine.cli.output import render
    from torrent_engine.cli.output.text import safe

    render.print_line(safe(name))
    for answer in answers:
        render.print_wrapped(safe(answer.line()), first="  ", indent="    ")


async def _ask_all(
    trackers: Sequence[str], info_hash: "InfoHash", config: "TrackerConfig"
) -> list[ScrapeAnswer]:
    """Ask all trackers at once; the answers are in the order of the trackers."""
    from torrent_engine.net.tracker.client import open_tracker_client
    from torrent_engine.protocol.tracker.urls import redact_url

    answers = [ScrapeAnswer(redact_url(url)) for url in trackers]
    async with open_tracker_client(config) as client, anyio.create_task_group() as tasks:
        for url, answer in zip(trackers, answers, strict=True):
            tasks.start_soon(_ask, client, url, info_hash, answer)
    return answers


async def _ask(
    client: "TrackerClient", url: str, info_hash: "InfoHash", answer: ScrapeAnswer
) -> None:
    from torrent_engine.base.errors import TrackerError

    try:
        counts = await client.scrape(url, [info_hash])
    except TrackerError as error:
        answer.error = str(error)
        return
    answer.counts = counts.get(info_hash)
    answer.error = "" if answer.counts else "does not know this torrent"


def _number(count: int | None) -> str:
    return "?" if count is None else f"{count:,}"
