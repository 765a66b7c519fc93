"""What the start of a daemon costs: modules that only some requests need come with those."""

import json
import signal
from pathlib import Path

from tests.support.own_daemon import OwnDaemon

RECORDING = """
import atexit, gc, json, os, sys

def record():
    found = {"modules": sorted(sys.modules), "frozen": gc.get_freeze_count()}
    found["collects"] = gc.isenabled()
    with open(os.environ["RECORD"], "w") as file:
        json.dump(found, file)

atexit.register(record)
from torrent_engine.cli.main import main
main()
"""
SELDOM_NEEDED = {
    "cryptography",  # self-signed certificates
    "httpx2",
    "multipart",  # forms
    "prometheus_client",  # /metrics
    "rich",  # the display of the command line
    "torrent_engine.cli.output.render",
    "torrent_engine.daemon.metrics.exposition",
    "torrent_engine.daemon.qbittorrent.transport",  # switched off by default
}
ASKED_FOR = {
    "/metrics": "prometheus_client",
    "/api/v2/app/version": "torrent_engine.daemon.qbittorrent.transport",
}


def record_of(tmp_path: Path, *settings: str, asks: tuple[str, ...] = ()) -> dict[str, object]:
    """Return what a daemon had loaded when it ended, after some requests."""
    record = tmp_path / "record.json"
    with OwnDaemon(
        tmp_path, *settings, env={"RECORD": str(record)}, program=("-c", RECORDING)
    ) as daemon:
        daemon.ask("GET", "/api/v1/health")
        for path in asks:
            daemon.text(path)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0
    found: dict[str, object] = json.loads(record.read_text())
    return found


def test_a_started_daemon_has_loaded_nothing_that_only_some_requests_need(tmp_path: Path) -> None:
    found = record_of(tmp_path)
    assert not SELDOM_NEEDED & set(found["modules"])  # type: ignore[call-overload]
    assert found["collects"]
    assert found["frozen"] > 50_000  # type: ignore[operator]


def test_what_is_needed_later_is_loaded_then(tmp_path: Path) -> None:
    found = record_of(tmp_path, "qbittorrent.enabled=true", asks=tuple(ASKED_FOR))
    assert set(ASKED_FOR.values()) <= set(found["modules"])  # type: ignore[call-overload]
