"""A download that is killed goes on where it was: what the seed sent is counted."""

from pathlib import Path

import pytest

from tests.support.engine_client import EngineLeech
from tests.support.libtorrent_client import LibtorrentClient
from tests.support.netns import LOOPBACK
from tests.support.payload import Payload, make_payload
from tests.support.processes import free_port, wait_until

pytestmark = pytest.mark.interop

PIECES_BEFORE_KILL = 24
SLOW_BYTES_PER_S = 2_000_000


@pytest.fixture
def payload(tmp_path: Path) -> Payload:
    return make_payload(tmp_path, "big.bin", {"big.bin": 6_000_011})


def _leech(folder: Path, payload: Payload, seed: LibtorrentClient) -> EngineLeech:
    return EngineLeech(LOOPBACK, folder, [payload.torrent], port=free_port(), peers=[seed.address])


def _sent_after_the_link_ended(seed: LibtorrentClient, payload: Payload) -> int:
    wait_until(
        lambda: seed.status(payload)["peers"] == 0, timeout_s=60, what="the seed is left alone"
    )
    return seed.uploaded_bytes(payload)


def _piece_bytes(payload: Payload, piece: int) -> int:
    """Return the length of a piece; the last one is short."""
    return min(payload.piece_bytes, payload.total_bytes - piece * payload.piece_bytes)


def test_f4_killed_download_does_not_fetch_verified_pieces_again(
    tmp_path: Path, payload: Payload
) -> None:
    with LibtorrentClient(LOOPBACK, tmp_path / "seed", port=free_port()) as seed:
        seed.add(payload, payload.source_dir, upload_limit=SLOW_BYTES_PER_S)
        seed.wait_complete(payload)
        with _leech(tmp_path / "leech", payload, seed) as leech:
            leech.wait_event("piece.completed", count=PIECES_BEFORE_KILL)
            leech.kill()
            verified = {int(str(event["piece_index"])) for event in leech.events("piece.completed")}
        sent_before = _sent_after_the_link_ended(seed, payload)
        assert sent_before < payload.total_bytes

        seed.limit_uploads(0)
        with _leech(tmp_path / "leech", payload, seed) as leech:
            leech.wait_complete()
            saved = leech.save_dir
        sent = _sent_after_the_link_ended(seed, payload) - sent_before

    assert payload.is_complete_in(saved)
    assert 0 < sent <= payload.total_bytes - sum(_piece_bytes(payload, i) for i in verified)


def test_f4_complete_download_run_again_fetches_nothing(tmp_path: Path, payload: Payload) -> None:
    with LibtorrentClient(LOOPBACK, tmp_path / "seed", port=free_port()) as seed:
        seed.add(payload, payload.source_dir)
        seed.wait_complete(payload)
        for _ in range(2):
            with _leech(tmp_path / "leech", payload, seed) as leech:
                leech.wait_complete()
        sent = _sent_after_the_link_ended(seed, payload)
    assert sent == payload.total_bytes
