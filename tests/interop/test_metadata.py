"""ut_metadata (BEP 9): links that we download, with the metadata of other programs."""

from pathlib import Path

import pytest

from tests.interop.metadata_links import CLIENTS, WAIT_S, Hosts, many_files, other
from tests.support.engine_client import EngineLeech
from tests.support.magnets import link_of
from tests.support.payload import Payload
from tests.support.processes import free_port

pytestmark = pytest.mark.interop


@pytest.fixture
def payload(folder: Path) -> Payload:
    return many_files(folder)


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
