"""Whose turn it is to be the sole sender of a piece."""

from torrent_engine.policy.pieces.sole_turns import MAX_RECORDS, SoleTurns


def order(turns: SoleTurns, *peers: tuple[str, float, bool]) -> list[str]:
    """Return the names of peers, (name, connected since, is trusted), by their place."""
    places = {name: turns.place(name, since_s, is_trusted=is_t) for name, since_s, is_t in peers}
    return sorted(places, key=places.__getitem__)


def test_who_waits_longest_is_first_and_trusted_ones_before_all() -> None:
    peers = (("new", 30.0, False), ("old", 10.0, False), ("trusted", 40.0, True))
    assert order(SoleTurns(), *peers) == ["trusted", "old", "new"]


def test_b6_who_lost_a_turn_waits_again_trusted_or_not() -> None:
    turns = SoleTurns()
    turns.lost("old", 50.0)
    turns.lost("trusted", 45.0)
    peers = (("new", 30.0, False), ("old", 10.0, False), ("trusted", 40.0, True))
    assert order(turns, *peers) == ["new", "trusted", "old"]


def test_b6_who_comes_again_is_last() -> None:
    turns = SoleTurns()
    turns.lost("holder", 10.0)
    peers = (("holder", 60.0, True), ("waits", 50.0, False), ("other name", 61.0, False))
    assert order(turns, *peers) == ["waits", "holder", "other name"]


def test_the_peers_that_are_remembered_are_bounded_and_the_oldest_is_forgotten() -> None:
    turns = SoleTurns()
    for number in range(MAX_RECORDS + 1):
        turns.lost(number, float(number))
    assert len(turns._lost_s) == MAX_RECORDS
    assert turns.place(0, 5.0, is_trusted=True) == (False, 5.0)
