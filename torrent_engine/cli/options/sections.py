"""Help pages in sections: the heading under which each option is listed."""

from typing import Final

import click

SECTIONS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    (
        "Torrents",
        (
            "input_files",
            "watched",
            "watch_delete",
            "watch_interval",
            "update_interval",
            "follow_feeds",
            "name",
            "piece_bytes",
            "torrent_format",
            "private",
            "comment",
            "source",
            "trackers",
            "web_seeds",
            "similar",
            "collections",
            "update_url",
            "originator_file",
            "max_torrent_size",
        ),
    ),
    (
        "Files",
        (
            "folder",
            "output",
            "outputs",
            "force",
            "include",
            "exclude",
            "no_links",
            "no_attributes",
            "threads",
            "selections",
            "file_priorities",
            "sequential",
            "overwrite",
            "allow_hidden",
            "follow_links",
            "incomplete_dir",
            "incomplete_suffix",
            "local_data",
            "use_similar",
            "no_resume",
            "check_only",
        ),
    ),
    (
        "Signature",
        ("key_file", "certificate_file", "password_file", "digest", "no_certificate"),
    ),
    ("Version", ("salt", "sequence", "cas", "once")),
    ("Seeding", ("seed_ratio", "seed_time", "seed_idle", "super_seeding")),
    (
        "Limits",
        (
            "max_active_downloads",
            "max_active_seeds",
            "max_torrents",
            "max_download",
            "max_upload",
            "unlimited_local_network",
            "max_connections",
        ),
    ),
    (
        "Ending",
        (
            "timeout",
            "timeout_s",
            "stop_timeout",
            "owner_process",
            "on_complete",
            "on_complete_timeout",
        ),
    ),
    (
        "Finding peers",
        (
            "peers",
            "tracker_dns",
            "no_dht",
            "dht_bootstrap",
            "bootstrap",
            "no_pex",
            "no_lsd",
            "no_web_seeds",
            "allow_local_web_seeds",
        ),
    ),
    (
        "Connections",
        (
            "port",
            "listen_hosts",
            "no_port_mapping",
            "interface",
            "transport",
            "no_holepunch",
            "encryption",
            "incoming_encryption",
            "outgoing_encryption",
            "encryption_level",
        ),
    ),
    ("Proxy and privacy", ("proxy", "proxy_for", "require_proxy", "anonymous")),
    (
        "IP filter",
        ("ip_filter", "block_ip", "allow_ip", "unlimited_ip", "block_ports", "always_allow_local"),
    ),
    (
        "Output",
        ("multi", "show_peers", "as_json", "json_events", "stats_interval", "quiet", "no_color"),
    ),
    ("General", ("state_dir", "config", "log_file", "log_level", "debug")),
)
"""Headings of a help page and, below each, names of parameters; both in the order of the page."""


WIDE_COLUMNS: Final = 70
NAME_COLUMNS: Final = 30  # for names of options; longer ones have a line of their own
NARROW_NAME_COLUMNS: Final = 14


class SectionedCommand(click.Command):
    """A command whose help page lists its options in :data:`SECTIONS`."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each heading that has options of this command."""
        columns = NAME_COLUMNS if formatter.width >= WIDE_COLUMNS else NARROW_NAME_COLUMNS
        for heading, options in sections_of(self, ctx):
            records = [option.get_help_record(ctx) for option in options]
            if rows := [record for record in records if record is not None]:
                with formatter.section(heading):
                    formatter.write_dl(rows, col_max=columns)


def sections_of(
    command: click.Command, context: click.Context
) -> list[tuple[str, list[click.Option]]]:
    """Return the headings and options of a help page; options without a heading come last."""
    parameters = command.get_params(context)
    left = {str(each.name): each for each in parameters if isinstance(each, click.Option)}
    sections = [
        (heading, [left.pop(name) for name in names if name in left]) for heading, names in SECTIONS
    ]
    sections[-1][1].extend(left.values())  # the help option of click, whose name is its own
    return sections
