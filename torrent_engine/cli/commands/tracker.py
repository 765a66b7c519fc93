"""``torrent-engine tracker``."""

import socket
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import anyio
import click

from torrent_engine.base.ids import PeerAddress
from torrent_engine.cli.options.common import ADDRESS, PORT, SECONDS, common_options
from torrent_engine.cli.output.exit_codes import ExitCode

if TYPE_CHECKING:
    from torrent_engine.net.tracker.embedded import EmbeddedTracker

REPORT_INTERVAL_S: Final = 5.0
EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104 - a tracker is there for others


@click.command("tracker", epilog="Nothing is stored: peers announce again after a restart.")
@click.option(
    "--host",
    "hosts",
    type=ADDRESS,
    multiple=True,
    metavar="ADDRESS",
    help="Address to listen on; may be repeated.  [default: all]",
)
@click.option(
    "--port",
    type=PORT,
    default="6969",
    show_default=True,
    metavar="PORT",
    help="TCP and UDP port; 0: any.",
)
@click.option(
    "--interval",
    "interval_s",
    type=SECONDS,
    default="30m",
    show_default=True,
    metavar="TIME",
    help="Announce interval that peers are told; a plain number is seconds.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one event per line, as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print only errors.")
@common_options
def command(**options: Any) -> ExitCode:  # noqa: ANN401
    """Run a small HTTP and UDP tracker for any torrent, until stopped."""
    from torrent_engine.service import loop

    loop.run(lambda: loop.run_until_signalled(lambda: _serve(options)))
    return ExitCode.OK


async def _serve(options: dict[str, Any]) -> None:
    from torrent_engine.net.tracker.embedded import EmbeddedTracker

    hosts = options["hosts"] or EVERYWHERE
    interval_s = max(1, round(options["interval_s"]))
    async with EmbeddedTracker(hosts, options["port"], interval_s=interval_s) as tracker:
        _announce(tracker, options)
        before: object = None
        while True:
            await anyio.sleep(REPORT_INTERVAL_S)
            if (stats := tracker.stats()) != before:
                before = stats
                _report(asdict(stats), options)


def _announce(tracker: "EmbeddedTracker", options: dict[str, Any]) -> None:
    """Say where the tracker is, now that it takes announces."""
    from torrent_engine.cli.output.render import print_json, print_line

    host = socket.gethostname() if tracker.hosts[0] in EVERYWHERE else tracker.hosts[0]
    where = f"{PeerAddress(host, tracker.port)}/announce"
    if options["as_json"]:
        urls = {"http": f"http://{where}", "udp": f"udp://{where}"}
        print_json({"time": round(time.time(), 3), "type": "tracker.started", **urls}, flush=True)
    elif not options["quiet"]:
        print_line(f"http://{where} and udp://{where}; Ctrl-C ends it", flush=True)


def _report(stats: dict[str, int], options: dict[str, Any]) -> None:
    from torrent_engine.cli.output.render import print_json, print_line

    if options["as_json"]:
        print_json({"time": round(time.time(), 3), "type": "tracker.stats", **stats}, flush=True)
    elif not options["quiet"]:
        counts = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in stats.items())
        print_line(counts, flush=True)
