"""What a browser is told of a streamed file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.daemon.stream.media_types import (
    BINARY,
    TEXT,
    is_playable,
    media_type_of,
    presentation_of,
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("film.MKV", "video/x-matroska"),
        ("a/b.c/song.mp3", "audio/mpeg"),
        ("notes.nfo", TEXT),
        ("readme", BINARY),
        ("x.tar.gz", "application/gzip"),
        ("x.srt", TEXT),
        ("x.vtt", "text/vtt; charset=utf-8"),
        ("x.unheard-of", BINARY),
        ("a.csv", TEXT),
        (".mkv", BINARY),
    ],
)
def test_the_suffix_decides(path: str, expected: str) -> None:
    assert media_type_of(path) == expected


def test_video_and_audio_are_playable() -> None:
    assert is_playable("a.mp4")
    assert is_playable("a.flac")
    assert not is_playable("a.jpg")


@pytest.mark.parametrize("name", ["a.html", "a.svg", "a.xml", "a.js", "a.pdf", "a.xhtml"])
def test_what_a_browser_would_run_is_to_be_saved(name: str) -> None:
    sent = presentation_of(name)
    assert sent.media_type == BINARY
    assert sent.disposition.startswith("attachment; ")
    shown = presentation_of(name, download=False)
    assert shown.media_type != BINARY
    assert shown.disposition.startswith("inline; ")


def test_media_is_shown_unless_it_is_to_be_saved() -> None:
    assert presentation_of("a.mp4").disposition.startswith("inline; ")
    assert presentation_of("a.mp4", download=True).disposition.startswith("attachment; ")
    assert presentation_of("a.iso").disposition.startswith("attachment; ")


def test_names_are_quoted() -> None:
    sent = presentation_of('dir/a"b\r\n\\ä.mp4')
    assert sent.disposition == (
        "inline; filename=\"a_b____.mp4\"; filename*=UTF-8''a%22b%0D%0A%5C%C3%A4.mp4"
    )


@given(st.text())
def test_a_name_stays_within_one_header_line(name: str) -> None:
    text = presentation_of(name).disposition
    assert text.isascii()
    assert text.isprintable()
    assert text.count('"') == 2
