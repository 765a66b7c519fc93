"""Messages about the lists of an IP filter."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.cli.output.render import Reporter
from torrent_engine.cli.output.text import safe

if TYPE_CHECKING:
    from torrent_engine.engine.resources.live_ip_filter import LiveIpFilter


def print_lists(ip_filter: "LiveIpFilter", reporter: Reporter) -> None:
    """Print the size of each list and its invalid lines."""
    for path, text in _notes(ip_filter):
        reporter.note(text, about=path)


async def reload_lists(ip_filter: "LiveIpFilter", reporter: Reporter) -> None:
    """Reload the lists; if one cannot be read, print the error and keep the old ones."""
    if not ip_filter.config.paths:
        return
    try:
        await ip_filter.reload()
    except TorrentEngineError as error:
        reporter.error(error, about="--ip-filter")
    else:
        print_lists(ip_filter, reporter)


def _notes(ip_filter: "LiveIpFilter") -> Iterator[tuple[str, str]]:
    for file in ip_filter.files:
        facts = file.facts
        yield safe(file.path), f"{facts.ranges:,} address ranges blocked"
        if facts.bad_lines:
            bad = f"{facts.bad_lines:,}, such as {'; '.join(facts.examples)}"
            yield safe(file.path), f"invalid lines: {safe(bad)}"
