"""Everything the page shows, at both sizes and in both themes: axe, and targets for fingers."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

pytest.importorskip("axe_playwright_python")
from playwright.sync_api import Browser, Page, expect

from tests.daemon.page.browser.looks import problems
from tests.daemon.page.browser.scene import (
    LOOKS,
    SIZES,
    Window,
    button,
    expect_live,
    menu_item,
    open_window,
    row,
)
from tests.daemon.stories import scene
from tests.support.own_daemon import OwnDaemon
from tests.support.payload import Payload, make_payload

PEER: Final = {
    "host": "192.0.2.1", "port": 6881, "client": "A client 1.0", "progress": 0.4,
    "download_bytes_per_s": 1000, "upload_bytes_per_s": 20, "downloaded_bytes": 5000,
    "uploaded_bytes": 70, "source": "tracker", "is_incoming": True, "transport": "utp",
    "encryption": "rc4", "is_snubbed": True, "is_optimistic": True,
}  # fmt: skip
PLACES: Final = {
    "t/{}/overview": ".facts", "t/{}/files": ".panel .tree-line", "t/{}/peers": ".panel tbody tr",
    "t/{}/trackers": ".panel tbody tr", "t/{}/speed": ".panel .graph", "settings": ".setting",
    "jobs": ".page td", "health": ".parts li", "log": ".log li",
}  # fmt: skip
ITEMS: Final = ["Labels and category…", "Limits…", "Move files…", "Check files…", "Remove…"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("looks")


@pytest.fixture(scope="module")
def film(folder: Path) -> Payload:
    return make_payload(folder, "film", {"a.mp4": 400_000, "sub/b.srt": 200_000})


@pytest.fixture(scope="module")
def daemon(folder: Path, film: Payload) -> Iterator[OwnDaemon]:
    with OwnDaemon(folder) as running:
        key = scene.add(running, film, labels=["one"])
        tracker = {"url": "http://127.0.0.1:9/announce"}
        running.ask("POST", f"/api/v1/torrents/{key}/trackers", tracker)
        running.ask("POST", "/api/v1/torrents", {"source": f"magnet:?xt=urn:btih:{5:040x}"})
        yield running


def with_peers(page: Page) -> None:
    """Have the page see a peer that no test has."""
    told = json.dumps({"items": [PEER]})
    page.route(
        "**/api/v1/torrents/*/peers",
        lambda route: route.fulfill(content_type="application/json", body=told),
    )


def show_menu(page: Page, size: str) -> None:
    """Show what can be done with the torrent, as a mouse or a finger does."""
    film = row(page, "film")
    if size == "desktop":
        film.click(button="right")
    elif not page.locator(".card .box").count():
        film.dispatch_event("pointerdown", {"pointerType": "touch", "clientX": 9, "clientY": 99})
        expect(page.locator(".card .box").first).to_be_visible()
        film.dispatch_event("click")  # the finger is lifted
    if size == "phone":
        button(page, "More actions").tap()
    expect(page.get_by_role("menu")).to_be_visible()


def show_dialogs(page: Page, size: str, film: Payload) -> Iterator[str]:
    """Show each dialog and menu; yield what it is."""
    dialog = page.locator("dialog")
    for name in ITEMS:
        show_menu(page, size)
        if name == ITEMS[0]:
            yield "menu of a torrent"
        menu_item(page, name).click()
        expect(dialog).to_be_visible()
        if name == "Remove…":
            page.get_by_label("Delete the files too").check()
        yield name
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
    page.locator("#list").focus()
    page.keyboard.press("Escape")
    page.locator(".speeds").click()
    yield "limits of all"
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(dialog).to_be_visible()
    yield "keys"
    page.keyboard.press("Escape")
    page.keyboard.press("a")
    page.locator("dialog input[type=file]").set_input_files(film.torrent)
    expect(page.locator("dialog .tree-line").first).to_be_visible()
    yield "add"
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    button(page, "Menu").click()
    yield "menu"
    page.keyboard.press("Escape")


def show_message(page: Page, film: Payload) -> None:
    """Have a message shown."""
    page.locator("#list").focus()
    page.keyboard.press("Home")
    page.keyboard.press("n")
    expect(page.locator(".toast").first).to_be_visible()


def walk(window: Window, daemon: OwnDaemon, size: str, film: Payload) -> Iterator[tuple[Page, str]]:
    """Show everything in one life of a page."""
    page = window.tab(daemon.url("/"))
    field = page.get_by_label("Password or token")
    expect(field).to_be_visible()
    yield page, "login"
    with_peers(page)
    field.fill(daemon.token)
    page.keyboard.press("Enter")
    expect_live(page)
    expect(row(page, "film")).to_be_visible()
    yield page, "list"
    for name in show_dialogs(page, size, film):
        yield page, name
    show_message(page, film)
    yield page, "message"
    for place, shown in PLACES.items():
        page.goto(daemon.url(f"/#/{place.format(film.info_hash.hex())}"))
        expect(page.locator(shown).first).to_be_visible()
        yield page, place


@pytest.mark.parametrize(("size", "theme"), LOOKS)
def test_everything_shown_can_be_used_by_all(
    browser: Browser, daemon: OwnDaemon, film: Payload, size: str, theme: str
) -> None:
    found: dict[str, list[str]] = {}
    with open_window(browser, size, theme=theme) as window:
        for page, name in walk(window, daemon, size, film):
            found[name] = problems(page, fingers=size == "phone")
            assert page.evaluate("document.documentElement.scrollWidth") == SIZES[size][0], name
    assert {name: each for name, each in found.items() if each} == {}
    assert len(found) == 22


def test_headings_are_as_large_as_fingers_on_a_wide_screen_too(
    browser: Browser, daemon: OwnDaemon
) -> None:
    with open_window(browser, fingers=True) as window:
        page = window.log_in(daemon)
        expect(page.get_by_role("columnheader", name="Name")).to_be_visible()
        assert problems(page, fingers=True) == []


@pytest.mark.parametrize("width", [768, 1024])
def test_tables_are_not_cut_on_a_tablet(
    browser: Browser, daemon: OwnDaemon, film: Payload, width: int
) -> None:
    key = film.info_hash.hex()
    with open_window(browser) as window:
        page = window.log_in(daemon)
        page.set_viewport_size({"width": width, "height": 1024})
        with_peers(page)
        for place in (f"t/{key}/peers", f"t/{key}/trackers", "jobs"):
            page.goto(daemon.url(f"/#/{place}"))
            expect(page.locator("td").first).to_be_visible()
            table = page.locator(".table")
            assert table.evaluate("(it) => it.scrollWidth - it.clientWidth") <= 0, place
