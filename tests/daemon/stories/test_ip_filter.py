"""Lists of addresses that are switched, and read again, while a daemon runs."""

import signal
from pathlib import Path

from tests.daemon.stories.scene import LIMIT_S
from tests.support.own_daemon import OwnDaemon
from tests.support.processes import wait_until


def test_the_lists_are_switched_live_and_read_again_by_sighup(tmp_path: Path) -> None:
    refused = tmp_path / "refused.p2p"
    refused.write_text("one:192.0.2.0-192.0.2.9\n")
    with OwnDaemon(tmp_path, f"network.ip_filter={refused}") as daemon:

        def wait_for_ranges(count: int) -> None:
            wait_until(
                lambda: f"refused.p2p: {count} ranges" in daemon.log.read_text(),
                timeout_s=LIMIT_S,
                what=f"a list with {count} ranges is read",
            )

        for is_on in (False, True):
            change = {"network.ip_filter_enabled": is_on}
            daemon.ask("PATCH", "/api/v1/settings", change)
        wait_for_ranges(1)
        refused.write_text("one:192.0.2.0-192.0.2.9\ntwo:198.51.100.0-198.51.100.9\n")
        daemon.signal(signal.SIGHUP)
        wait_for_ranges(2)
        refused.unlink()
        daemon.signal(signal.SIGHUP)
        wait_until(
            lambda: "lists of addresses: " in daemon.log.read_text(),
            timeout_s=LIMIT_S,
            what="the list that is gone is told",
        )
        assert daemon.is_ready()
