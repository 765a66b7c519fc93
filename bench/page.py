"""The daemon's web page in Chromium with 10,000 torrents: frames, rows, memory, deltas, paint.

Run: python -m bench.page [--torrents 10000] [--changes 200] [--seconds 10] [--qbittorrent]

The torrents are those of a fake engine in a process of its own, of which some change each second.
The list is scrolled by a step each frame. Frames are those that Chromium's trace says were drawn;
a delta is what handling an event of the stream takes, from its text to the changed document.
With ``--qbittorrent`` the page of Debian's qbittorrent-nox is measured with as many real torrents
that are stopped; tags of some are changed each second.
"""

import argparse
import json
import statistics
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect

from bench.daemon_programs import QBittorrentDaemon, write_torrents
from bench.harness import RESULTS, workspace
from tests.daemon.page.browser.scene import open_window, rows_daemon
from tests.support.browser import open_browser
from torrent_engine.daemon.page.files import PageFiles, read_contents

STEP_PX = 60
ROUNDS = 5
LOADED_MS = 180_000
CATEGORIES = ["devtools.timeline.frame", "disabled-by-default-devtools.timeline.frame"]
OUR_LIST = "#list"
OUR_ROWS = "#list .row[data-hash]"
QBITTORRENT_LIST = "#torrentsTableDiv"
QBITTORRENT_ROWS = "#torrentsTableDiv tbody tr"
FORM = "application/x-www-form-urlencoded"
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
SCROLL = """async ([seconds, step, scrolled, shown]) => {
    const list = document.querySelector(scrolled);
    const gaps = [];
    let rows = 0;
    let last = performance.now();
    const end = last + seconds * 1000;
    while (last < end) {
        await new Promise(requestAnimationFrame);
        const now = performance.now();
        gaps.push(now - last);
        last = now;
        list.scrollTop += step;
        if (list.scrollTop + list.clientHeight >= list.scrollHeight - step) list.scrollTop = 0;
        rows = Math.max(rows, document.querySelectorAll(shown).length);
    }
    return { gaps, rows };
}"""
FIRST_ROW = """
new MutationObserver((_, watcher) => {
    if (!document.querySelector('SHOWN')) return;
    window.firstRowMs = performance.now();
    watcher.disconnect();
}).observe(document, { childList: true, subtree: true });
"""


TIMED = """
window.deltaTimes = [];
const add = EventSource.prototype.addEventListener;
EventSource.prototype.addEventListener = function (kind, handle) {
    const timed = (event) => {
        const begun = performance.now();
        handle(event);
        queueMicrotask(() => window.deltaTimes.push(performance.now() - begun));
    };
    add.call(this, kind, kind === 'sync' ? timed : handle);
};
"""


def frames_in(trace: bytes) -> int:
    """Return how many frames a trace says were drawn."""
    return sum(each["name"] == "DrawFrame" for each in json.loads(trace)["traceEvents"])


def heap_mib(page: Page) -> float:
    """Return what scripts hold after a collection, in MiB."""
    tools = page.context.new_cdp_session(page)
    tools.send("HeapProfiler.collectGarbage")
    tools.send("Performance.enable")
    metrics = tools.send("Performance.getMetrics")["metrics"]
    used = {each["name"]: each["value"] for each in metrics}["JSHeapUsedSize"]
    return float(used) / 2**20


def scroll(browser: Browser, page: Page, seconds: float, places: tuple[str, str]) -> dict[str, Any]:
    """Scroll a list by a step each frame; return what it took."""
    browser.start_tracing(page=page, categories=CATEGORIES)
    found = page.evaluate(SCROLL, [seconds, STEP_PX, *places])
    drawn = frames_in(browser.stop_tracing())
    return {
        "drawn_frames_per_s": round(drawn / seconds, 1),
        "script_frames_per_s": round(len(found["gaps"]) / seconds, 1),
        "longest_frame_ms": round(max(found["gaps"]), 1),
        "rows_in_document": found["rows"],
    }


def measure_list(browser: Browser, count: int, changes: int, seconds: float) -> dict[str, Any]:
    """Scroll through a long list that changes."""
    with rows_daemon(count, changes) as daemon, open_window(browser) as window:
        window.context.add_init_script(TIMED)
        page = window.log_in(daemon)
        expect(page.locator(OUR_LIST)).to_have_attribute("aria-rowcount", str(count + 1))
        page.wait_for_timeout(2_000)
        page.evaluate("window.deltaTimes.length = 0")
        found = scroll(browser, page, seconds, (OUR_LIST, OUR_ROWS))
        deltas = page.evaluate("window.deltaTimes")
        return {
            **found,
            "deltas": len(deltas),
            "delta_median_ms": round(statistics.median(deltas), 2),
            "delta_longest_ms": round(max(deltas), 2),
            "script_memory_mib": round(heap_mib(page), 1),
        }


