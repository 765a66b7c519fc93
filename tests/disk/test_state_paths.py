"""Which paths lie in the state folder."""

import os
from pathlib import Path

import pytest

from torrent_engine.base.errors import StorageError
from torrent_engine.disk.state_paths import StatePaths, folded


def refuses(state: Path, base: Path, *parts: str) -> bool:
    path = os.path.realpath(base.joinpath(*parts))
    subject, real = StatePaths(state), os.path.realpath(base)
    top = folded(os.path.realpath(base / parts[0]))
    try:
        subject.refuse(real, [path])
    except StorageError as error:
        message = str(error)
    else:
        return False
    assert path in message
    assert subject.is_near(real, [top])
    return True


def test_paths_in_the_state_folder_are_refused(tmp_path: Path) -> None:
    state = tmp_path / "data/state"
    state.mkdir(parents=True)
    assert refuses(state, tmp_path / "data", "state", "torrents", "a.session")
    assert refuses(state, tmp_path / "data", "state", "token")
    assert refuses(state, tmp_path / "data", "state")
    assert refuses(state, tmp_path, "data", "state", "state.db")
    assert refuses(state, state, "state.db")
    assert refuses(state, state, "anything", "a")
    assert refuses(state, state / "torrents", "a.session")
    assert refuses(state, state / "LOCKS", "a")
    assert not refuses(state, tmp_path / "data", "states", "a")
    assert not refuses(state, tmp_path / "data", "stat")
    assert not refuses(state, tmp_path / "elsewhere", "state", "a")


def test_a_save_path_may_be_a_folder_of_the_user_in_it(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert not refuses(state, state / "downloads", "torrents", "a.session")
    assert not refuses(state, state / "downloads/here", "a")


def test_it_is_the_same_folder_by_another_name(tmp_path: Path) -> None:
    state = tmp_path / "State"
    state.mkdir()
    (tmp_path / "link").symlink_to(state)
    assert refuses(state, tmp_path, "sTATE", "a")  # on some file system it is the same
    assert refuses(state, tmp_path, "link", "a")
    assert refuses(tmp_path / "link", tmp_path, "State", "a")
    assert refuses(state, tmp_path / "link", "a")


def test_a_folder_that_is_mounted_twice_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, twin = tmp_path / "state", tmp_path / "twin"
    for each in (state, twin / "torrents"):
        each.mkdir(parents=True)
    monkeypatch.setattr(os.path, "samefile", lambda a, b: Path(a) == twin and Path(b) == state)
    assert refuses(state, twin, "a")
    assert refuses(state, twin / "torrents", "a")
    assert not refuses(state, twin / "downloads", "a")


def test_without_a_state_folder_nothing_is_refused(tmp_path: Path) -> None:
    subject = StatePaths(None)
    subject.refuse(str(tmp_path), [str(tmp_path / "a")])
    assert not subject.is_near(str(tmp_path), [folded(str(tmp_path / "a"))])
