"""The page beside a real daemon and a real seed: adding, details, changes, hostile names."""

import base64
import re
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, FilePayload, Locator, Page, Route, expect

from tests.daemon.page.browser.scene import (
    SIZES,
    Window,
    button,
    expect_live,
    listed,
    menu_item,
    open_window,
    remove_all,
    row,
    selected,
)
from tests.daemon.security.hostile_names import MARKUP, hostile_names
from tests.daemon.stories import scene
from tests.support.libtorrent_client import LibtorrentClient
from tests.support.own_daemon import OwnDaemon
from tests.support.payload import Payload, make_payload
from tests.support.processes import wait_until
from torrent_engine.codec.bencode import encode

FILES: Final = {"film.mp4": 300_000, "sub/one.srt": 20_000, "sub/deep/two.srt": 10_000}
QUIET_HASH: Final = "0123456789abcdef0123456789abcdef01234567"
DROP: Final = """([kind, name, data]) => {
    const moved = new DataTransfer();
    const bytes = () => Uint8Array.from(atob(data), (each) => each.charCodeAt(0));
    if (kind === 'file') moved.items.add(new File([bytes()], name));
    else moved.setData('text', data);
    return moved;
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def film(folder: Path) -> Payload:
    return make_payload(folder, "film", FILES, piece_bytes=16 * 1024)


@pytest.fixture(scope="module")
def other(folder: Path) -> Payload:
    return make_payload(folder, "other.iso", {"other.iso": 50_000}, piece_bytes=16 * 1024)


@pytest.fixture(scope="module")
def seed(folder: Path, film: Payload, other: Payload) -> Iterator[LibtorrentClient]:
    with scene.seeded(folder, film, other) as running:
        yield running


@pytest.fixture(scope="module")
def shared(folder: Path) -> Iterator[OwnDaemon]:
    with OwnDaemon(folder) as daemon:
        yield daemon


@pytest.fixture
def daemon(shared: OwnDaemon) -> Iterator[OwnDaemon]:
    """A daemon without torrents."""
    yield shared
    remove_all(shared)
    wait_until(lambda: not listed(shared), timeout_s=60, what="all torrents are removed")


@pytest.fixture
def window(browser: Browser) -> Iterator[Window]:
    with open_window(browser) as opened:
        yield opened


@pytest.fixture
def page(window: Window, daemon: OwnDaemon) -> Page:
    return window.log_in(daemon)


def dropped(page: Page, payload: Payload) -> Any:
    """Return a file as a person drags it."""
    data = base64.b64encode(payload.torrent.read_bytes()).decode()
    return page.evaluate_handle(DROP, ["file", payload.torrent.name, data])


def link_of(payload: Payload, seed: LibtorrentClient) -> str:
    host, port = seed.address
    return f"magnet:?xt=urn:btih:{payload.info_hash.hex()}&dn={payload.name}&x.pe={host}:{port}"


def torrents_of(daemon: OwnDaemon) -> list[Any]:
    return list(daemon.ask("GET", "/api/v1/torrents")["items"])


def add_button(page: Page) -> Any:
    return page.locator("dialog footer .primary")


def make_complete(daemon: OwnDaemon, payload: Payload) -> None:
    """Add a torrent whose files are there."""
    for name in payload.files:
        target = daemon.folder / "d" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(payload.source_dir / name, target)
    scene.add(daemon, payload)
    scene.wait_for(daemon, payload, "seeding")


# -- adding ---------------------------------------------------------------------------------------


def test_an_empty_list_says_what_to_do_and_a_file_is_added_with_chosen_files(
    page: Page, daemon: OwnDaemon, seed: LibtorrentClient, film: Payload
) -> None:
    expect(page.locator(".empty h2")).to_have_text("No torrents yet")
    button(page, "Add torrents").click()
    page.locator("dialog input[type=file]").set_input_files(film.torrent)
    tree = page.locator("dialog .tree")
    expect(tree.locator(".tree-line")).to_have_count(6)
    expect(page.locator("dialog .total")).to_contain_text("330 kB of")
    tree.get_by_role("checkbox", name="sub").uncheck()
    expect(page.locator("dialog .total")).to_contain_text("300 kB of")
    page.get_by_label("Labels, with commas").fill("iso, linux")
    add_button(page).click()
    expect(page.locator("dialog")).to_have_count(0)
    expect(row(page, "film")).to_have_count(1)
    told = scene.torrent(daemon, film)
    assert (told["labels"], told["wanted_bytes"]) == (["iso", "linux"], 311_296)  # whole pieces
    port = daemon.ask("GET", "/api/v1/network")["listen_port"]
    seed.connect(film, ("127.0.0.1", port))
    expect(row(page, "film")).to_contain_text("100 %")
    expect(page.locator(".toast", has_text="film is complete")).to_be_visible()
    expect(page.locator(".filter", has_text="linux").locator(".count")).to_have_text("1")


def test_a_magnet_link_is_pasted_and_downloaded(
    page: Page, daemon: OwnDaemon, seed: LibtorrentClient, other: Payload
) -> None:
    pasted = page.evaluate_handle(DROP, ["text", "", f"look: {link_of(other, seed)} ok"])
    page.evaluate(
        "(data) => document.body.dispatchEvent("
        "new ClipboardEvent('paste', { clipboardData: data, bubbles: true }))",
        pasted,
    )
    expect(page.locator("dialog .entries li")).to_contain_text("other.iso")
    add_button(page).click()
    expect(row(page, "other.iso")).to_contain_text("Seeding")
    assert other.is_complete_in(daemon.folder / "d")


def test_a_file_is_dropped_and_a_second_time_it_is_here_already(
    page: Page, daemon: OwnDaemon, other: Payload
) -> None:
    for is_first in (True, False):
        moved = dropped(page, other)
        page.dispatch_event("#app", "dragover", {"dataTransfer": moved})
        expect(page.locator(".drop")).to_have_text("Drop to add")
        page.dispatch_event("#app", "drop", {"dataTransfer": moved})
        expect(page.locator(".drop")).to_have_count(0)
        entry = page.locator("dialog .entries li")
        expect(entry).to_contain_text("50.0 kB" if is_first else "is here already")
        add_button(page).click()
        words = "1 torrent added" if is_first else "1 torrent was here already"
        expect(page.locator(".toast", has_text=words)).to_be_visible()
    expect(page.locator("#list .row[data-hash]")).to_have_count(1)
    assert len(torrents_of(daemon)) == 1


def test_an_address_and_an_info_hash_are_added_and_nonsense_is_refused(
    page: Page, daemon: OwnDaemon, other: Payload
) -> None:
    handler = partial(QuietHandler, directory=str(other.torrent.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page.keyboard.press("a")
        page.locator("#add-text").fill("nonsense")
        expect(page.locator("dialog .hint").first).to_contain_text("no link")
        expect(add_button(page)).to_be_disabled()
        address = f"http://127.0.0.1:{server.server_port}/{other.torrent.name}"
        page.locator("#add-text").fill(f"{address} {QUIET_HASH}")
        expect(page.locator("dialog .entries li")).to_have_count(2)
        page.get_by_label("Add paused").check()
        expect(page.locator("dialog .entries")).to_contain_text("50.0 kB")
        expect(add_button(page)).to_have_text("Add 2")
        add_button(page).click()
        expect(row(page, "other.iso")).to_have_count(1)
        expect(page.locator("#list .row[data-hash]")).to_have_count(2)
        assert QUIET_HASH in {each["hash"] for each in torrents_of(daemon)}
        server.shutdown()
    expect(row(page, QUIET_HASH)).to_contain_text("Paused")


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Write nothing."""


