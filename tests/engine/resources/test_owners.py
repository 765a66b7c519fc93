"""The generations of owners: who is told when, and what is refused."""

import logging
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.errors import OwnerChangedError
from torrent_engine.base.ids import OwnerTie
from torrent_engine.engine.resources.owners import Owners, OwnerWatch


def test_who_watches_an_older_generation_is_told_once_and_before_advance_returns() -> None:
    owners, told = Owners(), list[str]()
    owners.watch(OwnerTie("ui", 1), partial(told.append, "first"))
    owners.watch(OwnerTie("ui", 2), partial(told.append, "second"))
    owners.watch(OwnerTie("other", 1), partial(told.append, "other"))
    assert owners.advance("ui", 2) == 1
    assert told == ["first"]
    assert owners.advance("ui", 2) == 0
    assert owners.advance("ui", 9) == 1
    assert told == ["first", "second"]
    assert (owners.generation("ui"), owners.generation("other")) == (9, None)


def test_an_older_generation_is_refused_and_changes_nothing() -> None:
    owners = Owners()
    owners.advance("ui", 5)
    with pytest.raises(OwnerChangedError, match="owner 'ui': generation 4 is over, it is at 5 now"):
        owners.advance("ui", 4)
    assert owners.generation("ui") == 5


def test_a_tie_that_is_old_is_refused_and_one_to_an_unknown_owner_is_not() -> None:
    owners = Owners()
    owners.advance("ui", 5)
    for tie, is_current in [
        (None, True),
        (OwnerTie("ui", 5), True),
        (OwnerTie("ui", 6), True),
        (OwnerTie("ui", 4), False),
        (OwnerTie("nobody"), True),
    ]:
        assert owners.is_current(tie) is is_current
    owners.check(OwnerTie("ui", 5))
    owners.check(None)
    with pytest.raises(OwnerChangedError):
        owners.check(OwnerTie("ui", 4))
    with pytest.raises(OwnerChangedError):
        owners.watch(OwnerTie("ui", 4), lambda: None)


def test_who_no_longer_watches_is_not_told_nor_whom_another_made_to_stop() -> None:
    owners, told, watches = Owners(), list[str](), list[OwnerWatch]()

    def first() -> None:
        told.append("first")
        watches[1].cancel()

    watches.append(owners.watch(OwnerTie("ui"), first))
    watches.append(owners.watch(OwnerTie("ui"), partial(told.append, "second")))
    third = owners.watch(OwnerTie("ui"), partial(told.append, "third"))
    third.cancel()
    third.cancel()
    assert owners.advance("ui", 1) == 1
    assert told == ["first"]
    assert not owners._watches


def test_a_bug_in_one_hurts_no_other(caplog: pytest.LogCaptureFixture) -> None:
    owners, told = Owners(), list[str]()

    def fails() -> None:
        raise ValueError("a bug")

    owners.watch(OwnerTie("ui"), fails)
    owners.watch(OwnerTie("ui"), partial(told.append, "second"))
    with caplog.at_level(logging.INFO, "torrent_engine.engine.resources.owners"):
        assert owners.advance("ui", 1) == 2
    assert told == ["second"]
    assert "owner 'ui': generation 1, 2 ties are old" in caplog.messages
    assert "owner 'ui': internal error in the callback of a watch" in caplog.messages


VERBS = st.sampled_from(["advance", "watch", "cancel"])
STEPS = st.lists(st.tuples(VERBS, st.sampled_from("ab"), st.integers(0, 6)))


def ask(owners: Owners, verb: str, tie: OwnerTie) -> None:
    """Advance an owner to the generation of a tie, or watch the tie."""
    if verb == "advance":
        owners.advance(tie.owner_id, tie.generation)
    else:
        owners.watch(tie, lambda: None)


@given(STEPS)
def test_in_any_order_a_watch_is_told_exactly_when_its_tie_becomes_old(
    steps: list[tuple[str, str, int]],
) -> None:
    owners, told = Owners(), list[int]()
    known: dict[str, int] = {}
    watches: list[tuple[OwnerTie, OwnerWatch]] = []
    expected, cancelled = list[int](), set[int]()
    for verb, owner_id, number in steps:
        is_old = number < known.get(owner_id, number)
        if verb == "cancel":
            if watches:
                cancelled.add(number % len(watches))
                watches[number % len(watches)][1].cancel()
        elif is_old:
            with pytest.raises(OwnerChangedError):
                ask(owners, verb, OwnerTie(owner_id, number))
        elif verb == "watch":
            tie = OwnerTie(owner_id, number)
            watches.append((tie, owners.watch(tie, partial(told.append, len(watches)))))
        else:
            known[owner_id] = number
            expected += [
                index
                for index, (tie, _) in enumerate(watches)
                if tie.owner_id == owner_id
                and tie.generation < number
                and index not in cancelled
                and index not in expected
            ]
            owners.advance(owner_id, number)
        assert told == expected
