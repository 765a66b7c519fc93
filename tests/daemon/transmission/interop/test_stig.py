"""stig in a terminal: what it shows of the daemon, and the daemon after each of its commands."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.transmission.interop.remote import RemoteDaemon, torrent_file
from tests.support.processes import missing, wait_until
from tests.support.terminal import Terminal
from tests.support.torrents import make_torrent

pytestmark = pytest.mark.interop
HASH = "0123456789abcdef0123456789abcdef01234567"
CONFIG = """\
set connect.host 127.0.0.1
set connect.port {port}
set connect.user torrent
set connect.password {token}
set tui.poll 0.5
set tui.log.autohide 300
tab ls
"""


class Stig(Terminal):
    """stig with a list of torrents, and its command line."""

    def __init__(self, daemon: RemoteDaemon, folder: Path) -> None:
        program = Path(sys.executable).with_name("stig")
        if not program.exists():
            missing("stig is not installed")
        config = folder / "stig.rc"
        config.write_text(CONFIG.format(port=daemon.port, token=daemon.token))
        own = {"HOME": str(folder), "PYTHONWARNINGS": "ignore"}
        super().__init__([str(program), "--rcfile", str(config)], env=own)

    def order(self, command: str) -> None:
        """Give a command; its line is closed when it was taken."""
        self.press(":")
        self.wait_until_line(lambda line: line == ":", "the command line is open")
        self.write(command)
        self.wait_until_line(lambda line: line == f":{command}", f"{command} is typed")
        self.press("Enter")
        self.wait_gone(f":{command}")

    def wait_until_line(self, condition: Callable[[str], bool], what: str) -> None:
        """Wait until some line of the screen is as wanted; spaces at its end do not count."""
        wait_until(
            lambda: any(condition(line.rstrip()) for line in self.screen().splitlines()),
            timeout_s=60,
            what=what,
        )

    def wait_row(self, pattern: str) -> None:
        """Wait until a row of the list matches a regular expression."""
        row = re.compile(pattern)
        self.wait_until_line(lambda line: row.search(line) is not None, f"{pattern} is shown")


@pytest.fixture
def stig(daemon: RemoteDaemon, tmp_path: Path) -> Iterator[Stig]:
    daemon.add("first")
    daemon.add("second", paused=True)
    with Stig(daemon, tmp_path) as terminal:
        terminal.wait_row(r"\b90k .* seeding .* first$")
        yield terminal


def test_the_list_has_the_version_and_the_state_of_each_torrent(stig: Stig) -> None:
    stig.wait_row(r"\b90k .* stopped +100 .* second$")
    shown = stig.wait_for("2 torrents: 1 stopped", "Free: ")
    assert "Transmission 4.1.3 (torrent_engine" in shown


DETAILS = {
    "Name": "first",
    "ID": r"\d+",
    "Hash": r"[0-9a-f]{40}",
    "Size": "90kB",
    "Files": r"3 \(3 wanted\)",
    "Pieces": r"6 \* 16\.4kB",
    "Private": "no .*",
    "State": r"seeding(, idle)?",
    "Location": "/",
    "Available": r"90kB \(100\.00 %\)",
    "Uploaded": r"0B \(0\.00 %\)",
    "Upload rate": "unlimited",
    "Connected": "0",
}


def test_details_are_shown(stig: Stig) -> None:
    stig.order("tab details name=first")
    shown = stig.wait_for("Torrent ├", "Status ├", "Limits ├", "Dates and Times ├", "Private: no")
    wrong = {
        name: value
        for name, value in DETAILS.items()
        if not re.search(rf"\b{name}: {value}", shown)
    }
    assert wrong == {}, shown


def test_files_are_shown_with_folders_and_priorities_are_set(
    stig: Stig, daemon: RemoteDaemon
) -> None:
    stig.order("tab lsf name=first")
    stig.wait_row(r"100 +40k +40k .*one\.txt$")
    stig.wait_row(r"100 +9 +9 .*three\.txt$")
    stig.order("priority high name=first name=two.mkv")
    key = next(each["hashString"] for each in listed(daemon) if each["name"] == "first")
    daemon.wait_field("priorities", [0, 1, 0], key)
    stig.wait_row(r"high +100 +50k +50k .*two\.mkv$")
    assert daemon.field("wanted", key) == [1, 1, 1]


def test_trackers_and_peers_are_shown(stig: Stig) -> None:
    stig.order("tab lstrk")
    stig.wait_row(r"0 .* Connection refused .* first$")
    assert "second" in stig.screen()
    stig.order("tab lsp")
    stig.wait_row(r"^Host +Client +% Dn")


def test_torrents_are_paused_and_resumed(stig: Stig, daemon: RemoteDaemon) -> None:
    stig.order("stop name=first")
    stig.wait_row(r"stopped +100 .* first$")
    stig.order("start all")
    stig.wait_row(r"seeding +100 .* first$")
    stig.wait_row(r"seeding +100 .* second$")
    assert [each["status"] for each in listed(daemon)] == [6, 6]
    stig.order("verify name=first")
    stig.wait_for("Verifying first")
    stig.wait_row(r"seeding +100 .* first$")


def test_torrents_are_added_by_file_and_link(
    stig: Stig, daemon: RemoteDaemon, tmp_path: Path
) -> None:
    metainfo, _ = make_torrent({"a": b"x" * 5_000}, name="third")
    stig.order(f"add --stopped {torrent_file(tmp_path, metainfo)}")
    stig.wait_row(r"\b5k .* stopped .* third$")
    stig.order(f"add --labels tv magnet:?xt=urn:btih:{HASH}")
    stig.wait_row(rf"discovering .* {HASH}$")
    assert daemon.field("labels", HASH) == ["tv"]
    stig.order("add /nothing.torrent")
    stig.wait_for("add: ", "No such file")


def test_limits_labels_and_the_order_of_pieces_are_set(stig: Stig, daemon: RemoteDaemon) -> None:
    key = next(each["hashString"] for each in listed(daemon) if each["name"] == "first")
    stig.order("rate dn 40kB name=first")
    stig.wait_for("first download rate limit: 40kB")
    daemon.wait_field("downloadLimit", 40, key)
    assert daemon.field("downloadLimited", key) is True
    stig.order("label one,two name=first")
    stig.wait_for("first: Adding labels: ")  # in any order: stig keeps them in a set
    wait_until(lambda: set(daemon.field("labels", key)) == {"one", "two"}, timeout_s=30, what="two")
    stig.order("sequential name=first")
    daemon.wait_field("sequential_download", True, key)
    stig.order("rate up 50kB global")
    wait_until(lambda: bool(daemon.session("speed-limit-up") == 50), timeout_s=30, what="50 kB/s")
    stig.wait_for("/50kB/s ↑")
    stig.order("set srv.limit.rate.up unlimited")
    wait_until(
        lambda: daemon.session("speed-limit-up-enabled") is False, timeout_s=30, what="no limit"
    )


def test_torrents_are_announced_renamed_moved_and_removed(
    stig: Stig, daemon: RemoteDaemon, other_folder: Path
) -> None:
    key = next(each["hashString"] for each in listed(daemon) if each["name"] == "first")
    stig.order("announce name=first")
    stig.wait_for("announce: ", "first")
    stig.order("rename name=first/one.txt eins.txt")
    wait_until(
        lambda: bool(daemon.field("files", key)[0]["name"] == "first/eins.txt"),
        timeout_s=30,
        what="the file is renamed",
    )
    stig.order(f"move name=first {other_folder}")
    daemon.wait_field("downloadDir", str(other_folder), key)
    stig.order("move name=second /nowhere/allowed")
    stig.wait_for("path is outside the allowed folders")
    stig.order("remove --force name=first")
    stig.wait_for("1 torrents: 1 stopped")
    assert [each["name"] for each in listed(daemon)] == ["second"]
    assert (other_folder / "first" / "eins.txt").exists()
    stig.order("remove --force --delete-files name=second")
    stig.wait_for("0 torrents")
    wait_until(
        lambda: not (daemon.downloads / "second" / "one.txt").exists(),
        timeout_s=30,
        what="the files are gone",
    )


def listed(daemon: RemoteDaemon) -> list[dict[str, Any]]:
    """Return the torrents by their names."""
    fields = ["name", "hashString", "status"]
    found = daemon.ask("torrent-get", fields=fields)["torrents"]
    return sorted(found, key=lambda each: str(each["name"]))