def test_a_wrong_file_is_told_and_can_be_left_out(
    page: Page, daemon: OwnDaemon, folder: Path
) -> None:
    wrong = folder / "wrong.torrent"
    wrong.write_bytes(b"d4:spam4:eggse")
    page.keyboard.press("a")
    page.locator("dialog input[type=file]").set_input_files(wrong)
    expect(page.locator("dialog .entries .bad")).not_to_be_empty()
    expect(add_button(page)).to_be_disabled()
    button(page, "Leave out").click()
    expect(page.locator("dialog .entries li")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    assert torrents_of(daemon) == []


def test_a_magnet_handler_opens_the_dialog(window: Window, daemon: OwnDaemon) -> None:
    page = window.log_in(daemon)
    page.goto(daemon.url(f"/#/add?uri=magnet%3A%3Fxt%3Durn%3Abtih%3A{QUIET_HASH}"))
    expect(page.locator("dialog .entries li")).to_contain_text(QUIET_HASH)
    assert torrents_of(daemon) == []  # whoever made the link adds nothing


def test_columns_fit_and_headings_stand_above_them(
    page: Page, daemon: OwnDaemon, other: Payload
) -> None:
    """Names are cut, however long: nothing scrolls sideways at the usual size."""
    make_complete(daemon, other)
    source = f"magnet:?xt=urn:btih:{QUIET_HASH}&dn={'long+name+' * 40}"
    daemon.ask("POST", "/api/v1/torrents", {"source": source})
    expect(page.locator("#list .row[data-hash]")).to_have_count(2)
    extents = page.locator("#list").evaluate("(list) => [list.scrollWidth, list.clientWidth]")
    assert extents[0] == extents[1]
    lefts = "(cells) => cells.map((each) => each.getBoundingClientRect().left)"
    headings = page.locator("#list [role=columnheader]").evaluate_all(lefts)
    cells = page.locator("#list .row[data-hash]").first.locator("[role=gridcell]")
    assert cells.evaluate_all(lefts) == headings


def previews(daemon: OwnDaemon) -> list[Any]:
    return list(daemon.ask("GET", "/api/v1/previews")["items"])


def wait_for_no_preview(daemon: OwnDaemon) -> None:
    wait_until(lambda: not previews(daemon), timeout_s=60, what="the preview has ended")


def open_preview(page: Page, link: str) -> None:
    """Look at the files of a link."""
    page.locator("#list, .empty").first.wait_for()
    page.keyboard.press("a")
    page.locator("#add-text").fill(link)
    expect(page.locator("dialog .tree-line")).to_have_count(6)


def test_a_preview_ends_with_its_dialog_a_reload_and_its_tab(
    window: Window, daemon: OwnDaemon, seed: LibtorrentClient, film: Payload
) -> None:
    page = window.log_in(daemon)
    open_preview(page, link_of(film, seed))
    [found] = previews(daemon)
    assert found["owner"]["id"].startswith("tab-")
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    wait_for_no_preview(daemon)
    open_preview(page, link_of(film, seed))
    page.reload()
    expect_live(page)
    wait_for_no_preview(daemon)
    open_preview(page, link_of(film, seed))
    page.close(run_before_unload=True)
    wait_for_no_preview(daemon)
    assert listed(daemon) == {}


def test_what_was_looked_at_is_added_with_the_files_that_were_chosen(
    page: Page, daemon: OwnDaemon, seed: LibtorrentClient, film: Payload
) -> None:
    open_preview(page, link_of(film, seed))
    page.locator("dialog .tree").get_by_role("checkbox", name="film.mp4").uncheck()
    expect(page.locator("dialog .total")).to_contain_text("30.0 kB of")
    add_button(page).click()
    expect(page.locator("dialog")).to_have_count(0)
    expect(row(page, "film")).to_contain_text("330 kB")
    assert previews(daemon) == []
    key = film.info_hash.hex()
    files = daemon.ask("GET", f"/api/v1/torrents/{key}/files")["items"]
    wanted = {each["path"] for each in files if each["priority"]}
    assert wanted == {"film/sub/one.srt", "film/sub/deep/two.srt"}


# -- details, changes -----------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["desktop", "phone"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_details_of_a_running_torrent(
    browser: Browser,
    daemon: OwnDaemon,
    seed: LibtorrentClient,
    film: Payload,
    size: str,
    theme: str,
) -> None:
    seed.limit_uploads(2_000)  # it is looked at for longer than 330 kB take otherwise
    scene.add(daemon, film, seed)
    with open_window(browser, size, theme=theme) as window:
        page = window.log_in(daemon)
        expect(page.locator("html")).to_have_attribute("data-theme", theme)
        if size == "phone":
            row(page, "film").tap()
        else:
            row(page, "film").dblclick()
        panel = page.locator(".panel")
        expect(panel.locator("figcaption")).to_contain_text(re.compile(r"\d+ of 21 pieces"))
        expect(panel.locator(".facts")).to_contain_text("330 kB")
        panel.get_by_role("tab", name="Files").click()
        expect(panel.locator(".tree-line")).to_have_count(6)
        low = panel.get_by_label("Priority of one.srt")
        low.select_option("Not wanted")
        expect(panel.get_by_role("checkbox", name="one.srt")).not_to_be_checked()
        panel.get_by_role("tab", name="Peers").click()
        expect(panel.locator("tbody tr")).to_contain_text("127.0.0.1")
        panel.get_by_role("tab", name="Trackers").click()
        panel.get_by_label("Address of a tracker").fill("http://127.0.0.1:9/announce")
        button(panel, "Add tracker").click()
        expect(panel.locator("tbody tr")).to_contain_text("127.0.0.1:9")
        panel.get_by_role("tab", name="Speed").click()
        expect(panel.locator("figcaption")).to_contain_text("at most")
        assert page.evaluate("document.documentElement.scrollWidth") == SIZES[size][0]
        button(panel, "Close").click()
        expect(panel).to_have_count(0)
    files = daemon.ask("GET", f"/api/v1/torrents/{film.info_hash.hex()}/files")["items"]
    assert {each["path"]: each["priority"] for each in files}["film/sub/one.srt"] == 0
    seed.limit_uploads(0)


