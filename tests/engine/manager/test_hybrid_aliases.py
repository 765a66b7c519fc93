"""A hybrid torrent is one torrent, whichever of its two info-hashes it is named by."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.torrents import payload_of
from tests.support.v2_torrents import hybrid_info, torrent_around
from torrent_engine.base.config import ManagerConfig, SessionConfig, SharedConfig
from torrent_engine.base.errors import ConfigError
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.manager.torrent_manager import TorrentManager
from torrent_engine.engine.session.status import Status

pytestmark = pytest.mark.anyio

HYBRID = Metainfo.from_bytes(torrent_around(*hybrid_info({"a": payload_of(40_000, 1)})))
assert HYBRID.info_hash_v2 is not None
V1, V2, WHOLE = HYBRID.info_hash, HYBRID.info_hash_v2.truncated, HYBRID.info_hash_v2
BY_V2 = HYBRID.known_by(V2)
SOURCES: dict[str, Metainfo | Magnet | str] = {
    "torrent": HYBRID,
    "torrent_by_v2": BY_V2,
    "link": Magnet.of(HYBRID),
    "link_v1": f"magnet:?xt=urn:btih:{V1}",
    "link_v2": f"magnet:?xt=urn:btmh:1220{WHOLE}",
}


def manager_in(folder: Path) -> TorrentManager:
    shared = SharedConfig.local(state_dir=folder / "state")
    session = SessionConfig(paused=True)
    return TorrentManager(ManagerConfig(shared=shared, save_path=folder, session=session))


@pytest.mark.parametrize("first", [HYBRID, BY_V2], ids=["by_v1", "by_v2"])
@pytest.mark.parametrize("is_restarted", [False, True], ids=["", "restarted"])
async def test_bep52_a_hybrid_is_added_once(
    first: Metainfo, is_restarted: bool, tmp_path: Path
) -> None:
    manager = manager_in(tmp_path)
    async with manager:
        assert (await manager.add(first)).is_new
        if not is_restarted:
            await add_all(manager)
    async with manager_in(tmp_path) as again:
        await add_all(again)


async def add_all(manager: TorrentManager) -> None:
    (session,) = manager.sessions
    for name, source in SOURCES.items():
        added = await manager.add(source)
        assert (name, added.is_new, added.session) == (name, False, session)
    assert len(manager.sessions) == 1


@pytest.mark.parametrize("first", [HYBRID, BY_V2], ids=["by_v1", "by_v2"])
async def test_bep52_a_hybrid_that_was_closed_in_its_first_check_is_known_by_both(
    first: Metainfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Status, "snapshot", None)  # as while it is checked
        async with manager_in(tmp_path) as manager:
            await manager.add(first)
    async with manager_in(tmp_path) as again:
        (session,) = again.sessions
        assert again.get_session(V1) is again.get_session(V2) is session
        await add_all(again)


@pytest.mark.parametrize("first", [HYBRID, BY_V2], ids=["by_v1", "by_v2"])
async def test_bep52_a_hybrid_is_found_and_removed_by_either_info_hash(
    first: Metainfo, tmp_path: Path
) -> None:
    async with manager_in(tmp_path) as manager:
        session = (await manager.add(first)).session
        names: list[Any] = [V1, V2, WHOLE, str(V1), str(V2), str(WHOLE), f" {WHOLE} "]
        for name in names:
            assert manager.get_session(name) is session
            assert manager.position(name) == 0
            manager.set_priority(name, 3)
            assert manager.priority(name) == 3
        await manager.remove_torrent(V1 if first is BY_V2 else str(WHOLE))
        assert not manager.sessions
        assert manager.get_session(V1) is None


@pytest.mark.parametrize("name", ["", "ab", "g" * 64, "ab" * 33, bytes(31), bytes(33)])
async def test_what_is_no_info_hash_is_refused(name: Any, tmp_path: Path) -> None:
    async with manager_in(tmp_path) as manager:
        with pytest.raises(ConfigError):
            manager.get_session(name)


async def test_bep52_an_unknown_torrent_of_v2_is_none(tmp_path: Path) -> None:
    async with manager_in(tmp_path) as manager:
        await manager.add(HYBRID)
        assert manager.get_session("0" * 64) is None
