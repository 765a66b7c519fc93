"""``torrent-engine stream``."""

import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
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
    from torrent_engine.daemon.play.own_engine import OwnPlaces
    from torrent_engine.daemon.play.watch import PlayProgress, PlayReporter

    StreamOpener = Callable[
        [PlayRequest, OwnPlaces, PlayReporter], AbstractAsyncContextManager[PlayStream]
    ]

STOP_S: Final = 20.0  # ours: trackers are told, and gigabytes are removed
UNFINISHED: Final = 7
TIMEOUT_S: Final = 120.0  # ours: peers of a magnet link are found in the DHT within a minute
LOCAL: Final = "127.0.0.1"
_ERASE: Final = "\r\x1b[K"


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
    help="Download to DIR and keep it; another run with it goes on.  [default: a temporary folder,"
    " removed at the end]",
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
@click.option(
    "--timeout",
    type=click.FloatRange(0, max_open=False),
    default=TIMEOUT_S,
    show_default=True,
    metavar="SECONDS",
    help="End if the metadata, or then the first data, has not arrived after this long; 0: never.",
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
    state_dir = folder_of(options["state_dir"])
    asks_daemon = not options["no_daemon"]
    with paused_collector(freezes=True):  # imported now, and not while there are peers
        from torrent_engine.daemon.play.player import parse_player
        from torrent_engine.service import loop

        if not (asks_daemon and _may_have_daemon(state_dir)):
            asks_daemon = False
            _own_stream()

    player = None if options["player"] is None else parse_player(options["player"])
    streaming = StreamSession(
        _request_of(options),
        _places(options, state_dir),
        StreamOutput(
            as_json=options["as_json"], is_quiet=options["quiet"], has_player=player is not None
        ),
        player,
        asks_daemon=asks_daemon,
        refused=_chosen(context, "host", "port"),
    )
    return loop.run(streaming.run)


def _chosen(context: click.Context, *names: str) -> list[str]:
    """Return the options of some names that the user gives."""
    default = click.core.ParameterSource.DEFAULT
    return [f"--{name}" for name in names if context.get_parameter_source(name) is not default]


def _places(options: dict[str, Any], state_dir: Path) -> "OwnPlaces":
    from torrent_engine.daemon.play.own_engine import OwnPlaces

    places = places_of(options["config"], options["assignments"])
    return OwnPlaces(places, state_dir, _listen_address(options["host"], options["port"]))


def _own_stream() -> "StreamOpener":
    from torrent_engine.daemon.play.own_engine import own_stream

    return own_stream


def _may_have_daemon(state_dir: Path) -> bool:
    """Return whether a daemon may listen in a folder."""
    from torrent_engine.service.daemon_torrents import DAEMON_SOCKET

    return HAS_UNIX_SOCKETS and (state_dir / DAEMON_SOCKET).exists()


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
        timeout_s=options["timeout"],
    )


def _listen_address(host: str, port: int) -> "ListenAddress":
    from torrent_engine.daemon.http.sockets import ListenAddress

    shown = f"[{host}]" if ":" in host.strip("[]") else host
    return ListenAddress.parse(f"{shown}:{port}" if host else f"{LOCAL}:{port}")


class StreamOutput:
    """What is printed: the URL on stdout, everything else on stderr.

    On a terminal a line shows how far the torrent is, unless a player has the terminal.
    """

    def __init__(self, *, as_json: bool, is_quiet: bool, has_player: bool) -> None:
        self._as_json, self._has_player = as_json, has_player
        self._is_quiet = is_quiet or as_json
        self._draws = not self._is_quiet and sys.stderr.isatty()
        self._drawn = ""

    def waits(self) -> None:
        """Say that a torrent is fetched."""
        self._note("fetching the torrent; Ctrl-C ends it")

    def ready(self, stream: "PlayStream") -> None:
        """Print where a file is."""
        end = "ends with the player" if self._has_player else "Ctrl-C ends it"
        self._note(f"{stream.file.path} ({_size(stream.file.size_bytes)}); {end}")
        if self._as_json:
            click.echo(json.dumps(stream.to_json()))
        elif not self._has_player:
            click.echo(stream.url)
        sys.stdout.flush()
        self._draws = self._draws and not self._has_player

    def progress(self, now: "PlayProgress") -> None:
        """Show how far the torrent is."""
        width = shutil.get_terminal_size().columns - 1
        line = progress_line(now)[:width]
        if self._draws and line != self._drawn:
            self._drawn = line
            click.echo(f"{_ERASE}{line}", nl=False, err=True)

    def warn(self, text: str) -> None:
        """Show what may become a problem."""
        self._note(f"torrent-engine: {text}")

    def clear(self) -> None:
        """Leave the line on which the progress is shown to others."""
        if self._drawn:
            self._drawn = ""
            click.echo(_ERASE, nl=False, err=True)

    def _note(self, text: str) -> None:
        if not self._is_quiet:
            self.clear()
            tell(escape_for_terminal(text))


def progress_line(now: "PlayProgress") -> str:
    """Return one line without names."""
    peers = "1 peer" if now.peers == 1 else f"{now.peers} peers"
    if not now.has_metadata:
        return f"fetching the metadata, {peers}"
    if now.completed >= now.wanted:
        return f"complete: {_size(now.wanted)}"
    fraction = now.completed / now.wanted
    return f"{fraction:.1%} of {_size(now.wanted)}, {_size(now.bytes_per_s)}/s, {peers}"


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 100_000 else f"{count:,} bytes"


class StreamSession:
    """One stream, from its torrent to the end of its player."""

    def __init__(
        self,
        request: "PlayRequest",
        places: "OwnPlaces",
        output: StreamOutput,
        player: list[str] | None,
        *,
        asks_daemon: bool,
        refused: Sequence[str] = (),
    ) -> None:
        """``refused`` are the given options that a daemon's stream cannot have."""
        self._request, self._places = request, places
        self._output, self._player = output, player
        self._asks_daemon, self._refused = asks_daemon, refused
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
                try:
                    code = await self._play()
                finally:
                    self._output.clear()
            tasks.cancel_scope.cancel()
        return code if self._is_ready else UNFINISHED

    async def _play(self) -> int:
        import anyio

        from torrent_engine.daemon.play.player import play
        from torrent_engine.service.sources import is_magnet, is_url

        if is_magnet(self._request.source) or is_url(self._request.source):
            self._output.waits()
        async with self._opened() as stream:
            self._output.ready(stream)
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
        if self._asks_daemon:
            daemon = await find_daemon(self._places.state_dir / DAEMON_SOCKET)
        if daemon is None:
            async with _own_stream()(self._request, self._places, self._output) as found:
                yield found
            return
        if self._refused:
            names = " and ".join(self._refused)
            raise ConfigError(f"{names}: the daemon that runs serves the stream; add --no-daemon")
        async with daemon.stream(self._request, self._output) as found:
            yield found
