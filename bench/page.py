"""The daemon's web page in Chromium with 10,000 torrents: frames, rows, memory, deltas, paint.

Run: python -m bench.page [--torrents 10000] [--changes 200] [--seconds 10]

The torrents are those of a fake engine in a process of its own, of which some change each second.
The list is scrolled by a step each frame. Frames are those that Chromium's trace says were drawn;
a delta is what handling an event of the stream takes, from its text to the changed document.
"""

import argparse
import json
import statistics
from typing import Any

from playwright.sync_api import Browser, Page, expect

from bench.harness import RESULTS
from tests.daemon.page.browser.scene import open_window, rows_daemon
from tests.support.browser import open_browser
from torrent_engine.daemon.page.files import PageFiles, read_contents

STEP_PX = 60
ROUNDS = 5
CATEGORIES = ["devtools.timeline.frame", "disabled-by-default-devtools.timeline.frame"]
SCROLL = """async ([seconds, step]) => {
    const list = document.getElementById('list');
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
        rows = Math.max(rows, document.querySelectorAll('#list .row[data-hash]').length);
    }
    return { gaps, rows };
}"""
FIRST_ROW = """
new MutationObserver((_, watcher) => {
    if (!document.querySelector('#list .row[data-hash]')) return;
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


def measure_list(browser: Browser, count: int, changes: int, seconds: float) -> dict[str, Any]:
    """Scroll through a long list that changes."""
    with rows_daemon(count, changes) as daemon, open_window(browser) as window:
        window.context.add_init_script(TIMED)
        page = window.log_in(daemon)
        expect(page.locator("#list")).to_have_attribute("aria-rowcount", str(count + 1))
        page.wait_for_timeout(2_000)
        page.evaluate("window.deltaTimes.length = 0")
        browser.start_tracing(page=page, categories=CATEGORIES)
        found = page.evaluate(SCROLL, [seconds, STEP_PX])
        trace = browser.stop_tracing()
        drawn, deltas = frames_in(trace), page.evaluate("window.deltaTimes")
        return {
            "drawn_frames_per_s": round(drawn / seconds, 1),
            "script_frames_per_s": round(len(found["gaps"]) / seconds, 1),
            "longest_frame_ms": round(max(found["gaps"]), 1),
            "rows_in_document": found["rows"],
            "deltas": len(deltas),
            "delta_median_ms": round(statistics.median(deltas), 2),
            "delta_longest_ms": round(max(deltas), 2),
            "script_memory_mib": round(heap_mib(page), 1),
        }


def measure_start(browser: Browser, count: int) -> dict[str, float]:
    """Load the page with some torrents, logged in, with what the browser keeps."""
    paints, rows = [], []
    with rows_daemon(count, 0) as daemon, open_window(browser) as window:
        window.log_in(daemon).close()
        window.context.add_init_script(FIRST_ROW)
        for _ in range(ROUNDS):
            page = window.tab(daemon.url("/"))
            expect(page.locator("#list .row[data-hash]").first).to_be_visible()
            paints.append(
                page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
            )
            rows.append(page.evaluate("window.firstRowMs"))
            page.close()
    return {
        "first_paint_ms": round(statistics.median(paints), 1),
        "first_rows_ms": round(statistics.median(rows), 1),
    }


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
    chosen = parser.parse_args()
    with open_browser() as browser:
        found = {
            "torrents": chosen.torrents,
            "changes_per_s": chosen.changes,
            "browser": browser.version,
            **measure_list(browser, chosen.torrents, chosen.changes, chosen.seconds),
            **measure_start(browser, 1_000),
            "compressed_bytes": compressed_bytes(),
        }
    for name, value in found.items():
        print(f"{name:24} {value}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "page.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
