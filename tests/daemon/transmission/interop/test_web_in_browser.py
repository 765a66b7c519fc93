"""Debian's web interface of Transmission in Debian's Chromium: what it shows and what it does."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("playwright")
from playwright.sync_api import Browser, Dialog, Page, expect

from tests.daemon.transmission.interop.remote import RemoteDaemon, torrent_file
from tests.support.browser import SHOWN_MS, Complaints, open_browser, open_page
from tests.support.processes import missing, wait_until
from tests.support.torrents import make_torrent

pytestmark = pytest.mark.interop
FOLDER = Path("/usr/share/transmission/web")
HASH = "0123456789abcdef0123456789abcdef01234567"
ATTEMPTS = 5
FIRST_ANSWER = "409 (Conflict)"
"""The protocol gives the session id with this answer, which Chromium calls an error."""
expect.set_options(timeout=SHOWN_MS)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemoteDaemon]:
    if not (FOLDER / "index.html").is_file():
        missing("Debian package transmission-common is not installed")
    folder = tmp_path_factory.mktemp("web")
    with RemoteDaemon(folder, env={"TRANSMISSION_WEB_HOME": str(FOLDER)}) as daemon:
        daemon.wait_ready()
        yield daemon


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def complaints() -> list[str]:
    """What the page of a test complained about so far."""
    return []


@pytest.fixture
def page(browser: Browser, daemon: RemoteDaemon, complaints: list[str]) -> Iterator[Page]:
    """The interface, with two torrents; a test fails if it complains about anything."""
    daemon.add("first")
    daemon.add("second", paused=True)
    with open_page(browser, "torrent", daemon.token) as opened:
        watched = Complaints(opened, expected=FIRST_ANSWER)
        watched.found = complaints
        opened.on("dialog", lambda dialog: note_dialog(dialog, complaints))
        opened.goto(f"http://127.0.0.1:{daemon.port}/transmission/web/", timeout=SHOWN_MS)
        expect(opened.locator("li.torrent")).to_have_count(2)
        yield opened
    assert complaints == []


def note_dialog(dialog: Dialog, complaints: list[str]) -> None:
    complaints.append(f"{dialog.type}: {dialog.message}")
    dialog.dismiss()


def select(page: Page, name: str) -> None:
    page.locator("li.torrent", has_text=name).click()
    expect(page.locator("li.torrent.selected")).to_have_count(1)


def expect_row(page: Page, name: str, *texts: str) -> None:
    """Wait until the row of a torrent has some texts."""
    for text in texts:
        expect(page.locator("li.torrent", has_text=name)).to_contain_text(text)


def test_the_list_shows_torrents_with_their_states(page: Page, complaints: list[str]) -> None:
    expect_row(page, "first", "Seeding to 0 of 0 peers", "90.0 kB, uploaded 0 B (Ratio 0.00)")
    expect_row(page, "second", "Paused", "90.0 kB")
    expect(page.locator("#filter-count")).to_contain_text("2 Transfers")
    page.locator("#torrent_search").press_sequentially("sec")
    expect(page.locator("li.torrent")).to_have_count(1)
    assert complaints == []


def test_torrents_are_paused_and_resumed(
    page: Page, daemon: RemoteDaemon, complaints: list[str]
) -> None:
    select(page, "first")
    page.click("#toolbar-pause")
    expect_row(page, "first", "Paused")
    page.click("#toolbar-start-all")
    expect_row(page, "first", "Seeding")
    expect_row(page, "second", "Seeding")
    told = daemon.ask("torrent-get", fields=["status"])["torrents"]
    assert [each["status"] for each in told] == [6, 6]
    page.click("#toolbar-pause-all")
    expect_row(page, "first", "Paused")
    expect_row(page, "second", "Paused")
    assert complaints == []


def test_details_are_shown(page: Page, daemon: RemoteDaemon, complaints: list[str]) -> None:
    select(page, "first")
    page.click("#toolbar-inspector")
    for field, text in {
        "have": "90.0 kB (100%)",
        "availability": "100%",
        "uploaded": "0 B (Ratio: 0.00)",
        "state": "Seeding",
        "size": "90.0 kB (6 pieces @ 16.0 KiB)",
        "location": str(daemon.downloads),
        "privacy": "Public torrent",
        "comment": "None",
    }.items():
        expect(page.locator(f"#inspector-info-{field}")).to_contain_text(text)
    page.click("#inspector-tab-trackers")
    expect(page.locator("#inspector_trackers_list")).to_contain_text("127.0.0.1:9")
    page.click("#inspector-tab-files")
    files = page.locator("#inspector_file_list")
    for name in ("one.txt", "two.mkv", "three.txt"):
        expect(files).to_contain_text(name)
    page.click("#inspector-tab-peers")
    expect(page.locator("#inspector_peers_list")).to_be_visible()
    assert complaints == []


def test_torrents_are_added_by_link_and_file(
    page: Page, daemon: RemoteDaemon, tmp_path: Path, complaints: list[str]
) -> None:
    page.click("#toolbar-open")
    expect(page.locator("#add-dialog-folder-input")).to_have_value(str(daemon.downloads))
    page.fill("#torrent_upload_url", HASH)
    page.click("#upload_confirm_button")
    expect_row(page, HASH, "Magnetized transfer")
    metainfo, _ = make_torrent({"a": b"x" * 5_000}, name="third")
    page.click("#toolbar-open")
    page.set_input_files("#torrent_upload_file", torrent_file(tmp_path, metainfo))
    page.fill("#torrent_upload_url", "")
    page.uncheck("#torrent_auto_start")
    page.click("#upload_confirm_button")
    expect_row(page, "third", "Paused", "0 B of 5.00 kB")
    assert daemon.field("status", metainfo.info_hash.hex()) == 0
    assert complaints == []


def test_a_torrent_is_removed_and_its_files_are_kept(
    page: Page, daemon: RemoteDaemon, complaints: list[str]
) -> None:
    select(page, "first")
    page.click("#toolbar-remove")
    expect(page.locator("#dialog_heading")).to_contain_text("Remove first?")
    page.click("#dialog_confirm_button")
    expect(page.locator("li.torrent")).to_have_count(1)
    assert daemon.field("name") == "second"
    assert (daemon.downloads / "first" / "one.txt").exists()
    assert complaints == []


def has(daemon: RemoteDaemon, **settings: object) -> bool:
    """Return whether settings of the session have these values."""
    return all(daemon.session(name.replace("_", "-")) == each for name, each in settings.items())


def do_until(act: Callable[[], None], condition: Callable[[], bool]) -> None:
    """Act, and again after a while: an answer to an older question may undo what was typed."""
    for _ in range(ATTEMPTS):
        act()
        with suppress(AssertionError):
            wait_until(condition, timeout_s=60, what="the setting is taken")
            return
    raise AssertionError("the setting is not taken")


def test_preferences_are_shown_and_changed(
    page: Page, daemon: RemoteDaemon, complaints: list[str]
) -> None:
    page.click("#prefs-button")
    expect(page.locator("#download-dir")).to_have_value(str(daemon.downloads))
    page.click("#prefs-tab-speed a")
    limit, switch = page.locator("#speed-limit-down"), page.locator("#speed-limit-down-enabled")

    def enter() -> None:
        switch.check()
        limit.fill("123")
        limit.press("Tab")

    do_until(enter, lambda: has(daemon, speed_limit_down=123, speed_limit_down_enabled=True))
    do_until(switch.uncheck, lambda: has(daemon, speed_limit_down_enabled=False))
    turtle = page.locator("#turtle-button")
    do_until(lambda: turtle.click(force=True), lambda: has(daemon, alt_speed_enabled=True))
    daemon.ask("session-set", alt_speed_enabled=False)
    assert complaints == []
