"""What is told of a stream that does not get on, and when it ends."""

import errno
import io
import os
import sys
from collections.abc import Iterable

import anyio
import pytest

from torrent_engine.base.errors import (
    DiskFullError,
    NetworkError,
    StorageError,
    TorrentEngineError,
    TrackerError,
)
from torrent_engine.daemon.play.choice import PlayableFile, PlayStream
from torrent_engine.daemon.play.command import StreamOutput, progress_line
from torrent_engine.daemon.play.running_daemon import progress_of
from torrent_engine.daemon.play.watch import PlayProgress, PlayWatch, watched

pytestmark = pytest.mark.anyio
LIMIT_S = 0.001


class Told:
    """A PlayReporter."""

    def __init__(self) -> None:
        self.seen: list[PlayProgress] = []
        self.warnings: list[str] = []

    def progress(self, now: PlayProgress) -> None:
        self.seen.append(now)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


class EndOfLooksError(Exception):
    """There is no further look."""


async def watch(looks: Iterable[PlayProgress | None], limit_s: float = LIMIT_S) -> Told:
    """Return what is told of some looks; raises what ends the watch before the last of them."""
    told, left = Told(), iter(looks)

    async def look() -> PlayProgress | None:
        try:
            return next(left)
        except StopIteration:
            raise EndOfLooksError from None

    try:
        await PlayWatch(look, told, limit_s).run()
    except EndOfLooksError:
        return told
    raise AssertionError


async def test_a_stream_without_metadata_ends_after_the_limit() -> None:
    with pytest.raises(TimeoutError, match=r"no metadata after 0\.001 s; 1 peer is connected"):
        await watch([PlayProgress(peers=1)] * 2)


async def test_a_tracker_that_refuses_is_told_at_once_and_named_at_the_end() -> None:
    refused = PlayProgress(has_metadata=True, refusal="not registered")
    told = await watch([refused] * 3, limit_s=0)
    assert told.warnings == ["a tracker refuses the torrent: not registered"]
    words = "no data after .*no peers are connected; a tracker refuses the torrent: not registered"
    with pytest.raises(TrackerError, match=words):
        await watch([refused] * 2)


@pytest.mark.parametrize(
    "looks",
    [
        [PlayProgress(), PlayProgress(has_metadata=True)],
        [PlayProgress(has_metadata=True, received=1)] * 2,
        [PlayProgress(has_metadata=True, completed=1)] * 2,
        [PlayProgress(is_looking=False)] * 2,
        [None] * 2,
    ],
    ids=["progress", "data", "kept data", "held back", "restart"],
)
async def test_the_limit_is_for_the_first_step_only(looks: list[PlayProgress | None]) -> None:
    told = await watch(looks)
    assert told.seen == [each for each in looks if each is not None]


async def test_what_a_look_raises_ends_the_block() -> None:
    async def look() -> PlayProgress:
        raise DiskFullError("film.mkv", "No space left on device")

    with pytest.raises(ExceptionGroup) as caught:
        async with watched(PlayWatch(look, Told(), 0)):
            await anyio.sleep_forever()
    assert isinstance(caught.value.exceptions[0], DiskFullError)


@pytest.mark.parametrize(
    ("now", "line"),
    [
        (PlayProgress(peers=1), "fetching the metadata, 1 peer"),
        (
            PlayProgress(has_metadata=True, completed=25, wanted=200, bytes_per_s=250_000),
            "12.5% of 200 bytes, 0.2 MB/s, 0 peers",
        ),
        (PlayProgress(has_metadata=True, completed=2, wanted=2), "complete: 2 bytes"),
    ],
)
def test_a_line_says_how_far_it_is(now: PlayProgress, line: str) -> None:
    assert progress_line(now) == line


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("has_player", [False, True])
def test_a_terminal_shows_the_line_unless_a_player_has_it(
    monkeypatch: pytest.MonkeyPatch, *, has_player: bool
) -> None:
    monkeypatch.setattr(sys, "stderr", screen := Screen())
    output = StreamOutput(as_json=False, is_quiet=False, has_player=has_player)
    for _ in range(2):
        output.progress(PlayProgress())
    output.ready(PlayStream("ab" * 20, "show", PlayableFile(0, "a\x1b.mkv", 7), "http://a/"))
    output.progress(PlayProgress(has_metadata=True))
    output.clear()
    shown = screen.getvalue()
    assert shown.count("fetching the metadata") == 1
    assert ("complete" in shown) is not has_player
    assert "a\x1b" not in shown


def test_without_a_terminal_there_is_no_line(capfd: pytest.CaptureFixture[str]) -> None:
    output = StreamOutput(as_json=False, is_quiet=False, has_player=False)
    output.progress(PlayProgress())
    output.clear()
    assert capfd.readouterr().err == ""


TOLD = {
    "status": "downloading",
    "error": None,
    "piece_count": 3,
    "completed_bytes": 4,
    "downloaded_bytes": 5,
    "wanted_bytes": 6,
    "download_bytes_per_s": 7,
    "peers": 8,
}


def test_what_a_daemon_tells_is_read() -> None:
    assert progress_of(TOLD) == PlayProgress(True, True, 4, 5, 6, 7, 8)
    refused = {**TOLD, "error": {"kind": "tracker_error", "message": "no"}}
    assert progress_of(refused).refusal == "no"
    assert not progress_of({**TOLD, "status": "paused"}).is_looking


@pytest.mark.parametrize(
    ("kind", "message", "error"),
    [
        ("disk", f"a/b: {os.strerror(errno.ENOSPC)}", DiskFullError),
        ("disk", "a/b: Permission denied", StorageError),
        ("missing_files", "a/b: missing files: it was removed", StorageError),
        ("other", "anything", NetworkError),
    ],
)
def test_an_error_of_the_daemon_is_raised_as_one_of_ours(
    kind: str, message: str, error: type[TorrentEngineError]
) -> None:
    told = {**TOLD, "status": "error", "error": {"kind": kind, "message": message}}
    with pytest.raises(error) as caught:
        progress_of(told)
    assert type(caught.value) is error
    assert str(caught.value) == message
