"""The end of streams: a piece that does not come, a file that shrinks, a daemon that stops."""

from typing import Any, Self

import anyio
import anyio.lowlevel
import pytest

from torrent_engine.base.errors import ClosedError, TorrentEngineError
from torrent_engine.daemon.http.ranges import Selection
from torrent_engine.daemon.stream import response
from torrent_engine.daemon.stream.response import FileStream, StreamEnds

pytestmark = pytest.mark.anyio


class Reader:
    """Reads ``content``; then it waits for ever, fails or is at its end."""

    def __init__(self, content: bytes, then: TorrentEngineError | str) -> None:
        self._content, self._then, self._at = content, then, 0
        self.is_open = False

    @property
    def size(self) -> int:
        return 100

    def seek(self, offset: int) -> int:
        self._at = offset
        return offset

    async def read(self, size: int = -1) -> bytes:
        found = self._content[self._at : self._at + size]
        self._at += len(found)
        if found or self._then == "end":
            return found
        if isinstance(self._then, TorrentEngineError):
            raise self._then
        await anyio.sleep_forever()
        raise AssertionError

    async def __aenter__(self) -> Self:
        self.is_open = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self.is_open = False


class Player:
    """The other end of an answer."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.gone = anyio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.messages.append(message)
        await anyio.lowlevel.checkpoint()

    @property
    def body(self) -> bytes:
        return b"".join(each.get("body", b"") for each in self.messages)

    @property
    def is_complete(self) -> bool:
        last = self.messages[-1]
        return last["type"] == "http.response.body" and not last.get("more_body", False)


async def play(reader: Reader, player: Player, stopping: anyio.Event, **settings: Any) -> None:
    is_allowed = settings.get("is_allowed", lambda: True)
    ends = StreamEnds(settings.get("read_timeout_s", 60.0), stopping, is_allowed)
    answer = FileStream(reader, Selection(206, 10, 60), {}, ends)
    scope = {"type": "http", "path": "/stream/x", "extensions": settings.get("extensions")}
    with anyio.fail_after(30):
        await answer(scope, player.receive, player.send)


async def test_a_whole_range_is_sent() -> None:
    reader, player = Reader(bytes(range(100)), "end"), Player()
    await play(reader, player, anyio.Event())
    assert player.body == bytes(range(10, 60))
    assert player.is_complete
    assert dict(player.messages[0]["headers"])[b"content-length"] == b"50"
    assert not reader.is_open


@pytest.mark.parametrize("then", ["wait", "end", ClosedError("Session", "it was removed")], ids=str)
async def test_a_body_that_is_too_short_does_not_look_complete(
    then: TorrentEngineError | str, caplog: pytest.LogCaptureFixture
) -> None:
    reader, player = Reader(bytes(30), then), Player()
    await play(reader, player, anyio.Event(), read_timeout_s=0.01)
    assert len(player.body) == 20
    assert not player.is_complete
    assert not reader.is_open
    assert "stream of /stream/x was cut" in caplog.text


@pytest.mark.parametrize("reason", ["gone", "stopping"])
async def test_a_stream_ends_with_its_player_and_with_the_daemon(reason: str) -> None:
    reader, player, stopping = Reader(bytes(30), "wait"), Player(), anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(play, reader, player, stopping)
        with anyio.fail_after(30):
            while len(player.body) < 20:
                await anyio.lowlevel.checkpoint()
            (player.gone if reason == "gone" else stopping).set()
    assert not player.is_complete
    assert not reader.is_open


async def test_a_stream_ends_with_the_credential_that_let_it_in(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(response, "CHUNK_BYTES", 10)
    caplog.set_level("INFO")
    reader, player = Reader(bytes(100), "end"), Player()
    await play(reader, player, anyio.Event(), is_allowed=lambda: len(player.body) < 20)
    assert len(player.body) == 20
    assert not player.is_complete
    assert not reader.is_open
    assert "its credential has ended" in caplog.text


async def test_a_player_may_be_paused_for_minutes() -> None:
    limits: list[float] = []
    extensions = {"te.set_write_limit": limits.append}
    reader, player = Reader(bytes(100), "end"), Player()
    await play(reader, player, anyio.Event(), extensions=extensions)
    assert limits == [300.0]
    assert player.is_complete
