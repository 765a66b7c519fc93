import anyio
import pytest

from torrent_engine.base.errors import StateDatabaseError
from torrent_engine.disk.threads import run_in_thread

pytestmark = pytest.mark.anyio


def raise_(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't start new thread")])
async def test_f10_a_thread_that_cannot_be_had_is_an_error_of_the_package(error: Exception) -> None:
    limiter = anyio.CapacityLimiter(1)
    with pytest.raises(StateDatabaseError) as found:
        await run_in_thread(raise_, error, limiter=limiter, failure=StateDatabaseError)
    assert found.value.__cause__ is error


async def test_what_the_work_raises_is_left_as_it_is() -> None:
    limiter = anyio.CapacityLimiter(1)
    with pytest.raises(RuntimeError, match="a bug"):
        await run_in_thread(
            raise_, RuntimeError("a bug"), limiter=limiter, failure=StateDatabaseError
        )
