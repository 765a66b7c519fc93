"""The web page in Chromium: windows of several sizes, logins, and what the page complains about."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Locator,
    Page,
    expect,
)

from tests.support import slow_http as http
from tests.support.own_daemon import OwnDaemon

SHOWN_MS = 60_000
SIZES = {"desktop": (1280, 800), "phone": (360, 740)}
LOOKS = [(size, theme) for size in SIZES for theme in ("light", "dark")]
"""Every size in every theme."""
POLICY_WATCH = """addEventListener('securitypolicyviolation', (event) =>
    console.error(`policy: ${event.violatedDirective} of ${event.blockedURI}`), true)"""
"""Reports whatever the policy of the page (CSP) has kept it from; it must be nothing."""
NETWORK = "Failed to load resource"
"""Chromium's word for an answer such as 401, which is how the page learns that nobody is in."""
TOKEN_OF_TESTS = "token-of-the-tests"
expect.set_options(timeout=SHOWN_MS)


class Served(Protocol):
    """What serves the page."""

    @property
    def token(self) -> str: ...

    def url(self, path: str) -> str: ...


@dataclass
class Window:
    """A profile of the browser with its tabs; everything they complain about is noted."""

    context: BrowserContext
    complaints: list[str] = field(default_factory=list)

    def tab(self, address: str) -> Page:
        """Open an address in a new tab."""
        page = self.context.new_page()
        page.on("console", self._note_message)
        page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        page.on("dialog", self._note_dialog)
        page.goto(address, timeout=SHOWN_MS)
        return page

    def log_in(self, daemon: Served, place: str = "") -> Page:
        """Open the list of a daemon, logged in by a ticket."""
        page = self.tab(ticket_url(daemon))
        expect_live(page)
        if place:
            page.goto(daemon.url(f"/{place}"))
        return page

    def _note_message(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and NETWORK not in message.text:
            self.complaints.append(f"{message.type}: {message.text}")

    def _note_dialog(self, dialog: Dialog) -> None:
        self.complaints.append(f"{dialog.type}: {dialog.message}")
        dialog.dismiss()


@contextmanager
def open_window(
    browser: Browser,
    size: str = "desktop",
    *,
    theme: str = "light",
    locale: str = "en-US",
    height: int | None = None,
    fingers: bool = False,
) -> Iterator[Window]:
    """Open a profile; when the block ends without an error, the page must have had no complaint."""
    width, usual = SIZES[size]
    options: dict[str, Any] = {
        "color_scheme": theme,
        "locale": locale,
        "has_touch": fingers or size == "phone",
    }
    context = browser.new_context(
        viewport={"width": width, "height": height or usual}, reduced_motion="reduce", **options
    )
    context.set_default_timeout(SHOWN_MS)
    context.add_init_script(POLICY_WATCH)
    try:
        window = Window(context)
        yield window
        assert window.complaints == []
    finally:
        context.close()


def ticket_url(daemon: Served) -> str:
    """Return an address that logs in once."""
    headers = {"Authorization": f"Bearer {daemon.token}"}
    answer = http.post(daemon.url("/api/v1/session/ticket"), headers=headers)
    return daemon.url(f"/#ticket={answer.json()['ticket']}")


def expect_live(page: Page) -> None:
    """Wait until the page follows the changes."""
    expect(page.locator(".statusbar .link.live")).to_be_attached()


def row(page: Page, name: str) -> Locator:
    """Return the row or card of a torrent."""
    return page.locator("#list .row[data-hash]").filter(has=page.locator(".name", has_text=name))


def selected(page: Page) -> Locator:
    return page.locator("#list .row.selected")


def button(page: Page | Locator, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def menu_item(page: Page, name: str) -> Locator:
    return page.get_by_role("menuitem", name=name)


@dataclass
class RowsDaemon:
    """A daemon over an engine of facts with very many torrents."""

    port: int
    token: str = TOKEN_OF_TESTS

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


@contextmanager
def rows_daemon(torrents: int, changing: int) -> Iterator[RowsDaemon]:
    """Run one as a process."""
    argv = [sys.executable, "-m", "tests.support.rows_daemon", str(torrents), str(changing)]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        try:
            yield RowsDaemon(int(process.stdout.readline()))
        finally:
            process.terminate()


def listed(daemon: OwnDaemon) -> dict[str, dict[str, Any]]:
    """Return all torrents by their hashes."""
    return dict(daemon.ask("GET", "/api/v1/sync?limit=2000")["torrents"])


def remove_all(daemon: OwnDaemon) -> None:
    """Remove all torrents, with their files."""
    found = list(listed(daemon))
    if found:
        body = {"action": "remove", "ids": found, "args": {"delete_files": True}}
        daemon.ask("POST", "/api/v1/torrents/actions", body)
