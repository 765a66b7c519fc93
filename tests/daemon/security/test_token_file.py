"""The token of the state folder: made once, for its user only, and easy to pass on."""

import os
from pathlib import Path

import pytest

from torrent_engine.base.errors import ConfigError
from torrent_engine.daemon.security.token_file import TOKEN_NAME, make_token, read_or_make_token


def test_a_token_is_made_once_and_for_its_user_only(tmp_path: Path) -> None:
    made, is_new = read_or_make_token(tmp_path)
    assert is_new
    assert read_or_make_token(tmp_path) == (made, False)
    assert (tmp_path / TOKEN_NAME).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [TOKEN_NAME]


def test_a_new_token_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    old, _ = read_or_make_token(tmp_path)
    new = make_token(tmp_path / TOKEN_NAME)
    assert new != old
    assert read_or_make_token(tmp_path) == (new, False)


def test_no_token_passes_for_an_option_of_a_command_line(tmp_path: Path) -> None:
    made = [make_token(tmp_path / TOKEN_NAME) for _ in range(100)]
    assert all(token.isalnum() and len(token) >= 64 for token in made)
    assert len(set(made)) == len(made)


@pytest.mark.parametrize(
    ("text", "mode", "message"),
    [
        ("a" * 40, 0o644, "others can read"),
        ("", 0o600, "has no token"),
        ("short", 0o600, "has no token"),
        ("a" * 600, 0o600, "has no token"),
        ("two words of sixteen", 0o600, "has no token"),
        ("\u00e9" * 40, 0o600, "has no token"),
    ],
)
def test_files_without_a_token_of_ones_own_are_refused(
    tmp_path: Path, text: str, mode: int, message: str
) -> None:
    path = tmp_path / TOKEN_NAME
    path.write_text(f"{text}\n", "utf-8")
    path.chmod(mode)
    with pytest.raises(ConfigError, match=message):
        read_or_make_token(tmp_path)
    assert path.read_text("utf-8") == f"{text}\n"


def test_f6_a_pipe_in_the_place_of_the_token_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / TOKEN_NAME, 0o600)
    with pytest.raises(ConfigError, match="is no regular file"):
        read_or_make_token(tmp_path)