def test_labels_limits_and_moves(page: Page, daemon: OwnDaemon, other: Payload) -> None:
    make_complete(daemon, other)
    row(page, "other.iso").click(button="right")
    menu_item(page, "Labels and category…").click()
    page.get_by_label("New labels, with commas").fill("blue")
    page.get_by_label("Or a new category").fill("music")
    button(page, "Save").click()
    expect(page.locator(".sidebar")).to_contain_text("music")
    expect(page.locator(".sidebar")).to_contain_text("blue")
    row(page, "other.iso").click(button="right")
    menu_item(page, "Limits…").click()
    page.locator("dialog").get_by_label("Upload").fill("250")
    button(page, "Save").click()
    expect(page.locator("dialog")).to_have_count(0)
    row(page, "other.iso").click(button="right")
    menu_item(page, "Move files…").click()
    page.locator("dialog").get_by_label("Folder").fill(str(daemon.folder / "d" / "new"))
    button(page, "Move").click()
    expect(page.locator("dialog")).to_have_count(0)
    wait_until(
        (daemon.folder / "d/new/other.iso").exists, timeout_s=60, what="the file has been moved"
    )
    told = scene.torrent(daemon, other)
    assert told["category"] == "music"
    assert told["labels"] == ["blue"]
    assert told["limits"]["upload_bytes_per_s"] == 250_000


