"""A watched folder on the disk: what becomes of the files in it."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli import torrents
from torrent_engine.base.errors import MagnetError, SessionError, TorrentEngineError
from torrent_engine.cli.output.exit_codes import CliError, ExitCode
from torrent_engine.cli.output.render import PlainReporter
from torrent_engine.cli.tasks.arguments import watched_folders
from torrent_engine.service import watch_folder as watch_module
from torrent_engine.service.folder_looks import FolderLooks
from torrent_engine.service.watch_folder import (
    Contents,
    WatchFolder,
    WatchOptions,
    parse_links,
    read_torrents,
)
from torrent_engine.service.watch_schedule import GIVE_UP_S, RETRY_S

pytestmark = pytest.mark.anyio

LINK = f"magnet:?xt=urn:btih:{'1' * 40}&dn=one"
HASH = "2" * 40
MAX_BYTES = 100_000


class Bench:
    """A watcher, its time, and what it added."""

    def __init__(
        self, folder: Path, *, deletes: bool = False, looks: FolderLooks | None = None
    ) -> None:
        self.folder = folder
        self.now = 0.0
        self.added: list[str] = []
        self.log: list[str] = []
        self.refusal: TorrentEngineError | None = None
        options = WatchOptions(
            deletes, lambda: self.now, MAX_BYTES, FolderLooks() if looks is None else looks
        )
        self.watcher = WatchFolder(folder, self.add, self.flush, PlainReporter(), options)

    async def add(self, torrent: Any, source: str) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.added.append(torrent.name or torrent.info_hash.hex())
        self.log.append(f"add {Path(source).name}")

    async def flush(self) -> None:
        self.log.append("flush " + " ".join(self.names))

    async def look(self, after_s: float = 2.0, *, is_asked: bool = False) -> None:
        self.now += after_s
        await self.watcher.scan(is_asked=is_asked)

    @property
    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "watched").mkdir()
    return tmp_path / "watched"


async def test_a_torrent_is_added_once_and_renamed(folder: Path) -> None:
    bench = Bench(folder)
    torrents.multi(folder)
    for _ in range(5):
        await bench.look()
    assert bench.added == ["stuff"]
    assert bench.names == ["stuff.torrent.added"]


async def test_f4_files_get_their_new_name_only_when_the_torrent_is_saved(folder: Path) -> None:
    bench = Bench(folder)
    torrents.multi(folder)
    torrents.single(folder)
    await bench.look()
    await bench.look()
    assert bench.log == [
        "add one.bin.torrent",
        "add stuff.torrent",
        "flush one.bin.torrent stuff.torrent",
    ]
    assert bench.names == ["one.bin.torrent.added", "stuff.torrent.added"]


async def test_links_are_one_a_line(folder: Path) -> None:
    bench = Bench(folder)
    (folder / "links.magnet").write_text(f"# mine\n{LINK}\n\n  {HASH}\r\n")
    await bench.look()
    await bench.look()
    assert bench.added == ["one", HASH]
    assert bench.names == ["links.magnet.added"]


async def test_what_was_taken_can_be_removed(folder: Path) -> None:
    bench = Bench(folder, deletes=True)
    torrents.multi(folder)
    (folder / "bad.torrent").write_bytes(b"no")
    await bench.look()
    await bench.look()
    await bench.look(GIVE_UP_S)
    assert bench.added == ["stuff"]
    assert bench.names == ["bad.torrent.invalid"]


async def test_a_file_that_grows_is_taken_when_it_is_whole(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(folder)
    data = torrents.multi(folder).read_bytes()
    for end in range(0, len(data), 100):
        (folder / "stuff.torrent").write_bytes(data[:end])
        await bench.look(0.5)
        await bench.look(5.0)  # the writer pauses for longer than a file has to stand still
    assert bench.added == []
    (folder / "stuff.torrent").write_bytes(data)
    await bench.look()
    await bench.look()
    assert bench.added == ["stuff"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("bad.torrent", b"i03e", "bad.torrent: not a torrent: "),
        ("empty.torrent", b"", "empty.torrent: not a torrent: "),
        ("other.torrent", b"d3:foo3:bare", "other.torrent: not a torrent"),
        ("empty.magnet", b"# nothing\n", "empty.magnet: contains no magnet link"),
        ("page.magnet", b"<html>", "page.magnet: link 1: "),
        ("long.magnet", b"\n" * (2 << 20), "long.magnet: is longer than 1024 KiB"),
    ],
)
async def test_what_is_no_torrent_is_set_aside_with_a_line(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: bytes,
    message: str,
) -> None:
    bench = Bench(folder)
    (folder / name).write_bytes(content)
    for _ in range(4):
        await bench.look()
    assert bench.names == [name]
    await bench.look(GIVE_UP_S)
    assert bench.names == [f"{name}.invalid"]
    assert bench.added == []
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert message in err
    assert err.endswith("; set aside as .invalid\n")


async def test_the_good_links_beside_a_bad_one_are_added(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(folder)
    (folder / "links.magnet").write_text(f"{LINK}\nmagnet:?dn=x&tr=http://h/passkey\n")
    await bench.look()
    await bench.look()
    assert bench.added == []
    await bench.look(GIVE_UP_S)
    assert bench.added == ["one"]
    assert bench.names == ["links.magnet.invalid"]
    err = capsys.readouterr().err
    assert "links.magnet: link 2: " in err
    assert "passkey" not in err


async def test_a_hint_takes_all_at_once_but_gives_nothing_up(folder: Path) -> None:
    bench = Bench(folder)
    torrents.multi(folder)
    (folder / "bad.torrent").write_bytes(b"d")
    await bench.look(is_asked=True)
    assert bench.added == ["stuff"]
    assert bench.names == ["bad.torrent", "stuff.torrent.added"]


async def test_a_torrent_that_is_refused_for_now_stays_and_is_tried_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(folder)
    torrents.multi(folder)
    bench.refusal = SessionError("no more than 3 torrents")
    for _ in range(3):
        await bench.look()
    await bench.look(RETRY_S)
    assert bench.names == ["stuff.torrent"]
    assert capsys.readouterr().err.count("no more than 3 torrents\n") == 1  # told once
    bench.refusal = None
    await bench.look(RETRY_S)
    assert bench.names == ["stuff.torrent.added"]


async def test_a_name_that_is_taken_gets_a_number(folder: Path) -> None:
    for _ in range(3):
        bench = Bench(folder)
        torrents.multi(folder)
        await bench.look()
        await bench.look()
    assert bench.names == [
        "stuff.torrent.2.added",
        "stuff.torrent.3.added",
        "stuff.torrent.added",
    ]


def refuse(*args: object) -> None:
    raise PermissionError(13, "Permission denied", str(args[0]))


async def test_a_file_that_cannot_be_renamed_is_not_added_twice(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(folder)
    torrents.multi(folder)
    monkeypatch.setattr(Path, "rename", refuse)
    for _ in range(5):
        await bench.look(30.0)
    assert bench.added == ["stuff"]
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "was added, but cannot be renamed: permission denied" in err
    monkeypatch.undo()
    torrents.single(folder)  # another torrent of another name is not held up by it
    await bench.look(RETRY_S)
    await bench.look()
    assert bench.names == ["one.bin.torrent.added", "stuff.torrent.added"]
    assert bench.added == ["stuff", "one.bin"]


async def test_f9_without_a_thread_a_file_is_renamed_later(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(folder)
    torrents.multi(folder)
    real = FolderLooks.look

    async def look(looks: FolderLooks, place: Any, work: Any, *arguments: Any) -> Any:
        if getattr(work, "func", None) is watch_module._rename:
            raise OSError("the system has no more threads")
        return await real(looks, place, work, *arguments)

    with monkeypatch.context() as patches:
        patches.setattr(FolderLooks, "look", look)
        for _ in range(2):
            await bench.look(30.0)
    assert bench.added == ["stuff"]
    await bench.look(RETRY_S)
    assert bench.names == ["stuff.torrent.added"]
    assert bench.added == ["stuff"]


async def test_a_file_in_place_of_one_that_was_not_renamed_is_added(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(folder)
    torrent = torrents.multi(folder)
    monkeypatch.setattr(Path, "rename", refuse)
    for _ in range(2):
        await bench.look()
    monkeypatch.undo()
    torrents.single(folder).replace(torrent)
    await bench.look(RETRY_S)
    await bench.look()
    assert bench.added == ["stuff", "one.bin"]
    assert bench.names == [f"{torrent.name}.added"]


async def test_a_file_that_cannot_be_read_is_left_and_told_of_once(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(folder)
    torrents.multi(folder)
    monkeypatch.setattr(watch_module, "read_torrents", refuse)
    for _ in range(5):
        await bench.look(2 * RETRY_S)
    assert bench.names == ["stuff.torrent"]
    assert capsys.readouterr().err.count("permission denied") == 1


async def test_a_file_of_any_size_is_read_as_far_as_it_may_be_long(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(folder)
    for name in ("huge.torrent", "huge.magnet"):
        with (folder / name).open("wb") as file:
            file.truncate(1 << 40)  # of holes: to read it all takes hours
    for _ in range(3):
        await bench.look(GIVE_UP_S)
    assert bench.names == ["huge.magnet.invalid", "huge.torrent.invalid"]
    said = capsys.readouterr()
    assert "is longer than" in said.out + said.err
    assert bench.added == []


async def test_a_file_that_goes_while_it_is_read_is_told_of_and_forgotten(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench, real = Bench(folder), watch_module.read_torrents
    torrents.single(folder, "a", b"x")

    def read(path: Path, max_bytes: int) -> Contents:
        path.unlink()
        return real(path, max_bytes)

    monkeypatch.setattr(watch_module, "read_torrents", read)
    for _ in range(4):
        await bench.look(RETRY_S)
    said = capsys.readouterr()
    assert said.err.count("no such file") == 1
    assert bench.added == []


async def test_a_folder_whose_disk_does_not_answer_is_told_of_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer, real = threading.Event(), watch_module.list_folder
    bench = Bench(folder, looks=FolderLooks(0.05))
    torrents.single(folder, "a", b"x")

    def look(path: Path) -> Any:
        answer.wait()
        return real(path)

    monkeypatch.setattr(watch_module, "list_folder", look)
    try:
        for _ in range(3):
            await bench.look()
    finally:
        answer.set()
    bench.watcher._looks = FolderLooks()
    for _ in range(3):
        await bench.look()
    assert bench.added == ["a"]
    said = capsys.readouterr()
    assert (said.out + said.err).count("does not answer") == 1


async def test_a_folder_that_goes_and_comes_back_is_told_of_once_each(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(folder)
    elsewhere = folder.with_name("elsewhere")
    os.rename(folder, elsewhere)  # noqa: PTH104 - a path of pathlib is for blocking code
    for _ in range(3):
        await bench.look()
    os.rename(elsewhere, folder)  # noqa: PTH104
    torrents.multi(folder)
    for _ in range(3):
        await bench.look()
    out, err = capsys.readouterr()
    assert err == f"torrent-engine: {folder}: no such file or directory\n"
    assert out == f"{folder}: is there again\n"
    assert bench.added == ["stuff"]


async def test_only_regular_files_and_links_to_them_are_taken(folder: Path) -> None:
    bench = Bench(folder)
    (folder / "folder.torrent").mkdir()
    os.mkfifo(folder / "pipe.torrent")
    (folder / "nothing.torrent").symlink_to(folder / "nowhere")
    target = torrents.multi(folder.parent)
    (folder / "link.torrent").symlink_to(target)
    await bench.look()
    await bench.look()
    assert bench.added == ["stuff"]
    assert "link.torrent.added" in bench.names
    assert target.exists()


@pytest.mark.parametrize("name", ["x.torrent", "x.magnet"])
def test_a_file_that_becomes_a_pipe_holds_nobody_up(folder: Path, name: str) -> None:
    os.mkfifo(folder / name)
    with pytest.raises(OSError, match="is no regular file"):
        read_torrents(folder / name)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda path: None, ExitCode.NOT_FOUND),
        (lambda path: path.write_text(""), ExitCode.BAD_OPTION),
    ],
    ids=["missing", "a_file"],
)
def test_a_folder_that_cannot_be_watched_is_refused(
    tmp_path: Path, make: Callable[[Path], object], code: ExitCode
) -> None:
    make(tmp_path / "x")
    with pytest.raises(CliError, match="--watch") as caught:
        watched_folders([tmp_path / "x"])
    assert caught.value.code is code


def test_a_folder_that_may_not_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError):
        watched_folders([tmp_path])


def test_a_folder_that_is_named_twice_is_watched_once(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert len(watched_folders([tmp_path, tmp_path / ".", tmp_path / "link"])) == 1


def test_no_link_is_longer_than_it_may_be() -> None:
    assert parse_links(b"x" * (2 << 20)).torrents == ()


@given(st.binary(max_size=300) | st.lists(st.sampled_from([LINK, HASH, "x", ""])).map("\n".join))
def test_a_file_of_links_has_links_or_faults_and_raises_nothing(data: bytes | str) -> None:
    contents = parse_links(data if isinstance(data, bytes) else data.encode())
    assert contents.torrents or contents.errors
    assert all(isinstance(error, MagnetError) for error in contents.errors)


@given(st.binary(max_size=300))
def test_a_torrent_file_is_one_torrent_or_a_fault(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.torrent"
    path.write_bytes(data)
    contents = read_torrents(path)
    assert isinstance(contents, Contents)
    assert len(contents.torrents) + len(contents.errors) == 1


async def test_f1_a_list_that_cannot_be_saved_leaves_the_files_for_later(tmp_path: Path) -> None:
    (tmp_path / "one.magnet").write_text(LINK)
    bench = Bench(tmp_path)
    refusals: list[TorrentEngineError] = [SessionError("the disk is full")]

    async def flush() -> None:
        if refusals:
            raise refusals.pop()

    bench.watcher._flush = flush
    await bench.look()
    await bench.look()
    assert (bench.names, bench.added, refusals) == (["one.magnet"], ["one"], [])
    await bench.look(RETRY_S)
    await bench.look(RETRY_S)
    assert (bench.names, bench.added) == (["one.magnet.added"], ["one", "one"])
