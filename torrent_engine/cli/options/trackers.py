"""Tracker URLs given on the command line."""

from collections.abc import Sequence

from torrent_engine.cli.output.exit_codes import CliError


def tiers_of(trackers: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return tiers of URLs; raises CliError for what is no tracker's URL."""
    from torrent_engine.base.errors import TrackerError
    from torrent_engine.protocol.tracker.urls import parse_tracker_url

    tiers = [tuple(filter(None, text.split(","))) for text in trackers]
    for url in (url for tier in tiers for url in tier):
        try:
            parse_tracker_url(url)
        except TrackerError as error:
            raise CliError(f"--tracker: {error}") from error
    return tuple(tier for tier in tiers if tier)
