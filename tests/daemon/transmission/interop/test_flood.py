"""Flood, a web interface with a server of its own, over the RPC and in Debian's Chromium."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright")
from playwright.sync_api import Browser, Locator, Page, expect

from tests.daemon.transmission.interop.remote import TRACKER, RemoteDaemon, torrent_file
from tests.support.browser import SHOWN_MS, Complaints, open_browser, open_page
from tests.support.netns import LOOPBACK
from tests.support.processes import (
    Program,
    accepts_at,
    free_port,
    missing,
    require_program,
    wait_until,
)
from tests.support.torrents import make_torrent

pytestmark = pytest.mark.interop
PACKAGE = "flood@4.11.0"
INSTALL_S = 300.0
START_S = 90.0
OF_ITS_ROUTER = "React Router Future Flag Warning"
expect.set_options(timeout=SHOWN_MS)


@pytest.fixture(scope="module")
def flood(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the program, which npm installs in a temporary folder; it has no dependencies."""
    npm = require_program("npm", "npm")
    require_program("node", "nodejs")
    folder = tmp_path_factory.mktemp("npm")
    quiet = ("--no-audit", "--no-fund", "--no-update-notifier", "--ignore-scripts")
    done = subprocess.run(
        [npm, "install", *quiet, "--prefer-offline", "--prefix", str(folder), PACKAGE],
        capture_output=True,
        text=True,
        timeout=INSTALL_S,
        cwd=folder,
        check=False,
    )
    program = folder / "node_modules" / ".bin" / "flood"
    if done.returncode or not program.exists():
        missing(f"npm cannot install {PACKAGE}: {done.stderr[-500:]}")
    return program


@pytest.fixture
def address(flood: Path, daemon: RemoteDaemon, tmp_path: Path) -> Iterator[str]:
    """Run its server for the daemon; gives the address of its page."""
    port = free_port()
    argv = [
        *(str(flood), "--auth", "none", "--host", "127.0.0.1", "--port", str(port)),
        *("--rundir", str(tmp_path / "flood")),
        *("--trurl", f"http://127.0.0.1:{daemon.port}/transmission/rpc"),
        *("--truser", "torrent", f"--trpass={daemon.token}"),  # it may begin with a dash
    ]
    with Program(argv, host=LOOPBACK, log=tmp_path / "flood.log") as server:
        wait_until(
            lambda: not server.alive or accepts_at(("127.0.0.1", port)),
            timeout_s=START_S,
            what="Flood listens",
        )
        assert server.alive, server.output()
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


def row(page: Page, name: str) -> Locator:
    return page.locator("div.torrent[role=row]", has_text=name)


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def test_torrents_are_listed_stopped_started_and_added(
    browser: Browser, address: str, daemon: RemoteDaemon, tmp_path: Path
) -> None:
    first = daemon.add("first").info_hash.hex()
    added, _ = make_torrent(b"5" * 90_000, name="second", tiers=[[TRACKER]])
    with open_page(browser, "nobody", "") as page:
        complaints = Complaints(page, expected=OF_ITS_ROUTER)
        page.goto(address, timeout=SHOWN_MS)
        expect(row(page, "first")).to_contain_text("87.9kB")
        expect(row(page, "first")).to_contain_class("torrent--is-seeding")
        row(page, "first").click()
        press(page, "Stop Torrent")
        expect(row(page, "first")).to_contain_class("torrent--is-stopped")
        daemon.wait_field("status", 0, first)
        press(page, "Start Torrent")
        expect(row(page, "first")).to_contain_class("torrent--is-seeding")
        daemon.wait_field("status", 6, first)
        press(page, "Add Torrent")
        dialog = page.locator(".modal__content__wrapper")
        dialog.get_by_text("By File").click()
        dialog.locator("input[type=file]").set_input_files(torrent_file(tmp_path, added))
        dialog.locator("button.button--primary", has_text="Add Torrent").click()
        expect(row(page, "second")).to_be_visible()
        assert daemon.field("name", added.info_hash.hex()) == "second"
        assert complaints.found == []