def test_limits_keep_what_was_typed_early_and_what_was_not_touched(
    page: Page, daemon: OwnDaemon, other: Payload
) -> None:
    make_complete(daemon, other)
    path = f"/api/v1/torrents/{other.info_hash.hex()}"
    limits = {"download_bytes_per_s": 5_000, "peer_limit": 7}
    daemon.ask("PATCH", path, {"limits": limits, "seed_rules": {"ratio": "never"}})
    held: list[Route] = []
    page.route(f"**{path}", lambda route: held.append(route))  # noqa: PLW0108 - it gets a mark
    row(page, "other.iso").click(button="right")
    with page.expect_request(f"**{path}"):
        menu_item(page, "Limits…").click()
    upload = page.locator("dialog").get_by_label("Upload")
    upload.fill("250")
    for each in held:
        each.continue_()
    page.unroute(f"**{path}")
    expect(page.locator("dialog").get_by_label("Download")).to_have_value("5")
    expect(upload).to_have_value("250")
    button(page, "Save").click()
    expected = {**limits, "upload_bytes_per_s": 250_000}
    wait_until(lambda: daemon.ask("GET", path)["limits"] == expected, timeout_s=60, what="limits")
    assert daemon.ask("GET", path)["seed_rules"]["ratio"] == "never"


