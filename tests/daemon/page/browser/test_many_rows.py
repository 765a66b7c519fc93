"""The list with 10,000 torrents of which 200 change each second: drawn, found, sorted, selected."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.daemon.page.browser.scene import (
    RowsDaemon,
    Window,
    button,
    menu_item,
    open_window,
    row,
    rows_daemon,
    selected,
)

COUNT = 10_000
MAX_ROWS = 150


@pytest.fixture(scope="module")
def daemon() -> Iterator[RowsDaemon]:
    with rows_daemon(COUNT, 200) as served:
        yield served


@pytest.fixture(scope="module")
def window(browser: Browser) -> Iterator[Window]:
    with open_window(browser) as opened:
        yield opened


@pytest.fixture(scope="module")
def shared_page(window: Window, daemon: RowsDaemon) -> Page:
    page = window.log_in(daemon)
    expect(page.locator("#list")).to_have_attribute("aria-rowcount", str(COUNT + 1))
    return page


@pytest.fixture
def page(shared_page: Page) -> Iterator[Page]:
    """The list, as it is at first."""
    yield shared_page
    shared_page.locator("#search").fill("")
    if shared_page.locator(".filter.on .text").text_content() != "All":
        shared_page.locator(".filter").first.click()
    shared_page.locator("#list").focus()
    shared_page.keyboard.press("Home")
    expect(shared_page.locator("#list")).to_have_attribute("aria-rowcount", str(COUNT + 1))


def test_few_rows_are_in_the_document_wherever_the_list_is_scrolled(page: Page) -> None:
    rows = page.locator("#list .row[data-hash]")
    for top in (0, 30_000, 150_000, 299_000, 12_345):
        page.locator("#list").evaluate("(list, top) => { list.scrollTop = top }", top)
        first = str(top // 30 + 2)
        expect(page.locator(f'#list [aria-rowindex="{first}"]')).to_be_attached()
        assert rows.count() <= MAX_ROWS
    page.keyboard.press("End")


def test_rows_that_are_seen_follow_the_changes(page: Page) -> None:
    page.locator("#search").fill("Torrent 00007")
    cells = row(page, "Torrent 00007").locator('[aria-colindex="5"]')
    expect(cells).to_contain_text("/s")
    before = cells.text_content() or ""
    expect(cells).not_to_have_text(before)
    assert page.locator("#list .row[data-hash]").count() == 1


def test_text_and_facets_filter_and_headings_sort(page: Page) -> None:
    page.locator("#search").fill("fedora 0000")
    names = page.locator("#list .row[data-hash] .name")
    expect(names).to_have_text(["Torrent 00007 fedora image"])
    page.locator("#search").fill("no such name")
    expect(page.locator(".empty h2")).to_have_text("Nothing matches")
    button(page, "Show all").click()
    page.locator(".filter", has_text="Downloading").click()
    expect(page.locator("#list")).to_have_attribute("aria-rowcount", "201")
    heading = page.get_by_role("columnheader", name="Name")
    heading.get_by_role("button").click()
    expect(heading).to_have_attribute("aria-sort", "ascending")
    expect(names.first).to_have_text("Torrent 00000 debian image")
    heading.get_by_role("button").click()
    expect(names.first).to_have_text("Torrent 00199 debian image")
    shown = names.all_text_contents()
    assert shown == sorted(shown, reverse=True)
    page.get_by_role("columnheader", name="Added").get_by_role("button").click()


def test_keys_and_the_mouse_select_ranges(page: Page) -> None:
    rows = page.locator("#list .row[data-hash]")
    rows.nth(1).click()
    expect(selected(page)).to_have_count(1)
    rows.nth(4).click(modifiers=["Shift"])
    expect(selected(page)).to_have_count(4)
    rows.nth(2).click(modifiers=["Control"])
    expect(selected(page)).to_have_count(3)
    page.keyboard.press("Home")
    for _ in range(3):
        page.keyboard.press("Shift+ArrowDown")
    expect(page.locator(".chosen")).to_contain_text("4 selected")
    page.keyboard.press("Control+a")
    expect(page.locator(".chosen")).to_contain_text("10,000 selected")
    page.keyboard.press("Escape")
    expect(selected(page)).to_have_count(0)
    page.keyboard.press("End")
    expect(page.locator(f'#list [aria-rowindex="{COUNT + 1}"].selected')).to_be_visible()
    assert selected(page).count() == 1


def test_columns_are_chosen(page: Page) -> None:
    headings = page.get_by_role("columnheader")
    before = headings.all_text_contents()
    for is_shown in (True, False):
        button(page, "Columns").click()
        page.get_by_role("menuitemcheckbox", name="Tracker").click()
        heading = page.get_by_role("columnheader", name="Tracker")
        expect(heading).to_have_count(1 if is_shown else 0)
    assert headings.all_text_contents() == before


def test_actions_on_many_are_shown_at_once_and_can_be_undone(page: Page) -> None:
    page.locator(".filter", has_text="Downloading").click()
    expect(page.locator("#list")).to_have_attribute("aria-rowcount", "201")
    names = page.locator("#list .row[data-hash] .name")
    before = names.all_text_contents()
    page.locator("#list").focus()
    page.keyboard.press("Control+a")
    expect(page.locator(".chosen")).to_contain_text("200 selected")
    button(page, "Pause").first.click()
    expect(page.locator(".toast", has_text="200 torrents paused")).to_be_visible()
    expect(page.locator(".empty h2")).to_have_text("Nothing matches")
    button(page.locator(".toast"), "Undo").click()
    expect(page.locator("#list")).to_have_attribute("aria-rowcount", "201")
    assert names.all_text_contents() == before
    page.keyboard.press("Escape")


def test_touch_marks_after_a_long_press(browser: Browser, daemon: RowsDaemon) -> None:
    with open_window(browser, "phone") as window:
        page = window.log_in(daemon)
        cards = page.locator("#list .row[data-hash]")
        touch = {"pointerType": "touch", "bubbles": True, "clientX": 100, "clientY": 150}
        cards.nth(0).dispatch_event("pointerdown", touch)
        expect(page.locator(".card .box").first).to_be_visible()
        cards.nth(0).dispatch_event("click")  # the finger is lifted
        cards.nth(1).tap()
        expect(page.locator(".chosen")).to_contain_text("2 selected")
        assert cards.count() <= MAX_ROWS
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width == 360
        button(page, "More actions").tap()
        menu_item(page, "Pause").tap()
        expect(page.locator(".toast", has_text="2 torrents paused")).to_be_visible()
