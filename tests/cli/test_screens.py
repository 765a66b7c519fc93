"""Screens of the commands at four widths, compared with the files in ``screens/``.

``RENEW_SCREENS=1 pytest tests/cli/test_screens.py`` writes the files anew; ``git diff`` shows
what changed. Only names, paths, links and other words that are wider than a line may be so.
"""

import os
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import click
import pytest
from rich.cells import cell_len

from tests.cli import fakes, torrents
from tests.cli.output.test_peers import peer
from tests.cli.screen import Screen
from torrent_engine.base.config import ConnectionEncryption, TransportProtocol
from torrent_engine.cli.commands import scrape, tracker
from torrent_engine.cli.main import cli
from torrent_engine.cli.output import jobs as job_views
from torrent_engine.cli.output import views
from torrent_engine.cli.output.overview import (
    DONE,
    FAILED,
    LOADING,
    METADATA,
    QUEUED,
    OverviewEntry,
)
from torrent_engine.cli.output.peers import peer_lines
from torrent_engine.cli.output.render import LiveReporter
from torrent_engine.cli.output.torrent_table import print_torrents
from torrent_engine.disk.state.job_table import Job, JobKind, JobStatus
from torrent_engine.engine.states import State
from torrent_engine.engine.stats import SourceCounts
from torrent_engine.service.torrents import TorrentRow

FOLDER: Final = Path(__file__).parent / "screens"
WIDTHS: Final = (60, 80, 120, 200)
RENEWS: Final = bool(os.environ.get("RENEW_SCREENS"))
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
NOW_S: Final = 1_700_000_000.0

LONG: Final = "Some.Very.Long.Release.Name.S01.2024.2160p.WEB-DL.DDP5.1.Atmos.H.265-GROUP.and.more"
CJK: Final = "日本語の長いフォルダー名テスト用アニメ全集第一期から第三期まで高画質版"
EMOJI: Final = "👨‍👩‍👧‍👦 Family 🎉 Fotos 🇩🇪 2024 ❤️"
ISO: Final = "debian-13.1.0-amd64-netinst.iso"

DOWNLOADING: Final = replace(
    fakes.FakeStats(),
    completed_bytes=150 * MIB,
    wanted_bytes=300 * MIB,
    downloaded_bytes=300 * MIB,
    download_bytes_per_s=12.5 * MIB,
    upload_bytes_per_s=99.0 * KIB,
    eta_s=61.0,
    pieces_have=600,
    pieces_total=1_200,
    peers=34,
    seeds=12,
    ratio=0.52,
    elapsed_s=130.0,
    sources={"tracker": SourceCounts(50, 20, 10 * MIB), "dht": SourceCounts(9, 14, 5 * MIB)},
)
STUCK: Final = replace(
    DOWNLOADING, download_bytes_per_s=0, upload_bytes_per_s=0, eta_s=None, peers=0, sources={}
)
SEEDING: Final = replace(
    DOWNLOADING,
    state=State.SEEDING,
    completed_bytes=300 * MIB,
    download_bytes_per_s=0,
    uploaded_bytes=5 * GIB,
    upload_bytes_per_s=1023.9 * KIB,
    ratio=17.1,
    eta_s=None,
)
CHECKING: Final = replace(STUCK, state=State.CHECKING, checked_fraction=0.333)
LINK: Final = replace(
    STUCK, state=State.FETCHING_METADATA, wanted_bytes=0, completed_bytes=0, pieces_total=0
)
REFUSED: Final = "tracker http://tracker.example.org:6969/announce: torrent not registered"
NO_SPACE: Final = f"/srv/media/downloads/{LONG}/part-01.mkv: no space left on device"
PEERS: Final = peer_lines(
    [
        peer(6881, rate=12.1 * MIB, client="qBittorrent 5.0.4", is_seed=True),
        peer(
            51413,
            rate=300 * KIB,
            client="Transmission 4.0.6",
            transport=TransportProtocol.UTP,
            encryption=ConnectionEncryption.RC4,
            is_incoming=True,
        ),
        peer(1, client="a client with a name that is much too long"),
    ]
)

