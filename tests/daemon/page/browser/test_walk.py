"""The cases of every day, at both sizes and in both themes, each in one window beside a seed."""

import base64
import json
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.daemon.page.browser.scene import (
    LOOKS,
    Window,
    button,
    expect_live,
    listed,
    menu_item,
    open_window,
    remove_all,
    row,
    selected,
    ticket_url,
)
from tests.daemon.stories import scene
from tests.support.libtorrent_client import LibtorrentClient
from tests.support.own_daemon import OwnDaemon
from tests.support.payload import Payload, make_payload
from tests.support.processes import wait_until

MOVED: Final = """([kind, name, data]) => {
    const moved = new DataTransfer();
    const bytes = () => Uint8Array.from(atob(data), (each) => each.charCodeAt(0));
    if (kind === 'file') moved.items.add(new File([bytes()], name));
    else moved.setData('text', data);
    return moved;
}"""
DIALOGS: Final = {"l": "Labels of", "m": "Move", "r": "Check files", "Delete": "Remove"}
NAMES: Final = ("alpha", "beta", "gamma")


class QuietFiles(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Write nothing."""


class Scene:
    """A daemon, a seed, and a web server with the same torrents."""

    def __init__(self, daemon: OwnDaemon, seed: LibtorrentClient, folder: Path, web: int) -> None:
        self.daemon = daemon
        self.seed = seed
        self.web = f"http://127.0.0.1:{web}"
        self.alpha, self.beta, self.gamma = (payload_of(folder, name) for name in NAMES)

    def link(self, payload: Payload) -> str:
        """Return a magnet link that names the seed."""
        host, port = self.seed.address
        link = f"magnet:?xt=urn:btih:{payload.info_hash.hex()}&dn={payload.name}"
        return f"{link}&x.pe={host}:{port}"

    def label(self, payload: Payload, label: str) -> None:
        """Give a torrent one label, as another client does."""
        path = f"/api/v1/torrents/{payload.info_hash.hex()}"
        self.daemon.ask("PATCH", path, {"labels": [label]})

    def previews(self) -> list[Any]:
        """Return the previews that run."""
        return list(self.daemon.ask("GET", "/api/v1/previews")["items"])

    def wait_for_no_preview(self) -> None:
        """Wait until all previews have ended."""
        wait_until(lambda: not self.previews(), timeout_s=60, what="the preview has ended")


def payload_of(folder: Path, name: str) -> Payload:
    sizes = {f"{name}.bin": 60_000, "notes.txt": 9_000}
    return make_payload(folder / name, name, sizes, piece_bytes=16 * 1024)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("walk")


@pytest.fixture(scope="module")
def shared(folder: Path) -> Iterator[Scene]:
    payloads = [payload_of(folder, name) for name in NAMES]
    files = folder / "web"
    files.mkdir()
    for each in payloads:
        shutil.copy(each.torrent, files)
    handler = partial(QuietFiles, directory=str(files))
    with (
        scene.seeded(folder, *payloads) as seed,
        OwnDaemon(folder) as daemon,
        ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
    ):
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Scene(daemon, seed, folder, server.server_port)
        server.shutdown()
        thread.join()


@pytest.fixture
def place(shared: Scene) -> Iterator[Scene]:
    """The scene, whose daemon has no torrents."""
    yield shared
    remove_all(shared.daemon)
    wait_until(lambda: not listed(shared.daemon), timeout_s=60, what="all torrents are removed")


def moved(page: Page, *what: str) -> Any:
    """Return something that a person drags or pastes."""
    return page.evaluate_handle(MOVED, list(what))


def log_in(window: Window, daemon: OwnDaemon) -> Page:
    """A wrong password and a lock-out are told; the token lets in."""
    page = window.tab(daemon.url("/"))
    field = page.get_by_label("Password or token")
    field.fill("wrong")
    button(page, "Log in").click()
    expect(page.get_by_role("alert")).to_have_text("The password or token is wrong.")
    problem = {"code": "locked_out", "status": 429, "title": "x"}
    page.route(
        "**/api/v1/session",
        lambda route: route.fulfill(
            status=429, content_type="application/problem+json", body=json.dumps(problem)
        ),
    )
    button(page, "Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("Too many failed logins")
    page.unroute("**/api/v1/session")
    field.fill(daemon.token)
    page.keyboard.press("Enter")
    expect_live(page)
    return page


def add_all(page: Page, place: Scene) -> None:
    """Add by a file, by dropping it again, by a pasted link, and by an address."""
    page.keyboard.press("a")
    page.locator("dialog input[type=file]").set_input_files(place.alpha.torrent)
    expect(page.locator("dialog .tree-line")).to_have_count(3)
    page.get_by_label("Add paused").check()
    confirm(page)
    expect(row(page, "alpha")).to_contain_text("Paused")
    data = base64.b64encode(place.alpha.torrent.read_bytes()).decode()
    dropped = moved(page, "file", "alpha.torrent", data)
    page.dispatch_event("#app", "drop", {"dataTransfer": dropped})
    expect(page.locator("dialog .entries li")).to_contain_text("is here already")
    page.keyboard.press("Escape")
    pasted = moved(page, "text", "", f"look: {place.link(place.beta)} ok")
    page.evaluate(
        "(data) => document.body.dispatchEvent("
        "new ClipboardEvent('paste', { clipboardData: data, bubbles: true }))",
        pasted,
    )
    expect(page.locator("dialog .entries li")).to_contain_text("beta")
    confirm(page)
    page.keyboard.press("a")
    page.locator("#add-text").fill(f"{place.web}/gamma.torrent")
    page.get_by_label("Add paused").check()
    expect(page.locator("dialog .entries")).to_contain_text("69.0 kB")
    confirm(page)
    expect(row(page, "gamma")).to_be_visible()
    expect(row(page, "beta")).to_contain_text("Seeding")


def confirm(page: Page) -> None:
    page.locator("dialog footer .primary").click()
    expect(page.locator("dialog")).to_have_count(0)


def select_and_sort(page: Page, size: str) -> None:
    """Ranges are selected by keys and fingers; the text filters, and names sort."""
    rows = page.locator("#list .row[data-hash]")
    page.locator("#list").focus()
    page.keyboard.press("Home")
    page.keyboard.press("Shift+ArrowDown")
    expect(selected(page)).to_have_count(2)
    page.keyboard.press("Escape")
    expect(selected(page)).to_have_count(0)
    if size == "phone":
        rows.nth(0).dispatch_event("pointerdown", {"pointerType": "touch"})
        expect(page.locator(".card .box").first).to_be_visible()
        rows.nth(0).dispatch_event("click")  # the finger is lifted
        rows.nth(2).tap()
    else:
        rows.nth(0).click()
        rows.nth(2).click(modifiers=["Control"])
    expect(page.locator(".chosen")).to_contain_text("2 selected")
    page.locator(".chosen").click()
    if size == "phone":
        button(page, "Sort").tap()
        page.get_by_role("menuitemcheckbox", name="Name").tap()
    else:
        page.get_by_role("columnheader", name="Name").get_by_role("button").click()
    expect(rows.locator(".name")).to_have_text(list(NAMES))
    page.locator("#search").fill("gam")
    expect(rows.locator(".name")).to_have_text(["gamma"])
    page.locator("#search").fill("")


def follow(window: Window, page: Page, place: Scene, size: str) -> None:
    """Two tabs share a stream; one that was cut off comes back with what was missed."""
    second = window.tab(place.daemon.url("/"))
    expect(row(second, "alpha")).to_be_visible()
    if size == "phone":
        for tab in (page, second):
            button(tab, "Filters").click()
    second.route("**/api/v1/events?**", lambda route: route.abort())
    place.label(place.alpha, "both")
    for tab in (page, second):  # the second has no stream of its own
        expect(tab.locator(".filter", has_text="both")).to_be_attached()
    page.close()
    expect(second.locator(".statusbar .link.waiting")).to_be_attached()
    place.label(place.alpha, "missed")
    second.unroute("**/api/v1/events?**")
    expect_live(second)
    expect(second.locator(".filter", has_text="missed")).to_be_attached()
    second.close()


def look_and_leave(window: Window, place: Scene) -> None:
    """A preview ends with a page that is loaded again, and with its tab."""
    remove_all(place.daemon)
    page = window.tab(place.daemon.url("/"))
    expect(page.locator(".empty h2")).to_have_text("No torrents yet")
    for leave in (page.reload, partial(page.close, run_before_unload=True)):
        button(page, "Add torrents").click()
        page.locator("#add-text").fill(place.link(place.alpha))
        expect(page.locator("dialog .tree-line")).to_have_count(3)
        assert place.previews()
        leave()
        place.wait_for_no_preview()


def speak_german(window: Window, place: Scene) -> None:
    """The language is changed, and stays; a logout ends all, and a ticket lets in again."""
    page = window.tab(place.daemon.url("/"))
    expect_live(page)
    page.goto(place.daemon.url("/#/settings"))
    page.get_by_label("Language").select_option("Deutsch")
    expect(page.locator(".page h1")).to_have_text("Einstellungen")
    button(page, "Zurück zu den Torrents").click()
    expect(page.locator(".empty h2")).to_have_text("Noch keine Torrents")
    button(page, "Menü").click()
    menu_item(page, "Abmelden").click()
    expect(page.get_by_label("Passwort oder Token")).to_be_visible()
    again = window.tab(ticket_url(place.daemon))
    expect_live(again)
    expect(again.locator(".empty h2")).to_have_text("Noch keine Torrents")


def walk_by_keyboard(page: Page) -> None:
    """Keys alone reach the list, the details, the dialogs, and lead back."""
    press = page.keyboard.press
    page.locator(".skip").focus()
    press("Enter")
    expect(page.locator("#list")).to_be_focused()
    press("Home")
    press("Enter")
    expect(page.locator(".panel")).to_be_visible()
    press("Escape")  # nothing is selected any more
    press("Escape")
    expect(page.locator(".panel")).to_have_count(0)
    expect(page.locator("#list")).to_be_focused()
    press("Home")
    for key, heading in DIALOGS.items():
        press(key)
        expect(page.locator("#dialog-title")).to_contain_text(heading)
        press("Escape")
        expect(page.locator("dialog")).to_have_count(0)
        expect(page.locator("#list")).to_be_focused()
    press("Escape")
    press("/")
    expect(page.locator("#search")).to_be_focused()
    press("Escape")


@pytest.mark.parametrize(("size", "theme"), LOOKS)
def test_the_cases_of_every_day(browser: Browser, place: Scene, size: str, theme: str) -> None:
    with open_window(browser, size, theme=theme) as window:
        page = log_in(window, place.daemon)
        expect(page.locator("html")).to_have_attribute("data-theme", theme)
        add_all(page, place)
        select_and_sort(page, size)
        walk_by_keyboard(page)
        follow(window, page, place, size)
        look_and_leave(window, place)
        speak_german(window, place)
        assert not place.previews()
