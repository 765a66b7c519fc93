"""What is told of the lists of an IP filter when they were read."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.cli.render import Reporter, safe

if TYPE_CHECKING:
    from torrent_engine.engine.ip_filter import LiveIpFilter


def tell_lists(ip_filter: "LiveIpFilter", reporter: Reporter) -> None:
    """Say how much each list had in it, and what of it was not understood."""
    for line in _lines(ip_filter):
        reporter.note(line)


async def reload_lists(ip_filter: "LiveIpFilter", reporter: Reporter) -> None:
    """Read the lists again; where one cannot be read that is told, and nothing changes."""
    if not ip_filter.config.paths:
        return
    try:
        await ip_filter.reload()
    except TorrentEngineError as error:
        reporter.error(error, about="--ip-filter")
    else:
        tell_lists(ip_filter, reporter)


def _lines(ip_filter: "LiveIpFilter") -> Iterator[str]:
    for file in ip_filter.files:
        facts = file.facts
        yield f"{safe(file.path)}: {facts.ranges:,} ranges of addresses are kept out"
        if facts.bad_lines:
            bad = f"{facts.bad_lines:,}, such as {'; '.join(facts.examples)}"
            yield f"{safe(file.path)}: lines that are no ranges: {safe(bad)}"
