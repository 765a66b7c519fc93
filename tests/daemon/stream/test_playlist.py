"""Playlists and subtitles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.daemon.stream.playlist import Entry, natural_key, playlist
from torrent_engine.daemon.stream.subtitles import to_vtt

SRT = (
    "1\n00:00:01,000 --> 00:00:02,500\nHallo\n\n2\n1:00:03,7 --> 1:00:04,25 X1:2\n<i>Welt</i>, 3\n"
)
VTT = (
    "WEBVTT\n\n1\n00:00:01.000 --> 00:00:02.500\nHallo\n\n"
    "2\n01:00:03.007 --> 01:00:04.025\n<i>Welt</i>, 3\n"
)


def test_each_file_has_a_name_and_a_url() -> None:
    found = playlist([Entry("Teil 1", "http://h/1"), Entry("ä\r\n#EXT", "http://h/2")])
    assert found.decode() == (
        "#EXTM3U\n#EXTINF:-1,Teil 1\nhttp://h/1\n#EXTINF:-1,ä #EXT\nhttp://h/2\n"
    )


@given(st.lists(st.text()))
def test_no_name_makes_a_line_of_its_own(names: list[str]) -> None:
    found = playlist([Entry(name, "u") for name in names]).decode()
    assert len(found.splitlines()) == 1 + 2 * len(names)


def test_files_are_in_the_order_of_their_numbers() -> None:
    names = ["s/10.mkv", "s/9.mkv", "S/1.mkv", "extra.mkv", "s/1b.mkv"]
    assert sorted(names, key=natural_key) == [
        "extra.mkv",
        "S/1.mkv",
        "s/1b.mkv",
        "s/9.mkv",
        "s/10.mkv",
    ]


@given(st.lists(st.text()))
def test_all_names_can_be_compared(names: list[str]) -> None:
    assert len(sorted(names, key=natural_key)) == len(names)


@pytest.mark.parametrize(
    "data",
    [
        SRT.encode(),
        b"\xef\xbb\xbf" + SRT.encode(),
        SRT.replace("\n", "\r\n").encode(),
        b"\xff\xfe" + SRT.encode("utf-16-le"),
        b"\xfe\xff" + SRT.encode("utf-16-be"),
    ],
    ids=["utf-8", "mark", "dos", "utf-16-le", "utf-16-be"],
)
def test_subtitles_become_webvtt(data: bytes) -> None:
    assert to_vtt(data).decode() == VTT


def test_old_encodings_are_read() -> None:
    assert "Käse" in to_vtt("Käse".encode("cp1252")).decode()


@given(st.binary())
def test_any_bytes_become_a_file_with_its_mark(data: bytes) -> None:
    assert to_vtt(data).startswith(b"WEBVTT\n\n")
