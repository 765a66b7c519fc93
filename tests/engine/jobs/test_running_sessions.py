"""Sessions that run at the same time, at most one for each torrent."""

import pytest

from torrent_engine.base.errors import BusyError
from torrent_engine.engine.jobs.running_sessions import RunningSessions

V1, V2 = b"1" * 20, b"2" * 20


async def close() -> None:
    """Do nothing."""


def test_a_torrent_has_one_session() -> None:
    sessions = RunningSessions()
    sessions.add(V1, close)
    with pytest.raises(BusyError, match="has a Session already"):
        sessions.add(V1, close)
    assert (len(sessions), sessions.closers) == (1, (close,))
    sessions.remove(V1)
    sessions.remove(V1)
    sessions.add(V1, close)


@pytest.mark.parametrize(("first", "second"), [(V1, V2), (V2, V1)])
def test_bep52_a_hybrid_has_one_session_by_either_info_hash(first: bytes, second: bytes) -> None:
    sessions = RunningSessions()
    sessions.add(first, close)
    sessions.claim(first, second)
    sessions.claim(first, second)
    with pytest.raises(BusyError, match=f"a hybrid, by its info-hash {first.hex()}"):
        sessions.add(second, close)
    sessions.remove(second)
    assert len(sessions) == 1
    sessions.remove(first)
    sessions.add(second, close)
    sessions.claim(second, first)


@pytest.mark.parametrize(("first", "second"), [(V1, V2), (V2, V1)])
def test_bep52_of_two_sessions_of_a_hybrid_the_first_that_knows_it_stays(
    first: bytes, second: bytes
) -> None:
    sessions = RunningSessions()
    sessions.add(second, close)
    sessions.add(first, close)
    sessions.claim(first, second)
    with pytest.raises(BusyError, match=f"a hybrid, by its info-hash {first.hex()}"):
        sessions.claim(second, first)
    sessions.remove(second)
    with pytest.raises(BusyError):
        sessions.add(second, close)
