"""What the page does when it is loaded, left, cut off, or its daemon is killed."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Request, expect

from tests.daemon.page.browser.scene import (
    Window,
    button,
    expect_live,
    menu_item,
    open_window,
    row,
    ticket_url,
)
from tests.daemon.stories import scene
from tests.support.own_daemon import OwnDaemon
from tests.support.payload import Payload, make_payload


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lives")


@pytest.fixture(scope="module")
def film(folder: Path) -> Payload:
    return make_payload(folder, "film", {"a.mp4": 400_000, "sub/b.srt": 200_000})


@pytest.fixture(scope="module")
def daemon(folder: Path, film: Payload) -> Iterator[OwnDaemon]:
    with OwnDaemon(folder) as running:
        scene.add(running, film)
        running.ask("POST", "/api/v1/torrents", {"source": f"magnet:?xt=urn:btih:{5:040x}"})
        yield running


@pytest.fixture
def window(browser: Browser) -> Iterator[Window]:
    with open_window(browser) as opened:
        yield opened


# -- login ----------------------------------------------------------------------------------------


def test_a_wrong_password_is_told_and_the_token_lets_in(window: Window, daemon: OwnDaemon) -> None:
    page = window.tab(daemon.url("/"))
    field = page.get_by_label("Password or token")
    expect(field).to_be_focused()
    field.fill("wrong")
    button(page, "Log in").click()
    expect(page.get_by_role("alert")).to_have_text("The password or token is wrong.")
    field.fill(daemon.token)
    page.keyboard.press("Enter")
    expect(row(page, "film")).to_be_visible()
    page.reload()
    expect(row(page, "film")).to_be_visible()
    stored = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
    assert daemon.token not in stored


def test_a_lock_out_is_told(window: Window, daemon: OwnDaemon) -> None:
    """Loopback is never locked out, so the answer is that of another address."""
    page = window.tab(daemon.url("/"))
    problem = {"type": "/problems/locked_out", "code": "locked_out", "status": 429, "title": "x"}
    page.route(
        "**/api/v1/session",
        lambda route: route.fulfill(
            status=429, content_type="application/problem+json", body=json.dumps(problem)
        ),
    )
    page.get_by_label("Password or token").fill("wrong")
    button(page, "Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("Too many failed logins")
    assert not window.context.cookies()


def test_a_ticket_lets_in_once_and_leaves_the_address(window: Window, daemon: OwnDaemon) -> None:
    code, address, errors = daemon.run("open", "--print")
    assert code == 0, errors
    page = window.tab(address.strip())
    expect_live(page)
    assert "ticket" not in page.url
    assert page.evaluate("document.cookie") == ""  # no script can read it
    window.context.clear_cookies()
    again = window.tab(address.strip())
    expect(again.get_by_label("Password or token")).to_be_visible()


def test_a_logout_counts_in_all_tabs(window: Window, daemon: OwnDaemon) -> None:
    first = window.log_in(daemon)
    second = window.tab(daemon.url("/"))
    expect_live(second)
    button(second, "Menu").click()
    menu_item(second, "Log out").click()
    for page in (first, second):
        expect(page.get_by_label("Password or token")).to_be_visible()
    assert not window.context.cookies()


def test_what_the_policy_refuses_is_a_complaint(window: Window, daemon: OwnDaemon) -> None:
    """The tests of this folder see a violation of the policy, and fail."""
    page = window.tab(daemon.url("/"))
    page.evaluate(
        """() => {
            const script = document.createElement('script');
            script.textContent = 'window.wasRun = true';
            document.body.append(script);
        }"""
    )
    page.wait_for_timeout(0)
    assert page.evaluate("window.wasRun") is None
    assert any("policy: script-src-elem of inline" in each for each in window.complaints)
    window.complaints.clear()


# -- streams --------------------------------------------------------------------------------------


def streams_of(window: Window) -> list[Request]:
    """Return the event streams that tabs have asked for, from now on too."""
    found: list[Request] = []

    def note(request: Request) -> None:
        if "/api/v1/events" in request.url:
            found.append(request)

    window.context.on("request", note)
    return found


def test_two_tabs_share_a_stream_and_the_second_takes_it_over(
    window: Window, daemon: OwnDaemon, film: Payload
) -> None:
    streams = streams_of(window)
    first = window.log_in(daemon)
    second = window.tab(daemon.url("/"))
    expect(row(second, "film")).to_be_visible()
    daemon.ask("PATCH", f"/api/v1/torrents/{film.info_hash.hex()}", {"labels": ["both"]})
    for tab in (first, second):
        expect(tab.locator(".filter", has_text="both")).to_be_visible()
    assert len(streams) == 1
    first.close()
    daemon.ask("PATCH", f"/api/v1/torrents/{film.info_hash.hex()}", {"labels": ["three"]})
    expect(second.locator(".filter", has_text="three")).to_be_visible()
    assert len(streams) == 2


def test_a_stream_that_breaks_is_told_and_what_was_missed_comes_after(
    window: Window, daemon: OwnDaemon, film: Payload
) -> None:
    streams = streams_of(window)
    window.context.route("**/api/v1/events?**", lambda route: route.abort())
    page = window.tab(ticket_url(daemon))
    expect(page.locator(".statusbar .link.waiting")).to_be_attached()
    daemon.ask("PATCH", f"/api/v1/torrents/{film.info_hash.hex()}", {"labels": ["missed"]})
    window.context.unroute("**/api/v1/events?**")
    expect_live(page)
    expect(page.locator(".filter", has_text="missed")).to_be_visible()
    assert len(streams) > 1
    assert streams[0].failure


def test_a_download_goes_on_when_the_page_is_closed_and_the_daemon_killed(
    browser: Browser, tmp_path: Path
) -> None:
    payload = make_payload(tmp_path, "long", {"a.bin": 900_000}, piece_bytes=32 * 1024)
    with (
        scene.seeded(tmp_path, payload, bytes_per_s=scene.SLOW) as seed,
        OwnDaemon(tmp_path) as daemon,
        open_window(browser) as window,
    ):
        page = window.log_in(daemon)
        host, port = seed.address
        page.keyboard.press("a")
        link = f"magnet:?xt=urn:btih:{payload.info_hash.hex()}&x.pe={host}:{port}"
        page.locator("#add-text").fill(link)
        page.locator("dialog footer .primary").click()
        expect(row(page, "long")).to_contain_text("Downloading")
        page.close()
        scene.wait_for_bytes(daemon, payload, 100_000)
        page = window.tab(daemon.url("/"))
        expect(row(page, "long")).to_be_visible()
        daemon.kill()
        expect(page.locator(".statusbar .link.waiting")).to_be_attached()
        seed.limit_uploads(0)
        daemon.start()
        expect_live(page)
        seed.connect(payload, ("127.0.0.1", daemon.ask("GET", "/api/v1/network")["listen_port"]))
        expect(row(page, "long")).to_contain_text("Seeding")
    assert payload.is_complete_in(tmp_path / "d")
