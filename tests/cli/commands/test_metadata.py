"""Links as a run of the command line handles them, with Sessions that follow a script."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import anyio
import pytest

from tests.cli import fakes, torrents
from tests.support.swarm import until
from torrent_engine.base.config import SessionConfig, SharedConfig
from torrent_engine.base.errors import BencodeError, ConfigError, SessionError
from torrent_engine.cli.commands import download
from torrent_engine.cli.commands.metadata import check_options, saver
from torrent_engine.cli.output.exit_codes import CliError, ExitCode
from torrent_engine.cli.output.render import JsonReporter, PlainReporter, Reporter
from torrent_engine.cli.tasks import runner as runner_module
from torrent_engine.cli.tasks import torrent_task as job_module
from torrent_engine.cli.tasks.runner import Runner
from torrent_engine.cli.tasks.torrent_task import TaskOptions
from torrent_engine.cli.tasks.transfers import session_config
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.states import State
from torrent_engine.service import sources

pytestmark = pytest.mark.anyio

FETCHING = replace(
    fakes.FakeStats(),
    state=State.FETCHING_METADATA,
    wanted_bytes=0,
    total_bytes=0,
    pieces_total=0,
    peers=2,
    elapsed_s=75.0,
)


class LinkSession(fakes.FakeSession):
    """Knows nothing of its torrent until a script says :meth:`learn`."""

    magnet: Magnet

    @classmethod
    async def create(cls, metainfo: Any, shared: Any, *, save_path: Any, config: Any) -> Self:
        session = await super().create(None, shared, save_path=save_path, config=config)
        session.magnet, session.current = metainfo, FETCHING
        return session

    def learn(self, metainfo: Metainfo) -> None:
        self.metainfo = metainfo
        self.current = fakes.FakeStats()

    @property
    def info_hash(self) -> bytes:
        return bytes(self.magnet.info_hash)

    @property
    def name(self) -> str:
        return str(self.magnet.name)


@pytest.fixture(autouse=True)
def fake_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(job_module, "Session", LinkSession)
    monkeypatch.setattr(runner_module, "SharedResources", fakes.fake_shared)
    LinkSession.scripts.clear()
    LinkSession.made.clear()
    yield
    assert all(session.closed for session in LinkSession.made)


@pytest.fixture
def metainfo(tmp_path: Path) -> Metainfo:
    return Metainfo.read(torrents.multi(tmp_path))


def link_of(metainfo: Metainfo, name: str = "link") -> str:
    return str(Magnet(metainfo.info_hash, name=name, trackers=("udp://t.example:1",)))


def runner_of(
    folder: Path, script: Any, *links: str, reporter: Reporter | None = None, **options: Any
) -> Runner:
    LinkSession.scripts.update({str(Magnet.parse(link).name): script for link in links})
    job_options = TaskOptions(folder=folder, session_config=lambda _: SessionConfig(), **options)
    return Runner(links, SharedConfig(), job_options, reporter or PlainReporter())


def saving(folder: Path, **options: Any) -> Any:
    return saver({"output": str(folder / "x.torrent"), "force": False, **options})


async def test_bep9_the_metadata_is_saved_as_a_torrent(
    tmp_path: Path, metainfo: Metainfo, capsys: pytest.CaptureFixture[str]
) -> None:
    async def finds(session: LinkSession) -> str:
        session.learn(metainfo)
        return "metadata"

    runner = runner_of(tmp_path, finds, link_of(metainfo), save_metadata=saving(tmp_path))
    assert await runner.run() == ExitCode.OK
    out, err = capsys.readouterr()
    assert err == ""
    assert out == f"stuff: 74.4 KiB in 4 files, saved as {tmp_path}/x.torrent\n"
    assert Metainfo.read(tmp_path / "x.torrent") == metainfo


async def test_json_says_where_the_torrent_is(
    tmp_path: Path, metainfo: Metainfo, capsys: pytest.CaptureFixture[str]
) -> None:
    async def finds(session: LinkSession) -> str:
        session.learn(metainfo)
        return "metadata"

    link = link_of(metainfo)
    runner = runner_of(
        tmp_path, finds, link, reporter=JsonReporter(), save_metadata=saving(tmp_path)
    )
    assert await runner.run() == ExitCode.OK
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["type"] for each in records] == [
        "torrent.added",
        "torrent.started",
        "metadata.saved",
        "torrent.result",
    ]
    assert records[0]["name"] == "link"
    assert records[2]["path"] == str(tmp_path / "x.torrent")
    assert {each["info_hash"] for each in records} == {metainfo.info_hash.hex()}


async def test_no_metadata_in_time_exits_2_and_says_how_many_peers_there_were(
    tmp_path: Path, metainfo: Metainfo, capsys: pytest.CaptureFixture[str]
) -> None:
    link = link_of(metainfo)
    runner = runner_of(
        tmp_path, fakes.until_stopped, link, timeout_s=0.02, save_metadata=saving(tmp_path)
    )
    assert await runner.run() == ExitCode.TIMED_OUT
    err = capsys.readouterr().err
    assert err == "torrent-engine: link: no metadata after 0.02 s; 2 peers are connected\n"
    assert not (tmp_path / "x.torrent").exists()


async def test_the_metadata_is_in_time_though_the_farewell_to_trackers_is_not(
    tmp_path: Path, metainfo: Metainfo, capsys: pytest.CaptureFixture[str]
) -> None:
    async def finds_and_lingers(session: LinkSession) -> str:
        session.learn(metainfo)
        await anyio.wait_all_tasks_blocked()  # the time is up by now
        return "metadata"

    runner = runner_of(
        tmp_path,
        finds_and_lingers,
        link_of(metainfo),
        timeout_s=0.0,
        save_metadata=saving(tmp_path),
    )
    assert await runner.run() == ExitCode.OK
    assert capsys.readouterr().err == ""
    assert Metainfo.read(tmp_path / "x.torrent") == metainfo


async def test_a_stop_before_the_metadata_exits_7(
    tmp_path: Path, metainfo: Metainfo, capsys: pytest.CaptureFixture[str]
) -> None:
    async def is_stopped(session: LinkSession) -> str:
        return "stopped"

    assert await runner_of(tmp_path, is_stopped, link_of(metainfo)).run() == ExitCode.UNFINISHED
    assert capsys.readouterr().out == "link: its metadata was not found yet\n"


async def test_the_stop_timeout_counts_while_metadata_is_looked_for(
    tmp_path: Path, metainfo: Metainfo, capsys: pytest.CaptureFixture[str]
) -> None:
    runner = runner_of(tmp_path, fakes.until_stopped, link_of(metainfo), stop_timeout_s=0.02)
    assert await runner.run() == ExitCode.TIMED_OUT
    assert capsys.readouterr().err == "torrent-engine: link: no progress for 0.02 s\n"


async def test_a_download_of_a_link_has_the_torrents_name_once_it_is_known(
    tmp_path: Path, metainfo: Metainfo, capsys: pytest.CaptureFixture[str]
) -> None:
    reporter = PlainReporter(pause_s=0.0)
    reporter.interval_s = 0.005

    out: list[str] = []

    def printed() -> str:
        out.append(capsys.readouterr().out)
        return "".join(out)

    async def downloads(session: LinkSession) -> str:
        await until(lambda: "fetching metadata" in printed())
        session.learn(metainfo)
        await until(lambda: "stuff: 0.0%, " in printed())
        return await fakes.completes(session)

    runner = runner_of(tmp_path, downloads, link_of(metainfo), reporter=reporter)
    assert await runner.run() == ExitCode.OK
    lines = printed().splitlines()
    waits = "link: fetching metadata, peers 2 (seeds 0), 1:15 elapsed"
    assert f"{waits}, no peer has sent the metadata yet" in lines
    assert any(line.startswith("stuff: 0.0%, ") for line in lines)
    assert f"stuff: complete, 1.0 MiB, in {tmp_path}/stuff" in lines


async def test_a_link_and_its_torrent_are_the_same(
    tmp_path: Path, metainfo: Metainfo, capsys: pytest.CaptureFixture[str]
) -> None:
    async def finds(session: LinkSession) -> str:
        session.learn(metainfo)
        return await fakes.completes(session)

    links = link_of(metainfo, "one"), link_of(metainfo, "two")
    assert await runner_of(tmp_path, finds, *links).run() == ExitCode.OK
    out, err = capsys.readouterr()
    assert "two: is the same torrent as one\n" in out
    assert err == ""


async def test_a_selection_that_meets_no_file_of_the_metadata_exits_28(
    tmp_path: Path, metainfo: Metainfo, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fails(session: LinkSession) -> str:
        raise SessionError("stopped") from ConfigError("--select-file: no file matches '*.iso'")

    assert await runner_of(tmp_path, fails, link_of(metainfo)).run() == ExitCode.BAD_OPTION
    assert "link: --select-file: no file matches" in capsys.readouterr().err


async def test_a_link_without_more_than_its_hash_is_asked_about(
    tmp_path: Path, metainfo: Metainfo, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unquoted & makes the shell cut a link, and run what is before it in the background."""
    link = str(Magnet(metainfo.info_hash))
    LinkSession.scripts["None"] = fakes.completes
    job_options = TaskOptions(folder=tmp_path, session_config=lambda _: SessionConfig())
    await Runner((link,), SharedConfig(), job_options, PlainReporter()).run()
    out = capsys.readouterr().out
    assert "the link names neither trackers nor peers; a shell cuts a link at its first &" in out


