"""The page while its daemon is dead, and what is resumed after; at both sizes, in both themes."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest

pytest.importorskip("axe_playwright_python")
from playwright.sync_api import Browser, Page, expect

from tests.daemon.page.browser.looks import problems
from tests.daemon.page.browser.scene import (
    LOOKS,
    button,
    expect_live,
    open_window,
    row,
)
from tests.daemon.stories import scene
from tests.support.own_daemon import OwnDaemon
from tests.support.payload import Payload, make_payload


class GatedServer(ThreadingHTTPServer):
    """Serves a .torrent, but only when its gate is open."""

    daemon_threads = True

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.asked = threading.Event()
        self.gate = threading.Event()
        super().__init__(("127.0.0.1", 0), GatedHandler)

    def handle_error(self, *_: object) -> None:
        """Say nothing of a client that was killed."""


class GatedHandler(BaseHTTPRequestHandler):
    server: GatedServer

    def do_GET(self) -> None:
        """Answer when the gate is open."""
        self.server.asked.set()
        self.server.gate.wait()
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.data)))
        self.end_headers()
        self.wfile.write(self.server.data)

    def log_message(self, *_: object) -> None:
        """Write nothing."""


@pytest.fixture
def other(tmp_path: Path) -> Payload:
    return make_payload(tmp_path, "other", {"other": 90_000})


@pytest.fixture
def server(other: Payload) -> Iterator[GatedServer]:
    with GatedServer(other.torrent.read_bytes()) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.gate.set()
        running.shutdown()
        thread.join()


def expect_offline(page: Page) -> None:
    """The page says that it is cut off, and when it tries again; nothing that needs it works."""
    bar = page.locator(".statusbar")
    expect(bar.locator(".link.waiting")).to_have_text("Not connected")
    expect(bar).to_contain_text("again in")
    expect(button(bar, "Try now")).to_be_enabled()
    expect(page.locator(".toolbar .add")).to_be_disabled()
    expect(button(page, "Alternative speeds")).to_be_disabled()
    page.locator("#list").focus()
    page.keyboard.press("Home")
    for key in ("a", "Delete", "r", "n", "l", "m", " "):
        page.keyboard.press(key)
    expect(page.locator("dialog")).to_have_count(0)
    expect(page.locator(".toast")).to_have_count(0)


def expect_disabled_actions(page: Page) -> None:
    """The menu of a torrent can be read, and only what needs no daemon can be done."""
    row(page, "film").click(button="right")
    menu = page.get_by_role("menu")
    for name in ("Pause", "Move files…", "Remove…"):
        expect(menu.get_by_role("menuitem", name=name)).to_be_disabled()
    expect(menu.get_by_role("menuitem", name="Copy names")).to_be_enabled()
    page.keyboard.press("Escape")


def test_a_dead_daemon_is_told_and_what_it_left_is_resumed(
    browser: Browser, tmp_path: Path, server: GatedServer, other: Payload
) -> None:
    film = make_payload(tmp_path, "film", {"film": 70_000})
    source = f"http://127.0.0.1:{server.server_port}/other.torrent"
    with OwnDaemon(tmp_path) as daemon, ExitStack() as stack:
        scene.add(daemon, film, paused=True)
        windows = {
            look: stack.enter_context(open_window(browser, look[0], theme=look[1]))
            for look in LOOKS
        }
        pages = {look: window.log_in(daemon) for look, window in windows.items()}
        adding = threading.Thread(target=add_quietly, args=(daemon, source))
        adding.start()
        assert server.asked.wait(60)
        adding.join()  # answered with a job, which is kept from then on
        daemon.kill()
        found = {}
        for look, page in pages.items():
            expect_offline(page)
            found["offline", *look] = problems(page, fingers=look[0] == "phone")
        expect_disabled_actions(pages["desktop", "light"])
        daemon.start()
        button(pages["desktop", "light"], "Try now").click()
        for look, page in pages.items():
            expect_live(page)
            expect(page.locator(".toolbar .add")).to_be_enabled()
            expect(page.locator(".banner")).to_contain_text("1 job was interrupted.")
            expect(page.locator(".banner")).to_contain_text("other.torrent")
            found["banner", *look] = problems(page, fingers=look[0] == "phone")
        assert {name: each for name, each in found.items() if each} == {}
        server.gate.set()
        button(pages["phone", "dark"].locator(".banner"), "Resume").click()
        for page in pages.values():
            expect(page.locator(".banner")).to_have_count(0)
            expect(row(page, "other")).to_be_visible()


def add_quietly(daemon: OwnDaemon, source: str) -> None:
    """Add a torrent by its address; the daemon may die meanwhile."""
    with suppress(httpx2.TransportError):
        daemon.ask("POST", "/api/v1/torrents", {"source": source, "paused": True})


def test_a_daemon_that_is_dead_at_first_is_told(browser: Browser, tmp_path: Path) -> None:
    """Loaded from the cache of the browser, the page has no session to begin with."""
    with OwnDaemon(tmp_path) as daemon, open_window(browser) as window:
        page = window.tab(daemon.url("/"))
        expect(page.get_by_label("Password or token")).to_be_visible()
        page.route("**/api/v1/**", lambda route: route.abort())
        page.reload()
        expect(page.locator("h1")).to_have_text("Not connected, trying again")
        page.unroute("**/api/v1/**")
        button(page, "Try now").click()
        expect(page.get_by_label("Password or token")).to_be_visible()
        assert page.locator("h1", has_text="Not connected").count() == 0