def measure_start(browser: Browser, count: int) -> dict[str, float]:
    """Load the page with some torrents, logged in, with what the browser keeps."""
    with rows_daemon(count, 0) as daemon, open_window(browser) as window:
        window.log_in(daemon).close()
        window.context.add_init_script(FIRST_ROW.replace("SHOWN", OUR_ROWS))
        return starts(lambda: window.tab(daemon.url("/")), OUR_ROWS)


def starts(open_tab: Callable[[], Page], shown: str) -> dict[str, float]:
    """Load a page some times; return when it painted first, and when it had rows."""
    paints, rows = [], []
    for _ in range(ROUNDS):
        page = open_tab()
        expect(page.locator(shown).first).to_be_visible()
        paints.append(page.evaluate(PAINT))
        rows.append(page.evaluate("window.firstRowMs"))
        page.close()
    return {
        "first_paint_ms": round(statistics.median(paints), 1),
        "first_rows_ms": round(statistics.median(rows), 1),
    }


@contextmanager
def tags_change(daemon: QBittorrentDaemon, changes: int) -> Iterator[None]:
    """Give other torrents a tag each second, from a thread."""
    ended, web = threading.Event(), daemon.connect()
    listed = json.loads(web.ask("GET", "/api/v2/torrents/info"))
    hashes = [each["hash"] for each in listed]

    def change() -> None:
        number = 0
        while not ended.wait(1.0):
            begin = number * changes % max(1, len(hashes) - changes)
            fields = {"hashes": "|".join(hashes[begin : begin + changes]), "tags": f"t{number % 7}"}
            web.ask(
                "POST", "/api/v2/torrents/addTags", urllib.parse.urlencode(fields).encode(), FORM
            )
            number += 1

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        web.close()


def measure_qbittorrent(
    browser: Browser, folder: Path, count: int, changes: int, seconds: float
) -> dict[str, Any]:
    """Load and scroll the page of qbittorrent-nox, which lists stopped torrents."""
    daemon = QBittorrentDaemon(folder / f"qbittorrent {count}")
    torrents = write_torrents(folder / f"torrents {count}", count)
    with daemon, open_window(browser) as window:
        daemon.add(torrents, folder / f"torrents {count}" / "data", paused=True)
        while len(json.loads(daemon.web.ask("GET", "/api/v2/torrents/info"))) < count:
            time.sleep(1.0)
        window.context.add_init_script(FIRST_ROW.replace("SHOWN", QBITTORRENT_ROWS))
        found: dict[str, Any] = starts(
            lambda: window.tab(f"http://127.0.0.1:{daemon.port}/"), QBITTORRENT_ROWS
        )
        page = window.tab(f"http://127.0.0.1:{daemon.port}/")
        expect(page.locator(QBITTORRENT_ROWS)).to_have_count(count, timeout=LOADED_MS)
        page.wait_for_timeout(5_000)
        with tags_change(daemon, changes):
            found |= scroll(browser, page, seconds, (QBITTORRENT_LIST, QBITTORRENT_ROWS))
        return {**found, "script_memory_mib": round(heap_mib(page), 1)}


def compressed_bytes() -> int:
    """Return the size of all of the page but pictures and translations, as it is sent."""
    files, total = PageFiles(read_contents()), 0
    for name in files.names():
        file = files.get(name)
        if file is not None and not name.endswith("png") and not name.startswith("locale/"):
            total += len(file.zipped or file.data)
    return total


def main() -> None:
    """Print the figures, and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torrents", type=int, default=10_000)
    parser.add_argument("--changes", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--qbittorrent", action="store_true", help="the page of another program")
    chosen = parser.parse_args()
    if chosen.qbittorrent:
        show_qbittorrent(chosen)
        return
    with open_browser() as browser:
        found = {
            "torrents": chosen.torrents,
            "changes_per_s": chosen.changes,
            "browser": browser.version,
            **measure_list(browser, chosen.torrents, chosen.changes, chosen.seconds),
            **measure_start(browser, 1_000),
            "compressed_bytes": compressed_bytes(),
        }
    show("page", found)


def show_qbittorrent(chosen: argparse.Namespace) -> None:
    """Measure the page of qbittorrent-nox, with a thousand torrents and with all."""
    with open_browser() as browser, workspace("/dev/shm") as folder:
        for count in (1_000, chosen.torrents):
            found = measure_qbittorrent(browser, folder, count, chosen.changes, chosen.seconds)
            show(f"page-qbittorrent-{count}", {"torrents": count, **found})


def show(name: str, found: dict[str, Any]) -> None:
    """Print figures, and write them."""
    for each, value in found.items():
        print(f"{each:24} {value}", flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