async def test_a_link_may_come_by_standard_input(metainfo: Metainfo) -> None:
    link = link_of(metainfo)
    assert await sources.load("-", f"{link}\n".encode()) == Magnet.parse(link)
    assert await sources.load("-", b"%s\n" % (b"0f" * 20)) == Magnet.parse("0f" * 20)
    assert await sources.load("-", metainfo.to_bytes()) == metainfo
    with pytest.raises(BencodeError):
        await sources.load("-", b"ma\xff")


# -- what the options become ----------------------------------------------------------------


def options_of(*arguments: str) -> dict[str, Any]:
    with download.command.make_context("download", ["x", *arguments]) as context:
        return {**context.params, "seeds_by_default": False}


def test_files_of_a_link_are_chosen_when_its_metadata_is_there(metainfo: Metainfo) -> None:
    options = options_of("--select-file", "*.mkv", "-o", "4=film.mkv")
    config = session_config(options, (), Magnet(metainfo.info_hash))
    assert (config.file_priorities, config.renamed_files) == (None, ())
    assert config.file_priorities_of is not None
    assert config.renamed_files_of is not None
    assert config.file_priorities_of(metainfo) == (0, 0, 0, 4)
    assert config.renamed_files_of(metainfo) == ((3, "film.mkv"),)


