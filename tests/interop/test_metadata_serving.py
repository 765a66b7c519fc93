"""ut_metadata (BEP 9): links that other programs download, with our metadata."""

from pathlib import Path

import pytest

from tests.interop.metadata_links import CLIENTS, WAIT_S, Hosts, many_files, other
from tests.support.engine_client import EngineSeed, EngineTracker
from tests.support.libtorrent_client import LibtorrentClient
from tests.support.magnets import add_link, link_of
from tests.support.payload import Payload
from tests.support.processes import free_port, wait_until

pytestmark = pytest.mark.interop


@pytest.fixture
def payload(folder: Path) -> Payload:
    return many_files(folder)


def wait_saved(payload: Payload, saved: Path) -> None:
    """Wait until the files are there: libtorrent writes late."""
    wait_until(lambda: payload.is_complete_in(saved), timeout_s=30, what="the right files")


@pytest.mark.parametrize("kind", CLIENTS)
def test_bep9_our_metadata_is_what_a_link_needs_that_is_downloaded_by(
    hosts: Hosts, folder: Path, payload: Payload, kind: str
) -> None:
    left, right = hosts
    with EngineTracker(
        left, folder / "tracker", port=free_port(), address=left.address(1)
    ) as tracker:
        tracker.wait_listening()
        announced = payload.announced_to(tracker.http_url)
        with (
            EngineSeed(left, folder / "seed", [announced], port=free_port()) as seed,
            other(kind, right, folder) as leech,
        ):
            seed.wait_event("tracker.success")
            add_link(leech, payload, link_of(payload, tracker.http_url), folder / "saved")
            leech.wait_complete(payload, timeout_s=WAIT_S)
            wait_saved(payload, folder / "saved")
    assert payload.is_complete_in(folder / "saved")


def test_bep9_libtorrent_downloads_a_link_from_us_over_ipv6(
    hosts: Hosts, folder: Path, payload: Payload
) -> None:
    left, right = hosts
    port, saved = free_port(), folder / "saved"
    with (
        EngineSeed(left, folder / "seed", [payload], port=port) as seed,
        LibtorrentClient(
            right, folder / "leech", port=free_port(), address=right.address6(2)
        ) as leech,
    ):
        seed.wait_event("session.started")
        leech.add_magnet(payload, saved, peers=[(left.address6(1), port)])
        wait_saved(payload, saved)
    assert payload.is_complete_in(saved)
