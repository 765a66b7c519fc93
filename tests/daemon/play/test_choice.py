"""Which file of a torrent is played, and with which program."""

import sys
from pathlib import Path

import click
import pytest

from tests.support.payload import make_payload
from torrent_engine.base.errors import ConfigError
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.daemon.play.choice import PlayableFile, PlayStream, chosen_file
from torrent_engine.daemon.play.player import parse_player

FILES = {
    "extras/trailer.mp4": 2_000,
    "film.mkv": 5_000,
    "film.nfo": 90,
    "image.iso": 9_000,
    "sound.flac": 3_000,
}


def show(tmp_path: Path, files: dict[str, int] | None = None) -> Metainfo:
    return Metainfo.read(make_payload(tmp_path, "show", files or FILES).torrent)


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        ("", "show/film.mkv"),
        ("1", "show/extras/trailer.mp4"),
        ("3", "show/film.nfo"),
        ("*.flac", "show/sound.flac"),
        ("film.*", "show/film.mkv"),
        ("*", "show/film.mkv"),
        ("*.iso", "show/image.iso"),
    ],
)
def test_the_largest_playable_file_is_chosen_or_the_one_that_is_named(
    tmp_path: Path, wanted: str, path: str
) -> None:
    metainfo = show(tmp_path)
    found = chosen_file(metainfo, wanted)
    assert found.path == path
    assert "/".join(metainfo.files[found.index].path) == path
    assert found.size_bytes == metainfo.files[found.index].length_bytes


@pytest.mark.parametrize(
    ("wanted", "words"),
    [("9", "no file 9; the torrent has 5 files"), ("*.ogg", "no file matches"), ("0", "no file 0")],
)
def test_a_file_that_is_not_there_is_named(tmp_path: Path, wanted: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        chosen_file(show(tmp_path), wanted)


@pytest.mark.parametrize("wanted", ["", "*"])
def test_without_video_and_audio_it_is_said_how_another_file_is_taken(
    tmp_path: Path, wanted: str
) -> None:
    metainfo = show(tmp_path, {"a.txt": 10, "b.iso": 2_000})
    with pytest.raises(FileNotFoundError, match="no video or audio among 2 files; --file NUMBER"):
        chosen_file(metainfo, wanted)


def test_what_is_printed_has_the_number_that_users_see() -> None:
    stream = PlayStream("ab" * 20, "show", PlayableFile(2, "show/c.mkv", 7), "http://a/")
    assert stream.to_json() == {
        "type": "stream.ready",
        "info_hash": "ab" * 20,
        "name": "show",
        "file": "show/c.mkv",
        "number": 3,
        "size_bytes": 7,
        "url": "http://a/",
    }


def test_a_player_is_a_program_with_arguments_and_no_shell() -> None:
    assert parse_player(f"{sys.executable} -c 'a b; c'") == [sys.executable, "-c", "a b; c"]


def test_vlc_ends_with_the_stream(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "vlc"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert parse_player("vlc") == [str(program), "--play-and-exit"]
    assert parse_player("vlc --fullscreen") == [str(program), "--fullscreen"]


@pytest.mark.parametrize("text", ["", "  ", "no-such-player-anywhere", "'unclosed"])
def test_a_player_that_is_no_program_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        parse_player(text)
    assert caught.value.param_hint == "--player"
