"""``torrent-engine stream``."""

import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from torrent_engine.base.collector import paused_collector
from torrent_engine.base.errors import ConfigError
from torrent_engine.codec.paths import escape_for_terminal
from torrent_engine.daemon.main import (
    assignments_option,
    config_option,
    folder_of,
    log_to_stderr,
    places_of,
    require_packages,
    state_dir_option,
    tell,
)
from torrent_engine.service.system import HAS_UNIX_SOCKETS

if TYPE_CHECKING:
    from torrent_engine.daemon.http.sockets import ListenAddress
    from torrent_engine.daemon.play.choice import PlayRequest, PlayStream
    from torrent_engine.daemon.settings.loading import Places

    StreamOpener = Callable[
        [PlayRequest, Places, ListenAddress], AbstractAsyncContextManager[PlayStream]
    ]

STOP_S: Final = 20.0  # ours: trackers are told, and gigabytes are removed
UNFINISHED: Final = 7
LOCAL: Final = "127.0.0.1"


@click.command(
    "stream",
    epilog="TORRENT is a magnet link in quotes, an info-hash, the path of a .torrent, its http(s)"
    " URL, or - for standard input; while a daemon runs also the name of one of its torrents. That"
    " daemon downloads it then, and serves it; a torrent that is added for this goes with its files"
    " at the end. Without a daemon the settings of one count, such as its proxy. Who has the URL"
    " can read that file, and nothing else.",
)
@click.argument("torrent", metavar="TORRENT")
@click.option(
    "--file",
    default="",
    metavar="FILE",
    help="Number of the file as printed by `show --files`, or a pattern.  [default: the largest"
    " video or audio]",
)
@click.option(
    "--player",
    metavar="COMMAND",
    help="Start a player, such as vlc or mpv, with the URL, and end with it.  [default: none]",
)
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Download to DIR and keep it.  [default: a temporary folder, removed at the end]",
)
@click.option(
    "--host",
    default=LOCAL,
    show_default=True,
    metavar="ADDRESS",
    help="Address to serve at without a daemon; 0.0.0.0 for televisions and phones in the network.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=0,
    metavar="PORT",
    help="TCP port to serve at without a daemon.  [default: any]",
)
@click.option(
    "--peer",
    "peers",
    multiple=True,
    metavar="HOST:PORT",
    help="Peer to connect to; may be repeated.",
)
@click.option("--no-daemon", is_flag=True, help="Ask no daemon, even if one runs.")
@config_option
@state_dir_option
@assignments_option
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print only the URL, and errors.")
@click.pass_context
def command(context: click.Context, /, **options: Any) -> int:  # noqa: ANN401
    """Play a file of a torrent while it is downloaded, or print its URL for a player.

    Ends with the player or on Ctrl-C.
    """
    require_packages()
    log_to_stderr(context, "error")
    state_dir = None if options["no_daemon"] else folder_of(options["state_dir"])
    with paused_collector(freezes=True):  # imported now, and not while there are peers
        from torrent_engine.daemon.play.player import parse_player
        from torrent_engine.service import loop

        if not _may_have_daemon(state_dir):
            state_dir = None
            _own_stream()

    player = None if options["player"] is None else parse_player(options["player"])
    streaming = StreamSession(
        _request_of(options),
        state_dir,
        places_of(options["config"], options["assignments"]),
        _listen_address(options["host"], options["port"]),
        StreamOutput(as_json=options["as_json"], is_quiet=options["quiet"]),
        player,
    )
    return loop.run(streaming.run)


def _own_stream() -> "StreamOpener":
    from torrent_engine.daemon.play.own_engine import own_stream

    return own_stream


def _may_have_daemon(state_dir: Path | None) -> bool:
    """Return whether a daemon may listen in a folder."""
    from torrent_engine.service.daemon_torrents import DAEMON_SOCKET

    return HAS_UNIX_SOCKETS and state_dir is not None and (state_dir / DAEMON_SOCKET).exists()


