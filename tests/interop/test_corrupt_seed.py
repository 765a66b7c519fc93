"""One seed of three sends wrong bytes: the download is right, and only the liar is banned."""

import random
from pathlib import Path

import pytest

from tests.support.engine_client import EngineLeech
from tests.support.libtorrent_client import LibtorrentClient
from tests.support.netns import Host
from tests.support.payload import make_payload
from tests.support.processes import free_port

pytestmark = pytest.mark.interop

HONEST_BYTES_PER_S = 2_000_000


def test_b6_corrupt_seed_among_good_ones_is_banned_and_no_good_one(
    hosts: tuple[Host, Host], folder: Path
) -> None:
    left, right = hosts
    payload = make_payload(folder, "data.bin", {"data.bin": 4_000_037})
    poisoned = make_payload(folder / "poisoned", "data.bin", {"data.bin": 4_000_037})
    with (
        LibtorrentClient(right, folder / "a", port=free_port(), address=right.address(2)) as good,
        LibtorrentClient(right, folder / "b", port=free_port(), address=right.address(3)) as fine,
        LibtorrentClient(right, folder / "c", port=free_port(), address=right.address(4)) as liar,
    ):
        for honest in (good, fine):
            honest.add(payload, payload.source_dir, upload_limit=HONEST_BYTES_PER_S)
        liar.add(poisoned, poisoned.source_dir)
        for seed in (good, fine, liar):
            seed.wait_complete(payload)
        # It has checked its file and believes it; now the bytes on its disk change.
        damage = random.Random("damage").randbytes(poisoned.total_bytes)
        (poisoned.source_dir / "data.bin").write_bytes(damage)
        peers = [liar.address, good.address, fine.address]
        with EngineLeech(
            left, folder / "leech", [payload.torrent], port=free_port(), peers=peers
        ) as leech:
            leech.wait_complete()
            banned = {str(event["address"]) for event in leech.events("peer.banned")}
            failed = list(leech.events("piece.hash_failed"))
    assert payload.is_complete_in(leech.save_dir)
    assert failed
    assert banned == {f"{liar.address[0]}:{liar.address[1]}"}
