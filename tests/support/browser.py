"""Debian's Chromium without a window, driven by playwright, and what its pages complain about."""

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from tests.support.processes import require_program

SHOWN_MS = 60_000


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Run a browser; no test of the same process may have an event loop meanwhile."""
    program = require_program("chromium", "chromium")
    with sync_playwright() as driver:
        # Inside containers and as root Chromium has no sandbox; it sees this machine's pages only.
        browser = driver.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu"], timeout=SHOWN_MS
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_page(browser: Browser, user: str, password: str) -> Iterator[Page]:
    """Open a page of its own profile, which knows a password."""
    context = browser.new_context(
        http_credentials={"username": user, "password": password}, locale="en-US"
    )
    context.set_default_timeout(SHOWN_MS)
    try:
        yield context.new_page()
    finally:
        context.close()


class Complaints:
    """What a page had to complain about: errors in its console or scripts, and alerts."""

    def __init__(self, page: Page, *, expected: str = "") -> None:
        """A message of the console with the text ``expected`` is none."""
        self.found: list[str] = []
        self._expected = expected
        page.on("console", self._note_message)
        page.on("pageerror", lambda error: self.found.append(f"script: {error}"))

    def _note_message(self, message: ConsoleMessage) -> None:
        is_expected = self._expected and self._expected in message.text
        if message.type in {"error", "warning"} and not is_expected:
            self.found.append(f"{message.type}: {message.text}")
