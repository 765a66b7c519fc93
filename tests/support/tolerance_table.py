"""Who accepts which odd torrents and links: the programs are run, and the table is written.

    python -m tests.support.tolerance_table            prints it
    python -m tests.support.tolerance_table --write    writes it into docs/tolerance.md

libtorrent is asked in this process; transmission-show, transmission-daemon and aria2c are started.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.support.odd_torrents import Row, magnets, torrents
from torrent_engine.base.errors import BencodeError, MagnetError, MetainfoError
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "tolerance.md"
PROGRAMS: Final = ("torrent_engine", "libtorrent", "Transmission", "aria2")
BEGIN: Final = "<!-- begin of the table -->"
END: Final = "<!-- end of the table -->"
YES, NO = "yes", "no"
READY_S: Final = 20.0
ARIA2_PORT: Final = 17_683
TRANSMISSION_PORT: Final = 17_684
_NO_PROXY: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))

Judge = Callable[[Row], str]


def is_link(row: Row) -> bool:
    """Return whether a row is a magnet link, and no .torrent."""
    return row.what.startswith("link: ")


def ours(row: Row) -> str:
    """Return what this package makes of a row."""
    try:
        if is_link(row):
            Magnet.parse(row.data.decode())
            return YES
        return _said(is_private=Metainfo.from_bytes(row.data).is_private)
    except (BencodeError, MetainfoError, MagnetError):
        return NO


def libtorrents(row: Row) -> str:
    """Return what libtorrent makes of it."""
    import libtorrent

    try:
        if is_link(row):
            libtorrent.parse_magnet_uri(row.data.decode())
            return YES
        with warnings.catch_warnings(), tempfile.NamedTemporaryFile(suffix=".torrent") as file:
            warnings.simplefilter("ignore", DeprecationWarning)
            file.write(row.data)
            file.flush()
            loaded = libtorrent.load_torrent_file(file.name).ti
            return _said(is_private=loaded is not None and loaded.priv())
    except (RuntimeError, ValueError):
        return NO


def _said(*, is_private: bool) -> str:
    return "yes, private" if is_private else YES


def transmission_show(row: Row) -> str:
    """Return what transmission-show makes of a .torrent."""
    with tempfile.NamedTemporaryFile(suffix=".torrent") as file:
        file.write(row.data)
        file.flush()
        found = subprocess.run(
            ["transmission-show", file.name], capture_output=True, timeout=60, check=False
        )
    if found.returncode:
        return NO
    return _said(is_private=b"Private torrent" in found.stdout)


def aria2_show(row: Row) -> str:
    """Return what ``aria2c --show-files`` makes of a .torrent; it does not say "private"."""
    with tempfile.NamedTemporaryFile(suffix=".torrent") as file:
        file.write(row.data)
        file.flush()
        command = ["aria2c", "--no-conf", "--show-files", file.name]
        found = subprocess.run(command, capture_output=True, timeout=60, check=False)
    return YES if b"Info Hash" in found.stdout else NO


@contextmanager
def _running(*command: str) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def aria2_links() -> Iterator[Judge]:
    """Run aria2c; yield what asks it about links."""
    url = f"http://127.0.0.1:{ARIA2_PORT}/jsonrpc"
    listen = (f"--rpc-listen-port={ARIA2_PORT}", "--listen-port=17691", "--enable-dht=false")
    with (
        tempfile.TemporaryDirectory() as folder,
        _running("aria2c", "--no-conf", "--enable-rpc", "--quiet", f"--dir={folder}", *listen),
    ):

        def judge(row: Row) -> str:
            call = {"jsonrpc": "2.0", "id": 1, "method": "aria2.addUri"}
            answer = _posted(url, {**call, "params": [[row.data.decode()]]}, {})
            return YES if "result" in answer else NO

        _wait(lambda: _posted(url, {"jsonrpc": "2.0", "id": 1, "method": "system.listMethods"}, {}))
        yield judge


@contextmanager
def transmission_links() -> Iterator[Judge]:
    """Run transmission-daemon; yield what asks it about links."""
    url = f"http://127.0.0.1:{TRANSMISSION_PORT}/transmission/rpc"
    headers: dict[str, str] = {}

    def call(method: str, **arguments: object) -> Any:
        for _ in range(2):
            try:
                return _posted(url, {"method": method, "arguments": arguments}, headers)
            except urllib.error.HTTPError as error:
                with error:
                    headers["X-Transmission-Session-Id"] = error.headers[
                        "X-Transmission-Session-Id"
                    ]
        raise OSError("no session with transmission-daemon")

    def judge(row: Row) -> str:
        link = row.data.decode()
        answer = call("torrent-add", filename=link, paused=True)
        for added in answer.get("arguments", {}).values():
            call("torrent-remove", ids=[added["id"]])
        return YES if answer["result"] == "success" else NO

    options = ("--foreground", "--no-dht", "--no-lpd", "--no-portmap", "--peerport", "17692")
    with (
        tempfile.TemporaryDirectory() as folder,
        _running(
            "transmission-daemon",
            *options,
            *("--config-dir", folder, "--download-dir", folder),
            *("--port", str(TRANSMISSION_PORT), "--rpc-bind-address", "127.0.0.1"),
        ),
    ):
        _wait(lambda: call("session-get"))
        yield judge


def _wait(ready: Callable[[], object]) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        try:
            ready()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def _posted(url: str, call: dict[str, Any], headers: dict[str, str]) -> Any:
    request = urllib.request.Request(url, json.dumps(call).encode(), headers)
    try:
        with _NO_PROXY.open(request, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code == 409:
            raise
        with error:
            return json.load(error)


def table() -> str:
    """Return the table as Markdown, after running all programs."""
    lines = [
        "| torrent or link | " + " | ".join(PROGRAMS) + " |",
        "| --- |" + " --- |" * len(PROGRAMS),
    ]
    with aria2_links() as aria2, transmission_links() as transmission:
        for row in (*torrents(), *magnets()):
            others = (transmission, aria2) if is_link(row) else (transmission_show, aria2_show)
            judged = [judge(row) for judge in (ours, libtorrents, *others)]
            lines.append(f"| {row.what} | " + " | ".join(judged) + " |")
    return "\n".join(lines)


def read_table(text: str) -> dict[str, dict[str, str]]:
    """Return what the document says: of each row, what each program does."""
    found: dict[str, dict[str, str]] = {}
    between = text.partition(BEGIN)[2].partition(END)[0]
    for line in between.strip().splitlines()[2:]:
        what, *said = (cell.strip() for cell in line.strip("|").split("|"))
        found[what] = dict(zip(PROGRAMS, said, strict=True))
    return found


def main() -> None:
    """Print the table, or write it into the document."""
    made = table()
    if "--write" not in sys.argv:
        print(made)
        return
    text = DOCUMENT.read_text()
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    DOCUMENT.write_text(pattern.sub(lambda _: f"{BEGIN}\n{made}\n{END}", text))


if __name__ == "__main__":
    main()