def test_pause_resume_check_and_remove_with_files(
    page: Page, daemon: OwnDaemon, other: Payload
) -> None:
    make_complete(daemon, other)
    row(page, "other.iso").click()
    page.keyboard.press(" ")
    expect(row(page, "other.iso")).to_contain_text("Paused")
    page.keyboard.press(" ")
    expect(row(page, "other.iso")).to_contain_text("Seeding")
    page.keyboard.press("r")
    page.locator("dialog footer .primary").click()
    expect(page.locator(".toast", has_text="checked")).to_be_visible()
    page.keyboard.press("Delete")
    page.get_by_label("Delete the files too").check()
    expect(page.locator("dialog .warning")).to_be_visible()
    button(page, "Remove with files").click()
    expect(page.locator(".empty h2")).to_have_text("No torrents yet")
    wait_until(
        lambda: not (daemon.folder / "d/other.iso").exists(), timeout_s=60, what="the file is gone"
    )


def test_alternative_speeds_and_limits_of_all(page: Page, daemon: OwnDaemon) -> None:
    value_of = lambda key: daemon.ask("GET", "/api/v1/settings")["settings"][key]["value"]  # noqa: E731
    page.locator(".speeds").click()
    page.locator("dialog").get_by_label("Download").first.fill("700")
    button(page, "Save").click()
    expect(page.locator(".speed.down i")).to_have_text("700 kB")
    assert value_of("limits.download_kb_s") == 700
    page.keyboard.press("Shift+T")
    turtle = button(page, "Alternative speeds")
    expect(turtle).to_have_attribute("aria-pressed", "true")
    wait_until(lambda: value_of("limits.alt_enabled") is True, timeout_s=60, what="turtle")
    turtle.click()
    wait_until(lambda: value_of("limits.alt_enabled") is False, timeout_s=60, what="no turtle")


# -- hostile names --------------------------------------------------------------------------------


def torrent_of_names(names: list[bytes]) -> bytes:
    """Return a .torrent whose files have these names, each in a folder of its own."""
    info: dict[str, Any] = {
        "name": MARKUP[0],
        "piece length": 16384,
        "pieces": b"\0" * 20,
        "files": [
            {"length": 1, "path": [b"%03d" % number, name]} for number, name in enumerate(names)
        ],
    }
    return encode({"info": info})


def names_in_tree(tree: Locator) -> set[str]:
    """Return all names of a tree, whose lines are in the document only where it is scrolled to."""
    lines = tree.evaluate(
        """async (tree) => {
            const found = [];
            for (let top = 0; top < tree.scrollHeight; top += 900) {
                tree.scrollTop = top;
                for (let n = 0; n < 3; n += 1) await new Promise(requestAnimationFrame);
                for (const each of tree.querySelectorAll('.tree-line .name')) {
                    found.push([each.textContent, each.title, each.children.length]);
                }
            }
            return found;
        }"""
    )
    assert all(text == title and children == 0 for text, title, children in lines)
    return {str(text) for text, _, _ in lines}


