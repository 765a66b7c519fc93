"""Anonymous downloads: no packet names the program, or tells the neighbours."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.netns import Host
from tests.support.proxied_swarm import ProxiedSwarm, Sent
from torrent_engine.base.ids import CLIENT_NAME, CLIENT_PREFIX
from torrent_engine.protocol.dht.krpc import CLIENT

pytestmark = pytest.mark.interop

NAMES = (CLIENT_NAME.encode(), CLIENT_PREFIX, b"1:v4:" + CLIENT)
SLOW_BYTES_PER_S = 500_000  # three seconds: long enough to ask everybody


@pytest.fixture
def swarm(own_hosts: tuple[Host, Host], folder: Path) -> Iterator[ProxiedSwarm]:
    with ExitStack() as programs:
        yield ProxiedSwarm(own_hosts, folder, programs)


def download(swarm: ProxiedSwarm, *, anonymous: bool) -> Sent:
    payload = swarm.tracked(swarm.payload(), has_name=False)
    swarm.seed(payload)
    with swarm.downloading(
        payload,
        anonymous=anonymous,
        lsd=True,
        dht_bootstrap=[swarm.dht_node()],
        bytes_per_s=SLOW_BYTES_PER_S,
    ) as (child, sent):
        sent.wait_for(b"find_node")
        if not anonymous:
            sent.wait_for(b"BT-SEARCH")
        child.wait_complete()
    assert payload.is_complete_in(child.save_dir)
    assert sent.has(b"User-Agent: ")
    assert sent.has(b"11:ut_metadata")
    return sent


def test_an_anonymous_download_names_no_program_and_tells_no_neighbour(swarm: ProxiedSwarm) -> None:
    sent = download(swarm, anonymous=True)
    assert [name for name in NAMES if sent.has(name)] == []
    assert not any(packet.is_multicast for packet in sent.packets)
    assert not sent.has(b"6:yourip")
    assert not sent.has(b"1:pi")


def test_any_other_download_does(swarm: ProxiedSwarm) -> None:
    sent = download(swarm, anonymous=False)
    assert [name for name in NAMES if sent.has(name)] == list(NAMES)
    assert any(packet.is_multicast for packet in sent.packets)
    assert sent.has(b"6:yourip")
    assert sent.has(b"1:pi")