Draw = Callable[[Screen, Path], None]


def drawn(draw: Callable[[LiveReporter], None]) -> None:
    """Draw as a command does, and leave on the screen what a user sees then."""
    reporter = LiveReporter(no_color=True)
    reporter.resume()
    draw(reporter)
    reporter._live = None  # what follows would erase it


def row(name: str, stats: Any, **more: Any) -> views.Row:
    return views.session_row(name, name, stats, **more)


def bars(screen: Screen, folder: Path) -> None:
    def draw(reporter: LiveReporter) -> None:
        reporter.note(f"{REFUSED}; tried again in 15:00", about=LONG)
        reporter.update([row(LONG, DOWNLOADING)])
        reporter.update(
            [
                row(LONG, DOWNLOADING, peers=PEERS),
                row(CJK, SEEDING),
                row(EMOJI, CHECKING),
                row(ISO, STUCK, problem=f"no peers found yet; {REFUSED}"),
                row("link", LINK, problem="no peers found yet", dht="DHT nodes 137"),
                row("new.torrent", None),
            ]
        )

    drawn(draw)


def too_many_bars(screen: Screen, folder: Path) -> None:
    drawn(lambda reporter: reporter.update([row(f"t{n}", DOWNLOADING) for n in range(30)]))


def ended(screen: Screen, folder: Path) -> None:
    def draw(reporter: LiveReporter) -> None:
        place = f"/srv/media/downloads/{ISO}"
        reporter.note(views.done_line("complete", DOWNLOADING, place), about=ISO)  # type: ignore[arg-type]
        reporter.note(views.done_line("complete", DOWNLOADING, f"/srv/{LONG}"), about=LONG)  # type: ignore[arg-type]
        reporter.note(views.seeded_line(SEEDING), about=LONG)  # type: ignore[arg-type]
        reporter.update([row(CJK, DOWNLOADING)])
        reporter.note("stopping; Ctrl-C again ends at once")
        text = f"{views.incomplete_line(DOWNLOADING)}; run it again to go on"  # type: ignore[arg-type]
        reporter.note(text, about=CJK)
        reporter.error(OSError(28, "No space left on device", f"/srv/{EMOJI}"), about=EMOJI)
        reporter.suspend()

    drawn(draw)


def entry(name: str, word: str, stats: Any, problem: str = "", **more: Any) -> OverviewEntry:
    return OverviewEntry(name, word, stats and (lambda: stats), problem=lambda: problem, **more)


ENTRIES: Final = (
    entry(LONG, State.DOWNLOADING, DOWNLOADING),
    entry(CJK, State.DOWNLOADING, replace(DOWNLOADING, download_bytes_per_s=999 * KIB)),
    entry(ISO, State.DOWNLOADING, STUCK, f"no peers found yet; {REFUSED}"),
    entry(EMOJI, State.SEEDING, SEEDING),
    entry("a link", METADATA, LINK, "no peers found yet"),
    entry("checked.tar", State.CHECKING, CHECKING),
    entry("waits", QUEUED, STUCK),
    entry("loads.torrent", LOADING, None),
    entry("missing.torrent", FAILED, None, "no such file or directory"),
    entry("full", State.ERROR, STUCK, NO_SPACE),
    entry("done", DONE, SEEDING),
)


def table(screen: Screen, folder: Path) -> None:
    def draw(reporter: LiveReporter) -> None:
        reporter.note(f"{REFUSED}; tried again in 15:00", about=CJK)
        reporter.show_overview(ENTRIES[:4])
        reporter.show_overview(ENTRIES)

    drawn(draw)


def table_with_peers(screen: Screen, folder: Path) -> None:
    entries = [replace(each, peers=lambda: PEERS) for each in ENTRIES[:3]]
    drawn(lambda reporter: reporter.show_overview(entries))


