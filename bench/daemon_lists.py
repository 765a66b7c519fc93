"""Lists and deltas of very many torrents over HTTP: ours, transmission-daemon, qbittorrent-nox.

Each was started with the same small torrents, all of them paused. The views of one daemon are asked
one after the other, the daemons take turns; ``cpu_ms`` is what the daemon computed, and ``wait_ms``
how long another connection waited for a small answer meanwhile.

bench/run daemon_lists                                  # 10,000 torrents, 5 rounds
bench/run daemon_lists --torrents 300 --rounds 2        # a quick look
"""

import argparse
import json
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import bencodepy

from bench.daemon_programs import (
    PROGRAMS,
    Daemon,
    OurDaemon,
    QBittorrentDaemon,
    TransmissionDaemon,
    Web,
    form_of,
    rpc,
    write_torrents,
)
from bench.harness import machine, medians_of, save, workspace

CHANGED = 50
FILES = 1_000
BURST = 1_000
BURSTS = 3
REPEATS = 3
RPC = "/transmission/rpc"
FORM = "application/x-www-form-urlencoded"
RPC_FIELDS = (
    *("id", "name", "status", "error", "errorString", "percentDone", "totalSize", "sizeWhenDone"),
    *("haveValid", "leftUntilDone", "downloadedEver", "uploadedEver", "uploadRatio"),
    *("rateDownload", "rateUpload", "eta", "peersConnected", "peersSendingToUs", "queuePosition"),
    *("bandwidthPriority", "labels", "downloadDir", "addedDate", "doneDate", "secondsSeeding"),
    *("isFinished", "isStalled", "isPrivate", "hashString", "activityDate"),
    "metadataPercentComplete",
)
FIGURES = ("ms", "cpu_ms", "wait_ms", "kib")
Row = dict[str, Any]


class View:
    """One interface of one daemon: its list, what changed, one more torrent, a small question."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.web = daemon.web

    def whole(self) -> bytes:
        """Return the whole list."""
        raise NotImplementedError

    def change(self, number: int) -> None:
        """Change some torrents, and remember since when."""
        raise NotImplementedError

    def delta(self) -> bytes:
        """Return what has changed since then."""
        raise NotImplementedError

    def add(self, torrent: Path) -> bytes:
        """Add a torrent that does not start."""
        raise NotImplementedError

    def small(self, web: Web) -> bytes:
        """Return a small answer."""
        raise NotImplementedError


class OwnView(View):
    """``/api/v1``."""

    since, hashes = "", ()

    def whole(self) -> bytes:
        return self.web.ask("GET", "/api/v1/torrents?limit=10000")

    def change(self, number: int) -> None:
        found = json.loads(self.web.ask("GET", f"/api/v1/torrents?limit={CHANGED}&fields=hash"))
        self.since = found["rev"]
        ids = [each["hash"] for each in found["items"]]
        labels = {"labels": [f"own {number}"]}
        change = {"action": "add_labels", "ids": ids, "args": labels}
        self.web.ask("POST", "/api/v1/torrents/actions", json.dumps(change).encode())

    def delta(self) -> bytes:
        return self.web.ask("GET", f"/api/v1/sync?since={self.since}&jobs=0")

    def add(self, torrent: Path) -> bytes:
        kind = "application/x-bittorrent"
        return self.web.ask("POST", "/api/v1/torrents?paused=true", torrent.read_bytes(), kind)

    def small(self, web: Web) -> bytes:
        return web.ask("GET", "/api/v1/stats")


class RpcView(View):
    """Transmission's RPC."""

    def whole(self) -> bytes:
        return self.web.ask("POST", RPC, rpc("torrent-get", fields=RPC_FIELDS))

    def change(self, number: int) -> None:
        ids = list(range(1, CHANGED + 1))
        self.web.ask("POST", RPC, rpc("torrent-set", ids=ids, labels=[f"RPC {number}"]))

    def delta(self) -> bytes:
        call = rpc("torrent-get", fields=RPC_FIELDS, ids="recently-active")
        return self.web.ask("POST", RPC, call)

    def add(self, torrent: Path) -> bytes:
        call = rpc("torrent-add", filename=str(torrent), paused=True)
        return self.web.ask("POST", RPC, call)

    def small(self, web: Web) -> bytes:
        return web.ask("POST", RPC, rpc("session-stats"))


class MaindataView(View):
    """qBittorrent's web interface."""

    rid = 0

    def whole(self) -> bytes:
        data = self.web.ask("GET", "/api/v2/sync/maindata?rid=0")
        self.rid = json.loads(data)["rid"]
        return data

    def change(self, number: int) -> None:
        asked = self.web.ask("GET", f"/api/v2/torrents/info?limit={CHANGED}")
        hashes = "|".join(each["hash"] for each in json.loads(asked))
        fields = urllib.parse.urlencode({"hashes": hashes, "tags": f"maindata {number}"})
        self.web.ask("POST", "/api/v2/torrents/addTags", fields.encode(), FORM)

    def delta(self) -> bytes:
        data = self.web.ask("GET", f"/api/v2/sync/maindata?rid={self.rid}")
        self.rid = json.loads(data)["rid"]
        return data

    def add(self, torrent: Path) -> bytes:
        body, kind = form_of([torrent], {"paused": "true", "stopped": "true"})
        return self.web.ask("POST", "/api/v2/torrents/add", body, kind)

    def small(self, web: Web) -> bytes:
        return web.ask("GET", "/api/v2/transfer/info")


