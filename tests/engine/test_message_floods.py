"""Row F11: no message of a peer holds up the loop, however large the torrent and the swarm.

CPU time of a single turn, which other processes do not lengthen, against the bound for lag; the
lag itself is measured by ``bench/loop_lag.py``.
"""

import pytest

from tests.support.large_swarm import FLOODS, PEERS, LargeSwarm, longest_turn_s

LAG_S = 0.05
TRIES = 3


@pytest.fixture(scope="module")
def swarm() -> LargeSwarm:
    return LargeSwarm()


@pytest.mark.parametrize("flood", FLOODS)
def test_f11_a_mebibyte_of_one_message_never_takes_a_long_turn(
    swarm: LargeSwarm, flood: str
) -> None:
    longest = []
    for number in range(TRIES):
        peer = swarm.join(PEERS + number)
        longest.append(longest_turn_s(swarm, peer, flood))
        swarm.torrent.peers.discard(peer)
        swarm.downloads.peer_left(peer)
        swarm.uploads.peer_left(peer)
        if longest[-1] < LAG_S:
            break
    assert min(longest) < LAG_S
