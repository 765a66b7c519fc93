"""The states of a Session: the table is the law."""

import runpy
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.errors import StateTransitionError
from torrent_engine.engine.states import TRANSITIONS, Resumed, Signal, State, StateMachine

G = Signal
S = State
RUNNING = {S.CHECKING, S.FETCHING_METADATA, S.DOWNLOADING, S.SEEDING}


def machine(*signals: Signal) -> StateMachine:
    result = StateMachine()
    for signal in signals:
        result.fire(signal)
    return result


def test_every_state_can_be_reached_and_left() -> None:
    targets = {target for target in TRANSITIONS.values() if isinstance(target, State)}
    assert targets == set(State)
    assert {state for state, _ in TRANSITIONS} == set(State)
    assert {signal for _, signal in TRANSITIONS} == set(Signal)


def test_every_running_state_can_be_stopped_paused_and_fail() -> None:
    for state in RUNNING:
        assert TRANSITIONS[state, G.STOP] is S.STOPPED
        assert TRANSITIONS[state, G.PAUSE] is S.PAUSED
        assert TRANSITIONS[state, G.FAIL] is S.ERROR


def test_download_life_is_reported_move_by_move() -> None:
    moves: list[tuple[State, State]] = []
    subject = StateMachine(lambda old, new: moves.append((old, new)))
    for signal in (G.METADATA_NEEDED, G.METADATA_RECEIVED, G.CHECK_DONE_INCOMPLETE):
        subject.fire(signal)
    assert subject.fire(G.PIECES_MISSING) is S.DOWNLOADING  # no move, no report
    assert subject.fire(G.ALL_PIECES_PRESENT) is S.SEEDING
    subject.fire(G.STOP)
    states = [S.STOPPED, S.FETCHING_METADATA, S.CHECKING, S.DOWNLOADING, S.SEEDING, S.STOPPED]
    assert moves == list(pairwise(states))


@pytest.mark.parametrize(
    ("before", "during", "after"),
    [
        ([G.START], [], S.CHECKING),
        ([G.METADATA_NEEDED], [], S.FETCHING_METADATA),
        ([G.METADATA_NEEDED], [G.METADATA_RECEIVED], S.CHECKING),
        ([G.START], [G.CHECK_DONE_COMPLETE], S.SEEDING),
        ([G.START, G.CHECK_DONE_INCOMPLETE], [], S.DOWNLOADING),
        ([G.START, G.CHECK_DONE_INCOMPLETE], [G.ALL_PIECES_PRESENT], S.SEEDING),
        ([G.START, G.CHECK_DONE_COMPLETE], [], S.SEEDING),
        ([G.START, G.CHECK_DONE_COMPLETE], [G.PIECES_MISSING], S.DOWNLOADING),
        ([G.START, G.CHECK_DONE_COMPLETE], [G.RECHECK], S.CHECKING),
    ],
)
def test_resume_leads_to_what_was_paused(
    before: list[Signal], during: list[Signal], after: State
) -> None:
    subject = machine(*before, G.PAUSE, *during)
    assert subject.state is S.PAUSED
    assert subject.paused_state is after
    assert subject.fire(G.RESUME) is after
    assert subject.paused_state is None


@pytest.mark.parametrize(
    ("signals", "illegal"),
    [
        ([], G.PAUSE),
        ([], G.STOP),
        ([], G.RESUME),
        ([G.START], G.START),
        ([G.START], G.ALL_PIECES_PRESENT),
        ([G.START, G.PAUSE], G.ALL_PIECES_PRESENT),
        ([G.START, G.PAUSE], G.PAUSE),
        ([G.FAIL], G.RESUME),
        ([G.START, G.FAIL], G.RESUME),
        ([G.START, G.PAUSE, G.FAIL], G.RESUME),
    ],
)
def test_move_that_is_not_listed_raises_and_changes_nothing(
    signals: list[Signal], illegal: Signal
) -> None:
    subject = machine(*signals)
    before = subject.state, subject.paused_state
    assert not subject.can(illegal)
    with pytest.raises(StateTransitionError, match=f"{illegal.name}.*{subject.state.value}"):
        subject.fire(illegal)
    assert (subject.state, subject.paused_state) == before


def test_error_can_be_left_by_starting_again() -> None:
    assert machine(G.START, G.FAIL, G.FAIL, G.START).state is S.CHECKING


@pytest.mark.parametrize(
    ("found", "state"),
    [(G.CHECK_DONE_COMPLETE, S.SEEDING), (G.CHECK_DONE_INCOMPLETE, S.DOWNLOADING)],
)
def test_f1_resume_leads_from_error_to_what_moved_payload(found: Signal, state: State) -> None:
    assert machine(G.START, found, G.FAIL, G.FAIL, G.RESUME).state is state


@given(st.lists(st.sampled_from(Signal), max_size=60))
def test_random_signals_never_leave_the_table(signals: list[Signal]) -> None:
    moves: list[tuple[State, State]] = []
    subject = StateMachine(lambda old, new: moves.append((old, new)))
    for signal in signals:
        state, paused = subject.state, subject.paused_state
        if not subject.can(signal):
            with pytest.raises(StateTransitionError):
                subject.fire(signal)
            assert (subject.state, subject.paused_state) == (state, paused)
            continue
        target = TRANSITIONS[state, signal]
        expected = paused if target is Resumed.TO_PAUSED_STATE else target
        if target is Resumed.TO_FAILED_STATE:
            expected = next(old for old, new in reversed(moves) if new is S.ERROR)
            assert expected in {S.DOWNLOADING, S.SEEDING}
        assert subject.fire(signal) is expected
        assert subject.state is expected
        assert (subject.paused_state is not None) == (subject.state is S.PAUSED)
        assert subject.paused_state in {None, *RUNNING}
    assert all(old is not new for old, new in moves)
    assert [new for _, new in moves[:-1]] == [old for old, _ in moves[1:]]


def test_diagram_tool_prints_every_row(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "state_diagram.py"))
    monkeypatch.setattr("sys.argv", ["state_diagram.py"])
    tool["main"]()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(TRANSITIONS)
    for (state, signal), line in zip(TRANSITIONS, lines, strict=True):
        assert line.startswith(state.name)
        assert f"--{signal.name}-" in line
        assert signal.name in tool["mermaid"]()
