"""Names that somebody wants to do harm with are text, wherever the page shows them."""

import json
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from tests.daemon.page.browser.scene import LOOKS, button, listed, open_window
from tests.daemon.security.hostile_names import hostile_names
from tests.support import slow_http as http
from tests.support.own_daemon import OwnDaemon
from torrent_engine.codec.bencode import encode

FORM_FILES: Final = 100
SHOWN: Final = 200
"""How many peers and jobs the page shows at most."""
RAW: Final = list(dict.fromkeys(name.decode("utf-8", "replace") for name in hostile_names()))
AT: Final = "2026-01-02T03:04:05Z"
TOASTS: Final = """async (names) => {
    const base = document.querySelector('script[type=module]').src.replace('main.js', '');
    const { toast } = await import(`${base}core/toasts.js`);
    const found = [];
    for (let at = 0; at < names.length; at += 4) {
        for (const name of names.slice(at, at + 4)) toast(name, { kind: 'failed' });
        for (let n = 0; n < 3; n += 1) await new Promise(requestAnimationFrame);
        const shown = [...document.querySelectorAll('.toast span')].slice(-4);
        for (const each of shown) found.push([each.textContent, each.children.length]);
    }
    return found;
}"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnDaemon]:
    """A daemon whose torrents have the names."""
    with OwnDaemon(tmp_path_factory.mktemp("names")) as running:
        names = hostile_names()
        for at in range(0, len(names), FORM_FILES):
            add_all(running, names[at : at + FORM_FILES])
        yield running


def add_all(daemon: OwnDaemon, names: list[bytes]) -> None:
    """Add a torrent of each name, by one form."""
    files = [("torrents", (f"{at}.torrent", torrent_of(name))) for at, name in enumerate(names)]
    headers = {"Authorization": f"Bearer {daemon.token}"}
    answer = http.post(daemon.url("/api/v1/torrents?paused=true"), headers=headers, files=files)
    assert answer.status_code == 201, answer.text
    assert answer.json()["failed"] == []


def torrent_of(name: bytes) -> bytes:
    info: dict[str, Any] = {"name": name, "length": 1, "piece length": 16384, "pieces": b"\0" * 20}
    return encode({"info": info, "comment": name})


def expect_texts(found: Locator, names: list[str]) -> None:
    """The names are shown as they are, and nothing is in them but text."""
    expect(found).to_have_count(len(names))
    told = found.evaluate_all(
        "(all) => all.map((each) => [each.textContent, each.children.length])"
    )
    assert sorted(told) == sorted([name, 0] for name in names)


def expect_no_markup(page: Page) -> None:
    """Nothing of the page was made by a name."""
    for kind in ("script", "img", "iframe", "object", "a[href^=javascript]", "title"):
        expect(page.locator(f"#app {kind}")).to_have_count(0)


def answer_with(page: Page, path: str, value: Any) -> None:
    """Have a path of the daemon answer something else."""
    body = json.dumps(value)
    page.route(path, lambda route: route.fulfill(content_type="application/json", body=body))


@pytest.mark.parametrize(("size", "theme"), LOOKS)
def test_names_of_torrents_are_text_in_the_list_the_dialogs_and_the_jobs(
    browser: Browser, daemon: OwnDaemon, size: str, theme: str
) -> None:
    names_of = {key: each["name"] for key, each in listed(daemon).items()}
    told = list(names_of.values())
    assert len(told) >= 200
    height = 9_000 if size == "desktop" else 20_000
    with open_window(browser, size, theme=theme, height=height) as window:
        page = window.log_in(daemon)
        rows = page.locator("#list .row[data-hash]")
        expect(rows).to_have_count(len(told))
        expect_texts(rows.locator(".name"), told)
        page.locator("#list").focus()
        page.keyboard.press("Control+a")
        page.keyboard.press("Delete")
        expect(page.locator("dialog .names li")).to_have_count(7)
        page.keyboard.press("Escape")
        expect(page.locator("dialog")).to_have_count(0)
        key, markup = next(each for each in names_of.items() if "<script>" in each[1])
        page.goto(daemon.url(f"/#/t/{key}/overview"))
        expect_texts(page.locator(".panel h2"), [markup])
        expect(page.locator(".panel .facts")).to_contain_text("Comment")
        expect_no_markup(page)
        page.goto(daemon.url("/#/jobs"))
        cells = page.locator(".page td.first")
        expect(cells).to_have_count(SHOWN)
        assert set(cells.all_text_contents()) <= set(told)
        expect_no_markup(page)


def rename_facets(route: Route) -> None:
    """Have labels, categories and trackers with the names."""
    answer = route.fetch()
    told = answer.json()
    told["labels"] = dict.fromkeys(RAW, 1)
    told["categories"] = {name: {} for name in RAW}
    for fields, name in zip(told["torrents"].values(), cycle(RAW), strict=False):
        fields |= {"labels": [name], "category": name, "tracker_host": name}
    route.fulfill(response=answer, body=json.dumps(told))


def test_labels_categories_and_trackers_are_text(browser: Browser, daemon: OwnDaemon) -> None:
    with open_window(browser) as window:
        window.context.route("**/api/v1/sync?limit=2000", rename_facets)
        page = window.log_in(daemon)
        for heading in ("Categories", "Labels", "Trackers"):
            group = page.locator(".sidebar section", has=page.get_by_role("heading", name=heading))
            expect_texts(group.locator(".filter .text"), RAW)
        expect_no_markup(page)
        page.locator("#list").focus()
        page.keyboard.press("Home")
        page.keyboard.press("l")
        expect_texts(page.locator("dialog .check span"), RAW)
        options = page.locator("dialog option").evaluate_all("(all) => all.map((o) => o.value)")
        assert set(RAW) <= set(options)
        expect_no_markup(page)
        page.keyboard.press("Escape")
        page.locator("#list").focus()
        page.keyboard.press("Enter")
        expect(page.locator(".panel .tag")).to_have_count(1)
        expect_no_markup(page)


def tracker(at: int, name: str) -> dict[str, Any]:
    return {
        "id": str(at), "tier": 0, "url": name, "state": "ok", "seeds": 1, "leeches": 1,
        "next_announce_at": AT, "last_announce": {"error": name}, "message": name,
    }  # fmt: skip


def peer(at: int, name: str) -> dict[str, Any]:
    return {
        "host": "192.0.2.1", "port": at, "client": name, "progress": 0.4, "source": name,
        "download_bytes_per_s": 1, "upload_bytes_per_s": 1, "downloaded_bytes": 1,
        "uploaded_bytes": 1,
    }  # fmt: skip


def record(at: int, name: str) -> dict[str, Any]:
    return {"number": at, "at": AT, "level": "info", "logger": name, "text": name}


PLACES: Final[dict[str, tuple[str, Callable[[int, str], Any], str]]] = {
    "t/{}/peers": ("**/api/v1/torrents/*/peers", peer, ".panel td:nth-child(2)"),
    "t/{}/trackers": ("**/api/v1/torrents/*/trackers", tracker, ".panel td.first"),
    "log": ("**/api/v1/log?*", record, ".log .text"),
}


def test_peers_trackers_records_and_messages_are_text(browser: Browser, daemon: OwnDaemon) -> None:
    key = next(iter(listed(daemon)))
    with open_window(browser) as window:
        page = window.log_in(daemon)
        for place, (path, value, cells) in PLACES.items():
            items = [value(at, name) for at, name in enumerate(RAW[:SHOWN])]
            answer_with(page, path, {"items": items, "last": len(items)})
            page.goto(daemon.url(f"/#/{place.format(key)}"))
            expect_texts(page.locator(cells), RAW[:SHOWN])
            expect_no_markup(page)
            page.unroute(path)
        found = page.evaluate(TOASTS, RAW)
        assert {text for text, _ in found} == set(RAW)
        assert all(children == 0 for _, children in found)
        expect_no_markup(page)
        button(page, "Dismiss").first.click()