def _request_of(options: dict[str, Any]) -> "PlayRequest":
    from torrent_engine.daemon.http.sockets import ListenAddress
    from torrent_engine.daemon.play.choice import PlayRequest
    from torrent_engine.service.sources import MAX_TORRENT_BYTES, STDIN

    source = options["torrent"]
    if not source.strip():
        raise ConfigError("TORRENT is empty")
    stdin = sys.stdin.buffer.read(MAX_TORRENT_BYTES + 1) if source == STDIN else b""
    peers = [ListenAddress.parse(each) for each in options["peers"]]
    if any(not each.host or not each.port for each in peers):
        raise ConfigError("--peer: a peer is HOST:PORT, or [IPV6]:PORT")
    keep: Path | None = options["keep"]
    return PlayRequest(
        source,
        is_path=os.path.exists(source),  # noqa: PTH110 - False for links too long for a path
        stdin=stdin,
        file=options["file"],
        keep=None if keep is None else keep.absolute(),
        peers=peers,
    )


def _listen_address(host: str, port: int) -> "ListenAddress":
    from torrent_engine.daemon.http.sockets import ListenAddress

    shown = f"[{host}]" if ":" in host.strip("[]") else host
    return ListenAddress.parse(f"{shown}:{port}" if host else f"{LOCAL}:{port}")


@dataclass(frozen=True, slots=True)
class StreamOutput:
    """What is printed: the URL on stdout, everything else on stderr."""

    as_json: bool
    is_quiet: bool

    def waits(self) -> None:
        """Say that a torrent is fetched."""
        self._note("fetching the torrent; Ctrl-C ends it")

    def ready(self, stream: "PlayStream", *, has_player: bool) -> None:
        """Print where a file is."""
        size = stream.file.size_bytes
        shown = f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size:,} bytes"
        end = "ends with the player" if has_player else "Ctrl-C ends it"
        self._note(f"{stream.file.path} ({shown}); {end}")
        if self.as_json:
            click.echo(json.dumps(stream.to_json()))
        elif not has_player:
            click.echo(stream.url)
        sys.stdout.flush()

    def _note(self, text: str) -> None:
        if not self.is_quiet and not self.as_json:
            tell(escape_for_terminal(text))


class StreamSession:
    """One stream, from its torrent to the end of its player."""

    def __init__(
        self,
        request: "PlayRequest",
        state_dir: Path | None,
        places: "Places",
        listen: "ListenAddress",
        output: StreamOutput,
        player: list[str] | None,
    ) -> None:
        """``state_dir`` is that of a daemon which is asked, if it runs."""
        self._request, self._state_dir, self._places = request, state_dir, places
        self._listen, self._output, self._player = listen, output, player
        self._is_ready = False

    async def run(self) -> int:
        """Return the exit code: 0 if there was a stream."""
        import anyio

        from torrent_engine.service.loop import handle_signals

        code = 0
        async with anyio.create_task_group() as tasks:
            scope = anyio.CancelScope()

            async def stop() -> None:
                scope.cancel()

            await tasks.start(handle_signals, stop, lambda: UNFINISHED, STOP_S)
            with scope:
                code = await self._play()
            tasks.cancel_scope.cancel()
        return code if self._is_ready else UNFINISHED

    async def _play(self) -> int:
        import anyio

        from torrent_engine.daemon.play.player import play
        from torrent_engine.service.sources import is_magnet, is_url

        if is_magnet(self._request.source) or is_url(self._request.source):
            self._output.waits()
        async with self._opened() as stream:
            self._output.ready(stream, has_player=self._player is not None)
            self._is_ready = True
            if self._player is None:
                await anyio.sleep_forever()
            ended = await play(self._player or (), stream.url)
        if ended:
            tell(f"torrent-engine: the player ended with {ended}")
        return UNFINISHED if ended else 0

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator["PlayStream"]:
        """Give the stream, of the daemon if one runs."""
        from torrent_engine.daemon.play.running_daemon import find_daemon
        from torrent_engine.service.daemon_torrents import DAEMON_SOCKET

        daemon = None
        if self._state_dir is not None:
            daemon = await find_daemon(self._state_dir / DAEMON_SOCKET)
        if daemon is not None:
            async with daemon.stream(self._request) as found:
                yield found
            return
        async with _own_stream()(self._request, self._places, self._listen) as found:
            yield found
