"""Both directions over IPv6, and a tracker that is reached over it."""

from pathlib import Path

import pytest

from tests.support.engine_client import EngineLeech, EngineSeed, EngineTracker
from tests.support.libtorrent_client import LibtorrentClient
from tests.support.netns import Host
from tests.support.payload import make_payload
from tests.support.processes import free_port

pytestmark = pytest.mark.interop


def test_bep7_leech_from_libtorrent_over_ipv6(hosts: tuple[Host, Host], folder: Path) -> None:
    left, right = hosts
    payload = make_payload(folder, "six.bin", {"six.bin": 1_000_003})
    with LibtorrentClient(
        right, folder / "seed", port=free_port(), address=right.address6(2)
    ) as seed:
        seed.add(payload, payload.source_dir)
        seed.wait_complete(payload)
        with EngineLeech(
            left, folder / "leech", [payload.torrent], port=free_port(), peers=[seed.address]
        ) as leech:
            leech.wait_complete()
    assert payload.is_complete_in(leech.save_dir)


def test_bep7_seed_to_libtorrent_over_ipv6(hosts: tuple[Host, Host], folder: Path) -> None:
    left, right = hosts
    payload = make_payload(folder, "six.bin", {"six.bin": 1_000_003})
    port = free_port()
    with (
        EngineSeed(left, folder / "seed", [payload], port=port) as seed,
        LibtorrentClient(
            right, folder / "leech", port=free_port(), address=right.address6(2)
        ) as leech,
    ):
        seed.wait_event("session.started")
        leech.add(payload, folder / "saved", peers=[(left.address6(1), port)])
        leech.wait_complete(payload)
    assert payload.is_complete_in(folder / "saved")


def test_bep7_libtorrent_finds_our_seed_through_our_tracker_over_ipv6(
    hosts: tuple[Host, Host], folder: Path
) -> None:
    left, right = hosts
    made = make_payload(folder, "six.bin", {"six.bin": 1_000_003})
    with (
        EngineTracker(
            left, folder / "tracker", port=free_port(), address=left.address6(1)
        ) as tracker,
        LibtorrentClient(
            right, folder / "leech", port=free_port(), address=right.address6(2)
        ) as leech,
    ):
        tracker.wait_listening()
        payload = made.announced_to(tracker.http_url)
        with EngineSeed(left, folder / "seed", [payload], port=free_port()) as seed:
            seed.wait_event("tracker.success")
            leech.add(payload, folder / "saved")
            leech.wait_complete(payload)
    assert payload.is_complete_in(folder / "saved")
