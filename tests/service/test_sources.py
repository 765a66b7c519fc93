"""Sources of torrents as they are shown: without secrets."""

import pytest

from torrent_engine.service.sources import shown


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("files/a.torrent", "files/a.torrent"),
        ("https://user:secret@h.example/a.torrent?key=1", "https://h.example/a.torrent?***"),
        ("http://[", "http://***"),
        ("HTTP://a]b/passkey", "HTTP://***"),
    ],
)
def test_d4_a_source_is_shown_without_its_secrets(source: str, text: str) -> None:
    assert shown(source) == text
