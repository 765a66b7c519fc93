"""The free space that pollers ask for again and again."""

from pathlib import Path

import pytest

from torrent_engine.daemon.common.disk_space import FRESH_S, FreeSpace, free_bytes

pytestmark = pytest.mark.anyio


async def test_free_space_is_that_of_the_folder_or_of_what_it_will_be_in(tmp_path: Path) -> None:
    assert free_bytes(str(tmp_path)) > 0
    assert await FreeSpace().of(str(tmp_path / "not" / "there" / "yet")) > 0


async def test_free_space_is_looked_up_again_after_some_seconds_and_for_another_folder() -> None:
    now, looked = [100.0], list[str]()

    def look(folder: str) -> int:
        looked.append(folder)
        return 1000 + len(looked)

    space = FreeSpace(lambda: now[0], look=look)
    assert [await space.of("/a"), await space.of("/a")] == [1001, 1001]
    now[0] += FRESH_S - 0.1
    assert await space.of("/a") == 1001
    now[0] += 0.1
    assert await space.of("/a") == 1002
    assert [await space.of("/b"), await space.of("/b")] == [1003, 1003]
    assert looked == ["/a", "/a", "/b"]
