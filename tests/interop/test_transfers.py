"""Leeching from, seeding to and meeting libtorrent, Transmission and aria2, with real trackers."""

import pytest

from tests.interop.scenarios import KINDS, SWARMS, Running

pytestmark = pytest.mark.interop

RESULT_TIMEOUT_S = 300.0


@pytest.mark.parametrize("kind", KINDS)
def test_bep3_we_leech_three_torrents_at_once_from(transfers: Running, kind: str) -> None:
    assert transfers["leech", kind].result(RESULT_TIMEOUT_S) == []


@pytest.mark.parametrize("kind", KINDS)
def test_bep3_we_seed_three_torrents_found_through_our_tracker_to(
    transfers: Running, kind: str
) -> None:
    assert transfers["seed", kind].result(RESULT_TIMEOUT_S) == []


@pytest.mark.parametrize(("tracker", "scheme"), SWARMS)
def test_bep3_and_bep15_four_clients_meet_through(
    transfers: Running, tracker: str, scheme: str
) -> None:
    assert transfers[tracker, scheme].result(RESULT_TIMEOUT_S) == []