def expect_no_markup(page: Page) -> None:
    for kind in ("script", "img", "iframe", "object", "a[href^=javascript]", "title"):
        expect(page.locator(f"#app {kind}")).to_have_count(0)


def test_hostile_names_of_files_are_text_in_the_add_dialog_and_the_tree(
    browser: Browser, daemon: OwnDaemon
) -> None:
    data = torrent_of_names(hostile_names())
    with open_window(browser) as window:
        page = window.log_in(daemon)
        page.keyboard.press("a")
        page.get_by_label("Add paused").check()
        page.locator("dialog input[type=file]").set_input_files(
            FilePayload(name="<b>.torrent", mimeType="application/x-bittorrent", buffer=data)
        )
        tree = page.locator("dialog .tree")
        expect(tree.locator(".tree-line").first).to_be_visible()
        before = names_in_tree(tree)
        expect_no_markup(page)
        width = tree.evaluate("(tree) => tree.scrollWidth - tree.clientWidth")
        assert width == 0, "long names are cut"
        add_button(page).click()
        expect(page.locator("dialog")).to_have_count(0)
        [key] = listed(daemon)
        told = daemon.ask("GET", f"/api/v1/torrents/{key}/files")["items"]
        paths = [each["path"] for each in told]
        assert len(paths) == len(hostile_names())
        parts = {part for path in paths for part in path.split("/")}
        assert before == parts
        assert not any(re.search(r"[\x00-\x1f\x7f\u202a-\u202e\u2066-\u2069]", p) for p in parts)
        page.goto(daemon.url(f"/#/t/{key}/files"))
        tree = page.locator(".panel .tree")
        expect(tree.locator(".tree-line").first).to_be_visible()
        assert names_in_tree(tree) == parts
        expect_no_markup(page)


# -- the page beside the list ---------------------------------------------------------------------


def test_settings_are_saved_and_wrong_ones_are_refused(page: Page, daemon: OwnDaemon) -> None:
    button(page, "Menu").click()
    menu_item(page, "Settings").click()
    field = page.locator(".setting", has_text="queue.downloads").locator("input").first
    field.fill("7")
    field.press("Tab")
    expect(page.locator(".toast", has_text="Saved")).to_be_visible()
    assert daemon.ask("GET", "/api/v1/settings")["settings"]["queue.downloads"]["value"] == 7
    fixed = page.locator(".setting", has_text="network.loopback_only").locator("input").first
    expect(fixed).to_be_disabled()
    button(page, "Back to the torrents").click()
    expect(page.locator(".empty h2")).to_be_visible()


def test_jobs_health_and_the_log_are_shown(page: Page, daemon: OwnDaemon, other: Payload) -> None:
    make_complete(daemon, other)
    button(page, "Menu").click()
    menu_item(page, "Jobs").click()
    expect(page.locator(".page tbody tr").first).to_contain_text("other.iso")
    page.goto(daemon.url("/#/health"))
    expect(page.locator(".page h1")).to_have_text("Health")
    expect(page.locator(".parts li").first).to_be_visible()
    expect(page.locator(".disk")).to_have_count(1)
    expect(page.locator(".disk")).to_contain_text("free")
    button(page, "Back to the torrents").click()
    button(page, "Menu").click()
    page.get_by_role("menuitem", name="Log", exact=True).click()
    expect(page.locator(".log li").first).to_be_visible()
    page.get_by_label("Level").select_option("Everything")
    expect(page.locator(".log li").first).to_be_visible()
    assert daemon.ask("GET", "/api/v1/log")["items"]