VIEWS: Mapping[str, tuple[type[Daemon], type[View]]] = {
    "ours, own": (OurDaemon, OwnView),
    "ours, RPC": (OurDaemon, RpcView),
    "transmission, RPC": (TransmissionDaemon, RpcView),
    "ours, maindata": (OurDaemon, MaindataView),
    "qbittorrent, maindata": (QBittorrentDaemon, MaindataView),
}


def main() -> None:
    options = parse()
    about = machine()
    names = options.parties.split(",")
    rows: list[Row] = []
    with workspace(options.dir) as folder, ExitStack() as stack:
        torrents = write_torrents(folder, options.torrents)
        extra = [many_files(folder, number) for number in range(options.rounds * len(VIEWS))]
        daemons = {name: PROGRAMS[name](folder / name, options.nice) for name in names}
        for daemon in daemons.values():
            begun = time.perf_counter()
            daemon.keep(torrents, folder / "data")
            print(f"{daemon.label}: added in {time.perf_counter() - begun:.1f} s", flush=True)
            stack.enter_context(daemon)
        time.sleep(options.wait_s)
        for number in range(options.rounds):
            for daemon in turned(list(daemons.values()), number):
                time.sleep(options.quiet_s)
                for label, view in views_of(daemon):
                    found = measured(label, view, number, extra.pop())
                    rows += [{"round": number, **row} for row in found]
                print(json.dumps(rows[-1]), flush=True)
    medians = medians_of(rows, "{what}; {view}", FIGURES, digits=2)
    print_table(medians)
    document = {"what": "daemon_lists", "machine": about, "options": vars(options)}
    print("written:", save(options.name, {**document, "medians": medians, "rows": rows}))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--torrents", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parties", default=",".join(PROGRAMS))
    parser.add_argument("--wait-s", type=float, default=65.0, help='until none is "recent"')
    parser.add_argument("--quiet-s", type=float, default=2.0, help="before a daemon is measured")
    parser.add_argument("--nice", type=int, default=0, help="of the daemons; below 0 as root")
    parser.add_argument("--dir", default="/dev/shm")
    parser.add_argument("--name", default="daemon_lists", help="of the file in results/")
    return parser.parse_args()


def views_of(daemon: Daemon) -> list[tuple[str, View]]:
    """Return the views of a daemon."""
    return [(name, view(daemon)) for name, (kind, view) in VIEWS.items() if kind is type(daemon)]


def turned(daemons: list[Daemon], number: int) -> list[Daemon]:
    shift = number % len(daemons)
    return daemons[shift:] + daemons[:shift]


def many_files(folder: Path, number: int) -> Path:
    """Write a torrent of many files."""
    files = [{b"length": 1, b"path": [b"f", b"file %d.bin" % each]} for each in range(FILES)]
    info = {b"files": files, b"name": b"many %d" % number, b"piece length": 16384}
    path = folder / f"many-{number}.torrent"
    path.write_bytes(bencodepy.encode({b"info": {**info, b"pieces": bytes(20)}}))
    return path


def measured(label: str, view: View, number: int, torrent: Path) -> list[Row]:
    """Return the figures of all that is asked of a view."""
    rows = [] if number else [one(view, "whole list, first", view.whole)]
    rows += [one(view, "whole list", view.whole) for _ in range(REPEATS)]
    view.change(number)
    rows.append(one(view, f"{CHANGED} changed", view.delta))
    rows.append(one(view, "nothing changed", view.delta))
    rows.append(one(view, f"a torrent of {FILES} files added", lambda: view.add(torrent)))
    rows += [burst(view) for _ in range(BURSTS)]
    return [{"view": label, **row} for row in rows]


def burst(view: View) -> Row:
    """Ask for many small answers, one after the other, while nobody else asks."""
    longest_s, cpu_s, begun = 0.0, view.daemon.cpu_s(), time.perf_counter()
    for _ in range(BURST):
        asked = time.perf_counter()
        data = view.small(view.web)
        longest_s = max(longest_s, time.perf_counter() - asked)
    took, cpu = time.perf_counter() - begun, view.daemon.cpu_s() - cpu_s
    return figures(f"{BURST} small answers", took, cpu, longest_s, data)


def one(view: View, what: str, ask: Callable[[], bytes]) -> Row:
    """Ask once; return time, CPU time, size, and the longest that somebody else waited."""
    with Waiting(view) as waiting:
        cpu_s, begun = view.daemon.cpu_s(), time.perf_counter()
        data = ask()
        took = time.perf_counter() - begun
        cpu = view.daemon.cpu_s() - cpu_s
    return figures(what, took, cpu, waiting.longest_s, data)


def figures(what: str, took_s: float, cpu_s: float, longest_s: float, data: bytes) -> Row:
    return {
        "what": what,
        "ms": took_s * 1e3,
        "cpu_ms": cpu_s * 1e3,
        "wait_ms": longest_s * 1e3,
        "kib": len(data) / 1024,
    }


class Waiting:
    """A second client that asks every few milliseconds, and notes how long it waited."""

    def __init__(self, view: View) -> None:
        self.longest_s = 0.0
        self._view = view
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        web = self._view.daemon.connect()
        with suppress(OSError):
            self._view.small(web)
            while not self._ended.wait(0.005):
                begun = time.perf_counter()
                self._view.small(web)
                self.longest_s = max(self.longest_s, time.perf_counter() - begun)
        web.close()

    def __enter__(self) -> "Waiting":
        self._thread.start()
        time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def print_table(medians: Mapping[str, Mapping[str, float]]) -> None:
    for name, row in sorted(medians.items()):
        print(
            f"{name:56} {row['ms']:9.1f} ms  {row['cpu_ms']:8.1f} CPU ms  "
            f"{row['wait_ms']:7.1f} ms wait  {row['kib']:8.0f} KiB"
        )


if __name__ == "__main__":
    main()
