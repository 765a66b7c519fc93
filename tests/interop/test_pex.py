"""BEP 11 with libtorrent: three parties, of which two hear of each other from the third only."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.engine_client import EngineLeech, format_peer
from tests.support.libtorrent_client import LibtorrentClient
from tests.support.netns import Host
from tests.support.payload import make_payload
from tests.support.processes import free_port, wait_until

pytestmark = pytest.mark.interop

PATIENCE_S = 180.0  # one message a minute is all that may be sent
SLOW_BYTES_PER_S = 20_000  # messages are read at this rate, too; the payload takes minutes
PAYLOAD_BYTES = 8_000_003


class Parties:
    """Programs that take part, each ended when the test ends."""

    def __init__(self, hosts: tuple[Host, Host], folder: Path, programs: ExitStack) -> None:
        self.left, self.right = hosts
        self.folder = folder
        self.payload = make_payload(folder, "pex.bin", {"pex.bin": PAYLOAD_BYTES})
        self.magnet = f"magnet:?xt=urn:btih:{self.payload.info_hash.hex()}"
        self.our_address = (self.left.address(1), free_port())
        self._programs = programs

    def libtorrent(self, number: int, **settings: bool) -> LibtorrentClient:
        """Start one that finds nobody by itself."""
        folder, address = self.folder / f"libtorrent-{number}", self.right.address(number)
        client = LibtorrentClient(self.right, folder, port=free_port(), address=address, **settings)
        return self._programs.enter_context(client)

    def seed(self) -> LibtorrentClient:
        """Start a seed that dials nobody, whomever it hears of."""
        seed = self.libtorrent(2, enable_outgoing_tcp=False)
        seed.add(self.payload, self.payload.source_dir)
        seed.wait_complete(self.payload)
        return seed

    def middle(self, seed: LibtorrentClient) -> LibtorrentClient:
        """Start one that is connected to a seed, and has little to give for a long time."""
        middle, where = self.libtorrent(3), self.folder / "saved-by-middle"
        middle.add(self.payload, where, peers=[seed.address], download_limit=SLOW_BYTES_PER_S)
        wait_until(
            lambda: middle.status(self.payload)["peers"] > 0,
            timeout_s=PATIENCE_S,
            what="the middle is connected to the seed",
        )
        return middle

    def ours(self, what: Path | str, peer: LibtorrentClient, *extra: str) -> EngineLeech:
        """Start ours, which knows one peer."""
        leech = EngineLeech(
            self.left,
            self.folder / "ours",
            [what],
            port=self.our_address[1],
            peers=[peer.address],
            extra=extra,
        )
        return self._programs.enter_context(leech)

    def our_middle(self, seed: LibtorrentClient) -> EngineLeech:
        """Start ours as a middle."""
        middle = self.ours(
            self.payload.torrent, seed, "--max-download-limit", str(SLOW_BYTES_PER_S)
        )
        middle.wait_event("peer.connected")
        return middle

    def assert_saved(self, save_dir: Path) -> None:
        assert self.payload.is_complete_in(save_dir)


@pytest.fixture
def parties(hosts: tuple[Host, Host], folder: Path) -> Iterator[Parties]:
    with ExitStack() as programs:
        yield Parties(hosts, folder, programs)


def connected_to(leech: EngineLeech) -> set[object]:
    return {event["address"] for event in leech.events("peer.connected")}


@pytest.mark.parametrize("way", ["torrent", "magnet"])
def test_bep11_we_find_a_seed_by_what_libtorrent_tells_us(parties: Parties, way: str) -> None:
    seed = parties.seed()
    middle = parties.middle(seed)
    leech = parties.ours(parties.magnet if way == "magnet" else parties.payload.torrent, middle)
    leech.wait_complete(PATIENCE_S)
    parties.assert_saved(leech.save_dir)
    assert connected_to(leech) == {format_peer(each.address) for each in (middle, seed)}


@pytest.mark.parametrize("way", ["torrent", "magnet"])
def test_bep11_libtorrent_finds_a_seed_by_what_we_tell_it(parties: Parties, way: str) -> None:
    seed = parties.seed()
    parties.our_middle(seed)
    leech, where = parties.libtorrent(4), parties.folder / "saved"
    add = leech.add_magnet if way == "magnet" else leech.add
    add(parties.payload, where, peers=[parties.our_address])
    leech.wait_complete(parties.payload, PATIENCE_S)
    parties.assert_saved(where)
    assert parties.payload.is_complete_in(where)
