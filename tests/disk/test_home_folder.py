"""Which names in home folders no torrent may create."""

import os
import pwd
from pathlib import Path

import pytest

from torrent_engine.disk.home_folder import HomeNames


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder of the environment."""
    folder = tmp_path / "Home/me"
    folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    return folder


def user(name: str, home: Path) -> pwd.struct_passwd:
    return pwd.struct_passwd((name, "x", 1000, 1000, "", str(home), "/bin/sh"))


def test_names_with_a_dot_are_hidden_at_the_top_of_the_home_folder(home: Path) -> None:
    names = HomeNames(home)
    assert names.is_hidden((".bashrc",))
    assert names.is_hidden((".config", "autostart", "a"))
    assert not names.is_hidden(("a", ".bashrc"))
    above = HomeNames(home.parent.parent)
    assert above.is_hidden(("home", "ME", ".bashrc"))
    assert not above.is_hidden((".bashrc",))
    assert not HomeNames(home / "downloads").is_hidden((".bashrc",))


def test_folders_of_programs_without_a_dot_are_as_hidden_ones(home: Path) -> None:
    names = HomeNames(home, frozenset({"library"}))
    assert names.is_hidden(("library", "LaunchAgents", "a.plist"))
    assert not names.is_hidden(("Libraries", "a"))
    assert not HomeNames(home, frozenset()).is_hidden(("Library", "LaunchAgents", "a.plist"))


@pytest.mark.parametrize("is_root", [True, False])
def test_for_root_the_homes_of_all_users_count(
    home: Path, monkeypatch: pytest.MonkeyPatch, is_root: bool
) -> None:
    other = home.parent / "other"
    other.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 0 if is_root else 1000)
    monkeypatch.setattr(pwd, "getpwall", lambda: [user("other", other), user("no", Path("/no"))])
    assert HomeNames(other).is_hidden((".bashrc",)) is is_root
    assert HomeNames(home.parent).is_hidden(("other", ".ssh", "authorized_keys")) is is_root