def test_bep53_without_a_selection_the_link_decides(metainfo: Metainfo) -> None:
    config = session_config(options_of(), (), Magnet(metainfo.info_hash))
    assert config.file_priorities_of is not None
    assert config.file_priorities_of(metainfo) is None


def test_files_of_a_torrent_are_chosen_at_once(metainfo: Metainfo) -> None:
    config = session_config(options_of("--select-file", "1"), (), metainfo)
    assert config.file_priorities == (4, 0, 0, 0)
    with pytest.raises(ConfigError):
        session_config(options_of("--select-file", "5"), (), metainfo)


# -- where the .torrent goes ----------------------------------------------------------------


def test_the_default_is_the_torrents_name_in_the_current_folder(
    tmp_path: Path, metainfo: Metainfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert saver({"output": None, "force": False})(metainfo) == "stuff.torrent"
    assert Path("stuff.torrent").read_bytes() == metainfo.to_bytes()


def test_what_is_there_is_replaced_by_force_only(tmp_path: Path, metainfo: Metainfo) -> None:
    path = tmp_path / "x.torrent"
    path.write_bytes(b"mine")
    with pytest.raises(CliError, match="exists already"):
        saving(tmp_path)(metainfo)
    assert path.read_bytes() == b"mine"
    saving(tmp_path, force=True)(metainfo)
    assert Metainfo.read(path) == metainfo
    assert [each.name for each in tmp_path.iterdir() if each.suffix == ".part"] == []


def test_a_dash_is_standard_output(
    metainfo: Metainfo, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert saver({"output": "-", "force": False})(metainfo) == "-"
    assert capsysbinary.readouterr().out == metainfo.to_bytes()


def test_a_bare_info_hash_is_a_link_unless_a_file_has_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = {"torrents": ["0" * 40], "output": None, "as_json": False, "force": False}
    check_options(options)
    (tmp_path / ("0" * 40)).touch()
    with pytest.raises(CliError, match="is no magnet link"):
        check_options(options)