def table_of_seeds(screen: Screen, folder: Path) -> None:
    entries = [entry(f"{n} {ISO}", State.SEEDING, SEEDING) for n in range(40)]
    drawn(lambda reporter: reporter.show_overview(entries))


def torrent_list(screen: Screen, folder: Path) -> None:
    def listed(number: int, name: str, state: str, **more: Any) -> TorrentRow:
        fields = {"total_bytes": 300 * MIB, "wanted_bytes": 300 * MIB, "completed_bytes": 0}
        info_hash = f"{number:02}" * 20
        return TorrentRow(info_hash, name, state, 0, "/srv", **{**fields, **more})

    rows = [
        listed(1, LONG, "downloading", completed_bytes=150 * MIB, download_bytes_per_s=12.5 * MIB),
        listed(2, CJK, "seeding", completed_bytes=300 * MIB, upload_bytes_per_s=1023.9 * KIB),
        listed(3, "link", "fetching_metadata", total_bytes=0, wanted_bytes=0),
        listed(4, EMOJI, "error", error=NO_SPACE),
        listed(5, ISO, "paused"),
    ]
    print_torrents(rows, no_color=True)


def jobs(screen: Screen, folder: Path) -> None:
    def job(number: int, status: str, name: str, **more: Any) -> Job:
        fields: dict[str, Any] = {
            "total_bytes": 1023 * MIB,
            "done_bytes": 0,
            "error": None,
            "info_hash": None,
        }
        fields |= {"created_s": NOW_S, "updated_s": NOW_S - number * 50_000.0, "completed_s": None}
        job_id = f"{number}23e4567-e89b-12d3-a456-426614174000"
        fields |= {"kind": JobKind.DOWNLOAD, **more}
        return Job(id=job_id, status=JobStatus(status), name=name, **fields)

    found = [
        job(0, "running", LONG),
        job(1, "completed", CJK, progress=0.125),
        job(2, "failed", ISO, error=NO_SPACE),
        job(3, "paused", EMOJI),
    ]
    job_views.print_jobs(found, id_chars=8, no_color=True)
    job_views.print_details(found[2])


def run(*arguments: str) -> None:
    cli.main([*arguments], standalone_mode=False)


def made(folder: Path) -> None:
    files = {f"{CJK}.mp4": b"a" * 20_000, f"{LONG}.mkv": b"b" * 50_000, "ß.txt": b"c" * 10}
    comment = "A comment that goes on, and on, over the edge of most terminals 🎉. " * 2
    fields: dict[str, Any] = {
        "announce_list": [[b"http://tracker.example.org:6969/announce", b"udp://two.example:1/a"]],
        "comment": comment.encode(),
        "creation_date": 86_400,
        "created_by": b"torrent_engine/0.1.0",
    }
    fields["announce_list"] += [[b"http://three.example.net/announce"]]
    torrents.write_torrent(folder / "x.torrent", torrents.info_of(EMOJI, files), **fields)
    for path, content in files.items():
        (folder / EMOJI).mkdir(exist_ok=True)
        (folder / EMOJI / path).write_bytes(content)


def show(screen: Screen, folder: Path) -> None:
    made(folder)
    run("show", "x.torrent")


def show_files(screen: Screen, folder: Path) -> None:
    made(folder)
    run("show", "--files", "x.torrent")


def magnet(screen: Screen, folder: Path) -> None:
    made(folder)
    run("magnet", "x.torrent")


def verify(screen: Screen, folder: Path) -> None:
    made(folder)
    (folder / EMOJI / f"{CJK}.mp4").write_bytes(b"A" + b"a" * 19_999)
    (folder / EMOJI / "ß.txt").unlink()
    run("verify", "x.torrent")
    run("verify", "gone.torrent")


def create(screen: Screen, folder: Path) -> None:
    made(folder)
    run("create", EMOJI, "-n", LONG, "-o", "made.torrent")


