"""Debian's transmission-remote (3.00): every option that it has."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.transmission.interop.remote import (
    RemoteDaemon,
    remote,
    run_remote,
    torrent_file,
)
from tests.support.processes import require_program, wait_until
from tests.support.torrents import make_torrent

pytestmark = pytest.mark.interop
HASH = "0123456789abcdef0123456789abcdef01234567"

SESSION: list[tuple[list[str], str, Any]] = [
    (["-as"], "alt-speed-enabled", True),
    (["-AS"], "alt-speed-enabled", False),
    (["-asd", "77"], "alt-speed-down", 77),
    (["-asu", "66"], "alt-speed-up", 66),
    (["-asc"], "alt-speed-time-enabled", True),
    (["-ASC"], "alt-speed-time-enabled", False),
    (["--alt-speed-time-begin", "0830"], "alt-speed-time-begin", 510),
    (["--alt-speed-time-end", "1715"], "alt-speed-time-end", 1035),
    (["--alt-speed-days", "2-4"], "alt-speed-time-day", 4 + 8 + 16),
    (["-c", "{downloads}/incomplete"], "incomplete-dir", "{downloads}/incomplete"),
    (["-C"], "incomplete-dir-enabled", False),
    (["-d", "500"], "speed-limit-down", 500),
    (["-D"], "speed-limit-down-enabled", False),
    (["-u", "50"], "speed-limit-up", 50),
    (["-U"], "speed-limit-up-enabled", False),
    (["-e", "8"], "cache-size-mb", 32),
    (["-er"], "encryption", "required"),
    (["-ep"], "encryption", "preferred"),
    (["-et"], "encryption", "tolerated"),
    (["-m"], "port-forwarding-enabled", True),
    (["-M"], "port-forwarding-enabled", False),
    (["-o"], "dht-enabled", True),
    (["-O"], "dht-enabled", False),
    (["-P"], "peer-port-random-on-start", True),
    (["-pr", "33"], "peer-limit-global", 33),
    (["-gsr", "1.5"], "seedRatioLimit", 1.5),
    (["-GSR"], "seedRatioLimited", False),
    (["--start-paused"], "start-added-torrents", False),
    (["--no-start-paused"], "start-added-torrents", True),
    (["--no-trash-torrent"], "trash-original-torrent-files", False),
    (["--no-torrent-done-script"], "script-torrent-done-enabled", False),
    (["--utp"], "utp-enabled", True),
    (["--no-utp"], "utp-enabled", False),
    (["-w", "{downloads}/other"], "download-dir", "{downloads}/other"),
    (["-w", "{downloads}"], "download-dir", "{downloads}"),
    (["-x"], "pex-enabled", True),
    (["-X"], "pex-enabled", False),
    (["-y"], "lpd-enabled", True),
    (["-Y"], "lpd-enabled", False),
]
SESSION_SWITCHES = {
    "-c": "incomplete-dir-enabled",
    "-d": "speed-limit-down-enabled",
    "-u": "speed-limit-up-enabled",
    "-gsr": "seedRatioLimited",
}
REFUSED = {"--trash-torrent": [], "--torrent-done-script": ["/bin/true"]}
TORRENT: list[tuple[list[str], str, Any]] = [
    (["-G", "0,1"], "wanted", [0, 0, 1]),
    (["-g", "all"], "wanted", [1, 1, 1]),
    (["-ph", "0"], "priorities", [1, 0, 0]),
    (["-pl", "all"], "priorities", [-1, -1, -1]),
    (["-pn", "all"], "priorities", [0, 0, 0]),
    (["-Bh"], "bandwidthPriority", 1),
    (["-Bl"], "bandwidthPriority", -1),
    (["-Bn"], "bandwidthPriority", 0),
    (["-d", "40"], "downloadLimit", 40),
    (["-D"], "downloadLimited", False),
    (["-u", "30"], "uploadLimit", 30),
    (["-U"], "uploadLimited", False),
    (["-HL"], "honorsSessionLimits", False),
    (["-hl"], "honorsSessionLimits", True),
    (["-pr", "7"], "maxConnectedPeers", 7),
    (["-sr", "2.5"], "seedRatioLimit", 2.5),
    (["-SR"], "seedRatioMode", 2),
    (["-srd"], "seedRatioMode", 0),
    (["-S"], "status", 0),
    (["-s"], "status", 6),
    (["-v"], "percentDone", 1),
]
OWN_TESTS = (
    "-h -V -a -b -n -ne -N --ssl --exit --blocklist-update -pt -p -l -i -f -if -ip -pi -ic -it -si",
    "-st -t -L -td -tr --reannounce --move --find -r -rad",
)
ELSEWHERE = {option for line in OWN_TESTS for option in line.split()}
"""Options with tests of their own."""


def filled(text: Any, daemon: RemoteDaemon) -> Any:
    return text.replace("{downloads}", str(daemon.downloads)) if isinstance(text, str) else text


@pytest.mark.parametrize(("options", "name", "value"), SESSION)
def test_options_of_the_session_are_set_and_told(
    daemon: RemoteDaemon, options: list[str], name: str, value: Any
) -> None:
    printed = remote(daemon, *(filled(each, daemon) for each in options))
    assert 'responded: "success"' in printed
    daemon.wait_ready()  # some settings open the engine anew
    assert daemon.session(name) == filled(value, daemon)
    if options[0] in SESSION_SWITCHES:
        assert daemon.session(SESSION_SWITCHES[options[0]]) is True


def test_a_port_is_set(daemon: RemoteDaemon) -> None:
    before = daemon.session("peer-port")
    remote(daemon, "-p", str(before))
    daemon.wait_ready()
    assert daemon.session("peer-port") == before
    assert daemon.session("peer-port-random-on-start") is False


@pytest.mark.parametrize(("option", "values"), REFUSED.items())
def test_what_only_the_file_may_set_is_refused(
    daemon: RemoteDaemon, option: str, values: list[str]
) -> None:
    done = run_remote(daemon, option, *values)
    assert "can only be set in the configuration file" in done.stdout + done.stderr


@pytest.mark.parametrize(("options", "name", "value"), TORRENT)
def test_options_of_a_torrent_are_set_and_told(
    daemon: RemoteDaemon, options: list[str], name: str, value: Any
) -> None:
    key = daemon.add().info_hash.hex()
    printed = remote(daemon, "-t", key, *options)
    assert 'responded: "success"' in printed
    daemon.wait_field(name, value)


def test_labels_are_set(daemon: RemoteDaemon) -> None:
    daemon.add()
    remote(daemon, "-t", "all", "-L", "one,two")
    assert sorted(daemon.field("labels")) == ["one", "two"]


def test_trackers_are_added_and_removed(daemon: RemoteDaemon) -> None:
    daemon.add()
    url = "http://127.0.0.1:9/second/announce"
    remote(daemon, "-t", "all", "-td", url)
    trackers = daemon.field("trackers")
    assert [each["announce"] for each in trackers][-1] == url
    remote(daemon, "-t", "all", "-tr", str(trackers[0]["id"]))
    assert [each["announce"] for each in daemon.field("trackers")] == [url]


def test_torrents_are_announced(daemon: RemoteDaemon) -> None:
    daemon.add()
    assert 'responded: "success"' in remote(daemon, "-t", "all", "--reannounce")


def test_torrents_are_found_by_number_hash_and_range(daemon: RemoteDaemon) -> None:
    for name in ("one", "two", "three"):
        daemon.add(name, paused=True)
    numbers = sorted(each["id"] for each in daemon.ask("torrent-get", fields=["id"])["torrents"])
    listed = remote(daemon, "-t", f"{numbers[0]}-{numbers[1]}", "-l")
    assert ("one" in listed, "two" in listed, "three" in listed) == (True, True, False)
    assert "three" in remote(daemon, "-t", daemon.field("hashString", numbers[2]), "-l")


def test_files_are_moved(daemon: RemoteDaemon, other_folder: Path) -> None:
    daemon.add("moved")
    remote(daemon, "-t", "all", "--move", str(other_folder))
    daemon.wait_field("downloadDir", str(other_folder))
    assert (other_folder / "moved" / "one.txt").stat().st_size == 40_000
    wait_until(
        lambda: not (daemon.downloads / "moved" / "one.txt").exists(),
        timeout_s=30,
        what="nothing is left where the files were",
    )


def test_files_are_found_elsewhere(daemon: RemoteDaemon, other_folder: Path) -> None:
    daemon.add("found", paused=True)
    (daemon.downloads / "found").rename(other_folder / "found")
    remote(daemon, "-t", "all", "--find", str(other_folder))
    daemon.wait_field("percentDone", 1)
    assert daemon.field("downloadDir") == str(other_folder)


@pytest.mark.parametrize(("option", "is_kept"), [("-r", True), ("-rad", False)])
def test_torrents_are_removed_with_or_without_files(
    daemon: RemoteDaemon, option: str, *, is_kept: bool
) -> None:
    daemon.add("gone")
    remote(daemon, "-t", "all", option)
    assert daemon.ask("torrent-get", fields=["id"])["torrents"] == []
    wait_until(
        lambda: (daemon.downloads / "gone" / "one.txt").exists() is is_kept,
        timeout_s=60,
        what="the files are as asked",
    )


# -- what is printed ------------------------------------------------------------------------------


def test_a_list_has_a_row_for_each_torrent(daemon: RemoteDaemon) -> None:
    daemon.add("seeded")
    daemon.ask("torrent-add", filename=HASH, paused=True)
    lines = remote(daemon, "-l").splitlines()
    assert re.match(r"\s*ID +Done +Have +ETA +Up +Down +Ratio +Status +Name", lines[0])
    assert any(re.search(r"100%  +90\.01 kB .* Idle +seeded$", line) for line in lines), lines
    assert any(re.search(r"n/a +None .* Stopped +" + HASH, line) for line in lines), lines
    assert lines[-1].startswith("Sum:")


INFO = {
    "-i": [
        "Name: shown",
        "Hash: ",
        "State: Idle",
        "Location: ",
        "Percent Done: 100%",
        "ETA: ",
        "Magnet: magnet:?xt=urn:btih:",
        "Ratio: ",
        "Corrupt DL: None",
        "Peers: connected to 0, uploading to 0, downloading from 0",
        "Piece Count: ",
        "Date added: ",
        "Date finished: ",
        "Download Limit: Unlimited",
        "Honors Session Limits: Yes",
        "Bandwidth Priority: Normal",
        "Public torrent: Yes",
    ],
    "-f": ["shown (3 files):", "0: 100% Normal   Yes  40.00 kB  shown/one.txt"],
    "-if": ["shown (3 files):", "2: 100% Normal   Yes   0.01 kB  shown/sub/three.txt"],
    "-ip": ["Address", "Flags", "Done", "Down", "Up", "Client"],
    "-pi": ["Address", "Flags", "Done", "Down", "Up", "Client"],
    "-ic": ["1111"],
    "-it": ["Tracker 0: 127.0.0.1:9", "Active in tier 0"],
}


@pytest.mark.parametrize(("option", "texts"), INFO.items())
def test_details_of_a_torrent_are_printed(
    daemon: RemoteDaemon, option: str, texts: list[str]
) -> None:
    daemon.add("shown")
    printed = remote(daemon, "-t", "all", option)
    assert [text for text in texts if text not in printed] == [], printed


def test_the_session_is_printed(daemon: RemoteDaemon) -> None:
    printed = remote(daemon, "-si")
    for text in (
        "Daemon version: 4.1.3 (torrent_engine",
        "RPC version: 19",
        "RPC minimum version: 14",
        f"Configuration directory: {daemon.state}",
        f"Download directory: {daemon.downloads}",
        "Listenport: ",
        "Peer limit: ",
        "Default seed ratio limit: ",
    ):
        assert text in printed


def test_statistics_are_printed(daemon: RemoteDaemon) -> None:
    printed = remote(daemon, "-st")
    assert "CURRENT SESSION" in printed
    assert re.search(r"TOTAL\n  Started 1 times", printed)


# -- the rest -------------------------------------------------------------------------------------


def test_a_torrent_is_added_by_file_and_link(daemon: RemoteDaemon, tmp_path: Path) -> None:
    metainfo, _ = make_torrent({"a": b"x" * 10}, name="added")
    path = torrent_file(tmp_path, metainfo)
    printed = remote(daemon, "-a", str(path), "-w", str(daemon.downloads / "there"))
    assert 'responded: "success"' in printed
    assert daemon.field("downloadDir") == str(daemon.downloads / "there")
    remote(daemon, "-a", f"magnet:?xt=urn:btih:{HASH}")
    assert daemon.field("name", HASH) == HASH


def test_credentials_come_from_options_environment_or_file(
    daemon: RemoteDaemon, tmp_path: Path
) -> None:
    secret = f"torrent:{daemon.token}"
    assert run_remote(daemon, "-n", secret, "-l", auth=False).returncode == 0
    assert run_remote(daemon, "-ne", "-l", auth=False, TR_AUTH=secret).returncode == 0
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login torrent password {daemon.token}\n")
    assert run_remote(daemon, "-N", str(netrc), "-l", auth=False).returncode == 0


def test_debugging_shows_the_handshake(daemon: RemoteDaemon) -> None:
    done = run_remote(daemon, "-b", "-l")
    assert "X-Transmission-Session-Id" in done.stderr + done.stdout
    assert done.returncode == 0


def test_a_port_test_without_a_service_says_so(daemon: RemoteDaemon) -> None:
    done = run_remote(daemon, "-pt")
    assert "Couldn't test port: no test service is configured" in done.stdout + done.stderr


def test_an_update_of_no_block_list_says_so(daemon: RemoteDaemon) -> None:
    done = run_remote(daemon, "--blocklist-update")
    assert "none is configured" in done.stdout + done.stderr


def test_the_daemon_is_not_stopped_unless_that_is_allowed(daemon: RemoteDaemon) -> None:
    done = run_remote(daemon, "--exit")
    assert "can_close" in done.stdout + done.stderr
    assert daemon.get("/healthz")[0] == 200


def test_the_daemon_is_stopped_if_that_is_allowed(tmp_path: Path) -> None:
    with RemoteDaemon(tmp_path, config="[transmission]\ncan_close = true\n") as daemon:
        daemon.wait_ready()
        assert 'responded: "success"' in remote(daemon, "--exit")
        assert daemon.wait(60) == 0


def test_tls_is_spoken(tmp_path: Path) -> None:
    with RemoteDaemon(tmp_path, config="[tls]\nself_signed = true\n") as daemon:
        wait_until(lambda: "listening on" in daemon.output(), timeout_s=60, what="it listens")
        wait_until(
            lambda: run_remote(daemon, "--ssl", "-si").returncode == 0,
            timeout_s=60,
            what="transmission-remote is answered over TLS",
        )
        assert "Daemon version: 4.1.3" in remote(daemon, "--ssl", "-si")


def test_every_option_is_tested() -> None:
    import subprocess

    program = require_program("transmission-remote", "transmission-cli")
    help_text = subprocess.run([program, "-h"], capture_output=True, text=True, check=False).stdout
    short = re.findall(r"^ (-\w+) ", help_text, re.MULTILINE)
    long_only = re.findall(r"^      (--[\w-]+)", help_text, re.MULTILINE)
    tested = {options[0] for options, _, _ in (*SESSION, *TORRENT)} | ELSEWHERE | REFUSED.keys()
    assert len(short) > 60
    assert {*short, *long_only} - tested == set()
    version = subprocess.run([program, "-V"], capture_output=True, text=True, check=False)
    assert "transmission-remote 3.00" in version.stderr + version.stdout