def test_the_page_is_german_and_changes_its_language(browser: Browser, daemon: OwnDaemon) -> None:
    with open_window(browser, locale="de-DE") as window:
        page = window.log_in(daemon)
        expect(page.locator("html")).to_have_attribute("lang", "de")
        expect(page.locator(".empty h2")).to_have_text("Noch keine Torrents")
        page.goto(daemon.url("/#/settings"))
        page.get_by_label("Sprache").select_option("English")
        expect(page.locator(".page h1")).to_have_text("Settings")
        page.reload()
        expect_live(page)
        expect(page.locator(".page h1")).to_have_text("Settings")
        assert page.locator("html").get_attribute("lang") == "en"


# -- keyboard -------------------------------------------------------------------------------------


def test_everything_is_done_by_keyboard_alone(
    page: Page, daemon: OwnDaemon, other: Payload, film: Payload
) -> None:
    make_complete(daemon, other)
    make_complete(daemon, film)
    expect(page.locator("#list .row[data-hash]")).to_have_count(2)
    press = page.keyboard.press
    press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    press("Enter")
    expect(page.locator("#list")).to_be_focused()
    press("ArrowDown")
    expect(selected(page)).to_have_count(1)
    press("Shift+F10")
    expect(page.get_by_role("menu")).to_be_visible()
    press("ArrowDown")
    expect(menu_item(page, "Pause")).to_be_focused()
    press("Escape")
    expect(page.locator("#list")).to_be_focused()
    press("Enter")
    expect(page.locator(".panel")).to_be_visible()
    press("Tab")
    expect(page.get_by_role("tab", name="Overview")).to_be_focused()
    for name in ("Files", "Peers"):
        press("ArrowRight")
        expect(page.get_by_role("tab", name=name)).to_be_focused()
    press("Escape")
    expect(page.locator(".panel")).to_have_count(0)
    expect(page.locator("#list")).to_be_focused()
    for key, heading in {
        "l": "Labels of",
        "m": "Move",
        "?": "Keyboard",
        "Delete": "Remove",
    }.items():
        press(key)
        expect(page.locator("#dialog-title")).to_contain_text(heading)
        press("Escape")
        expect(page.locator("dialog")).to_have_count(0)
        expect(page.locator("#list")).to_be_focused()
    press("/")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.type("film")
    press("Enter")
    expect(page.locator("#list .row[data-hash]")).to_have_count(1)
    expect(page.locator("#list")).to_be_focused()
    assert len(torrents_of(daemon)) == 2  # nothing was removed by a key alone


def test_pages_and_the_sort_are_reached_by_keyboard_alone(
    page: Page, daemon: OwnDaemon, other: Payload, film: Payload
) -> None:
    make_complete(daemon, other)
    make_complete(daemon, film)
    expect(page.locator("#list .row[data-hash]")).to_have_count(2)
    press = page.keyboard.press
    press("/")
    for name in ("Columns", "Menu"):
        press("Tab")
        expect(button(page, name)).to_be_focused()
    press("Enter")
    press("ArrowDown")
    press("ArrowDown")
    press("ArrowDown")
    expect(page.get_by_role("menuitem", name="Settings")).to_be_focused()
    press("Enter")
    expect(page.locator(".page h1")).to_have_text("Settings")
    press("Tab")
    expect(button(page, "Back to the torrents")).to_be_focused()
    press("Escape")
    expect(page.locator("#list")).to_be_focused()
    press("/")
    press("Tab")
    press("Tab")
    press("Enter")
    press("End")
    for _ in range(20):
        if page.evaluate("document.activeElement.textContent").strip() == "Sort":
            break
        press("ArrowUp")
    press("Enter")
    press("ArrowDown")
    expect(page.get_by_role("menuitemcheckbox", name="Name")).to_be_focused()
    press("Enter")
    heading = page.get_by_role("columnheader", name="Name")
    expect(heading).to_have_attribute("aria-sort", "ascending")
    expect(button(page, "Menu")).to_be_focused()
    assert len(torrents_of(daemon)) == 2  # keys removed none