def scraped(screen: Screen, folder: Path) -> None:
    counts: Any = SimpleNamespace(seeds=1_234, leeches=56, downloads=None)
    scrape.print_answers(
        EMOJI,
        [
            scrape.ScrapeAnswer("http://tracker.example.org:6969/announce", counts),
            scrape.ScrapeAnswer("udp://two.example:1337/announce", error="no response in 15 s"),
            scrape.ScrapeAnswer(
                "https://a.tracker.with.a.long.name.example.net/announce",
                error="a.tracker.with.a.long.name.example.net:443: connection refused",
            ),
        ],
    )


def tracking(screen: Screen, folder: Path) -> None:
    stats = {"swarms": 1_204, "peers": 90_000, "seeds": 12_345, "announces": 5_000_000}
    tracker._report(stats, {"as_json": False, "quiet": False})


def mistakes(screen: Screen, folder: Path) -> None:
    for arguments in (
        ["download", ""],
        ["download"],
        ["download", "gone.torrent", "--max-download-limit", "much"],
        ["show", f"a/{LONG}.torrent", "--zzzz"],
        ["frobnicate"],
    ):
        run(*arguments)


def forget_help_options(*names: str) -> None:
    """Undo that another test has asked a command for its options without the program around it."""
    command: Any = cli
    for name in (*names, None):
        command._help_option = None
        command = command.get_command(click.Context(command), name) if name else None


def help_page(*command: str) -> Draw:
    def draw(_screen: Screen, _folder: Path) -> None:
        forget_help_options(*command)
        run(*command, "--help")

    return draw


SCREENS: Final[dict[str, Draw]] = {
    "download-bars": bars,
    "download-many-bars": too_many_bars,
    "download-ended": ended,
    "download-table": table,
    "download-table-peers": table_with_peers,
    "run-seeds": table_of_seeds,
    "list": torrent_list,
    "jobs": jobs,
    "show": show,
    "show-files": show_files,
    "magnet": magnet,
    "verify": verify,
    "create": create,
    "scrape": scraped,
    "tracker": tracking,
    "mistakes": mistakes,
    "help": help_page(),
    "help-download": help_page("download"),
    "help-seed": help_page("seed"),
    "help-run": help_page("run"),
    "help-create": help_page("create"),
    "help-metadata": help_page("metadata"),
    "help-dht-put": help_page("dht", "put"),
}
WHOLE_WORDS: Final = frozenset({"create", "download-ended", "jobs", "magnet", "verify", "mistakes"})
"""Screens with words that may be wider than a line."""
FIELD_CHARS: Final = len("Info-hash: ")
WHOLE_LINES: Final = frozenset({"show-files"})
"""Screens whose lines are not wrapped: each ends with a path."""


@pytest.fixture
def screen(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Screen:
    """A terminal, and a folder to work in."""
    width: int = request.getfixturevalue("width")
    terminal = Screen(width)
    for name, value in {"COLUMNS": str(width), "LINES": "24", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TORRENT_ENGINE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("time.time", lambda: NOW_S)
    monkeypatch.setattr(job_views, "_local", lambda s: f"{datetime.fromtimestamp(s, UTC):%F %T}")
    monkeypatch.chdir(tmp_path)
    return terminal


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", SCREENS)
def test_the_screen_is_as_expected(name: str, width: int, screen: Screen, tmp_path: Path) -> None:
    with redirect_stdout(screen), redirect_stderr(screen):
        SCREENS[name](screen, tmp_path)
    path = FOLDER / f"{name}-{width}.txt"
    if RENEWS:
        path.write_text(screen.text(), encoding="utf-8")
    assert screen.text() == path.read_text(encoding="utf-8")
    for line in screen.too_wide if name not in WHOLE_LINES else ():
        assert name in WHOLE_WORDS
        assert max(map(cell_len, line.split())) + FIELD_CHARS > width  # one word is too long


def test_each_file_of_a_screen_has_its_test() -> None:
    names = {f"{name}-{width}.txt" for name in SCREENS for width in WIDTHS}
    assert names == {path.name for path in FOLDER.iterdir()}
