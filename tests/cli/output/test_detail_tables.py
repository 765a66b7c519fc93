"""Files, peers, trackers and facts of a torrent as lines that fit the terminal."""

from typing import Any

import pytest
from rich.cells import cell_len

from torrent_engine.cli.output.detail_tables import (
    fact_lines,
    files_table,
    peers_table,
    stats_lines,
    trackers_table,
)
from torrent_engine.service.torrents import TorrentRow

NAME = "Season 1/\x1b[2J日本語の長いフォルダー名 and then some more words of it.mkv"
FILES: list[dict[str, Any]] = [
    {"index": 0, "path": NAME, "size_bytes": 5_000_000, "completed_bytes": 0, "priority": 0},
    {"index": 9, "path": "b", "size_bytes": 0, "completed_bytes": 0, "priority": 7},
]
PEER = {
    "host": "2001:db8::1",
    "port": 51413,
    "client": "Client\x1b 1.0",
    "transport": "utp",
    "encryption": "rc4",
    "is_incoming": True,
    "progress": 0.5,
    "download_bytes_per_s": 5_000,
    "upload_bytes_per_s": 0,
}
PEERS = [PEER, {**PEER, "host": "192.0.2.1", "download_bytes_per_s": 9_000, "is_incoming": False}]
TRACKERS: list[dict[str, Any]] = [
    {
        "url": "http://tracker.example/***/announce",
        "tier": 0,
        "state": "failed",
        "message": "no such torrent\x1b[2J",
        "seeds": None,
        "leeches": 1_234,
    }
]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_tables_fit_the_terminal_and_are_safe(width: int) -> None:
    tables = [
        files_table(FILES, width=width),
        peers_table(PEERS, width=width),
        trackers_table(TRACKERS, width=width),
    ]
    for table in tables:
        assert "\x1b" not in table.plain
        assert all(cell_len(line.rstrip()) <= width for line in table.plain.splitlines())


def test_cells_of_the_tables() -> None:
    files = files_table(FILES, width=200).plain.splitlines()
    assert files[1].split()[:4] == ["1", "0.0%", "4.8", "MiB"]
    assert "skip" in files[1]
    assert files[2].split() == ["10", "100%", "-", "7", "b"]
    first, second = peers_table(PEERS, width=200).plain.splitlines()[1:]
    assert first.startswith("192.0.2.1:51413      us")
    assert second.startswith("[2001:db8::1]:51413  peer  utp RC4  50.0%  4.9 KiB")
    (tracker,) = trackers_table(TRACKERS, width=200).plain.splitlines()[1:]
    assert tracker.split()[:4] == ["1", "failed", "-", "1,234"]


def test_facts_of_a_torrent_leave_out_what_it_does_not_have() -> None:
    row = TorrentRow("ab" * 20, "one\x1b", "error", 3, "/data", 10, 10, 5, error="disk full")
    lines = fact_lines(row)
    assert lines[2] == "state       error: disk full"
    assert lines[3] == "done        50.0%, 5/10 B"
    assert not any("\x1b" in line or line.startswith("labels") for line in lines)
    assert fact_lines(TorrentRow("ab" * 20, "one", "metadata", 0, "/", 0, 0, 0))[3].endswith(" -")


def test_totals_of_all_torrents() -> None:
    ever = {"downloaded_bytes": 1024, "uploaded_bytes": 0}
    stats = {"torrents": 1_000, "peers": 2, "ever": ever}
    lines = stats_lines({**stats, "download_bytes_per_s": 2048, "upload_bytes_per_s": 0})
    assert lines[0] == "torrents    1,000"
    assert lines[2] == "download    2.0 KiB/s, 1.0 KiB in all"
