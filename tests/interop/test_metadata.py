"""ut_metadata (BEP 9) with libtorrent, Transmission and aria2, both ways."""

from pathlib import Path

import pytest

from tests.interop.scenarios import OtherClient
from tests.support.aria2_client import Aria2Client
from tests.support.engine_client import EngineLeech, EngineSeed, EngineTracker
from tests.support.libtorrent_client import LibtorrentClient
from tests.support.magnets import add_link, link_of
from tests.support.netns import Host
from tests.support.payload import Payload, make_payload
from tests.support.processes import free_port, wait_until
from tests.support.transmission_client import TransmissionClient

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

CLIENTS = {each.label: each for each in (LibtorrentClient, TransmissionClient, Aria2Client)}
METADATA_PIECE_BYTES = 16 * 1024
WAIT_S = 60.0  # Transmission thinks of whom to unchoke each ten seconds only
Hosts = tuple[Host, Host]


@pytest.fixture
def payload(folder: Path) -> Payload:
    """Return a torrent whose metadata has three pieces, for it names many files."""
    names = [f"a rather long name of a very short file, number {n:04}.txt" for n in range(420)]
    made = make_payload(folder, "many", dict.fromkeys(names, 11) | {"big.bin": 300_000})
    info_bytes = len(made.torrent.read_bytes())
    assert 2 * METADATA_PIECE_BYTES < info_bytes < 3 * METADATA_PIECE_BYTES
    return made


def other(kind: str, host: Host, folder: Path, *, address: str | None = None) -> OtherClient:
    """Return another program, seen from us as number 2 of its host."""
    client: OtherClient = CLIENTS[kind](
        host, folder / kind, port=free_port(), address=address or host.address(2)
    )
    return client


def wait_saved(payload: Payload, saved: Path) -> None:
    """Wait until the files are there: libtorrent writes late."""
    wait_until(lambda: payload.is_complete_in(saved), timeout_s=30, what="the right files")


@pytest.mark.parametrize("kind", CLIENTS)
def test_bep9_we_download_a_link_with_the_metadata_of(
    hosts: Hosts, folder: Path, payload: Payload, kind: str
) -> None:
    left, right = hosts
    with other(kind, right, folder) as seed:
        seed.add(payload, payload.source_dir)
        seed.wait_complete(payload)
        with EngineLeech(
            left, folder / "leech", [link_of(payload)], port=free_port(), peers=[seed.address]
        ) as leech:
            leech.wait_event("metadata.received")
            leech.wait_complete(WAIT_S)
    assert payload.is_complete_in(leech.save_dir)


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


def test_bep9_we_download_a_link_over_ipv6(hosts: Hosts, folder: Path, payload: Payload) -> None:
    left, right = hosts
    with other("libtorrent", right, folder, address=right.address6(2)) as seed:
        seed.add(payload, payload.source_dir)
        seed.wait_complete(payload)
        host, port = seed.address
        link = f"{link_of(payload)}&x.pe=[{host}]:{port}"
        with EngineLeech(left, folder / "leech", [link], port=free_port()) as leech:
            leech.wait_complete()
    assert payload.is_complete_in(leech.save_dir)


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
