"""Options that several commands share, and the types of their values."""

import ipaddress
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from torrent_engine.base.config import MAX_TORRENT_BYTES
from torrent_engine.base.ids import PeerAddress
from torrent_engine.cli.output import sizes
from torrent_engine.cli.output.settings import ProcessSettings

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Command = TypeVar("Command", bound=Callable[..., Any])
CommandOptions = dict[str, Any]
"""The options of a command as click passes them, by name."""

PREFIX: Final = "TORRENT_ENGINE_"  # of variables of the environment
MAX_PORT: Final = 65_535
MAX_COUNT: Final = 1_000_000
_PORT: Final = re.compile(r"[0-9]{1,5}")
_COUNT: Final = re.compile(r"[0-9]{1,7}")
_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}")


class ParsedType(click.ParamType[object]):
    """A click type around a function that raises ValueError with a sentence.

    What is wrong with a value that ``is_secret`` is told without repeating it. A shell completes a
    value that ``is_path`` with the names of files.
    """

    def __init__(
        self,
        name: str,
        parse: Callable[[str], object],
        *,
        is_secret: bool = False,
        is_path: bool = False,
    ) -> None:
        self.name = name
        self._parse = parse
        self._is_secret = is_secret
        self._is_path = is_path

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> object:
        """Parse a string; what is no string is a default and passes."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error) if self._is_secret else f"{value!r}: {error}", param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> "list[CompletionItem]":
        """Return what a shell shows for a value that has begun."""
        del ctx, param
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type="file")] if self._is_path else []


def parse_peer(text: str) -> PeerAddress:
    """Read ``HOST:PORT`` or ``[IPV6]:PORT``. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    is_v6 = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if is_v6 else host
    if not colon or not _is_host(host, is_v6=is_v6):
        raise ValueError("a peer is HOST:PORT, or [IPV6]:PORT")
    if (number := parse_port(port)) == 0:
        raise ValueError("a peer's port is a number from 1 to 65535")
    return PeerAddress(host, number)


def parse_port(text: str) -> int:
    """Read a port to listen on, 0 to 65535. Raises ValueError."""
    if _PORT.fullmatch(text) is None or int(text) > MAX_PORT:
        raise ValueError("a port is a number from 0 to 65535")
    return int(text)


def parse_count(text: str, *, at_least: int = 0) -> int:
    """Read a whole number. Raises ValueError."""
    number = int(text) if _COUNT.fullmatch(text) else -1
    if not at_least <= number <= MAX_COUNT:
        raise ValueError(f"a whole number from {at_least} to {MAX_COUNT:,} is needed")
    return number


def parse_torrent_size(text: str) -> int:
    """Read how long a .torrent may be, in bytes. Raises ValueError."""
    size = sizes.parse_size(text)
    if not 0 < size <= MAX_TORRENT_BYTES:
        raise ValueError(f"a size from 1 to {sizes.format_size(MAX_TORRENT_BYTES)} is needed")
    return size


def parse_address(text: str) -> str:
    """Read a literal IPv4 or IPv6 address. Raises ValueError."""
    return str(ipaddress.ip_address(text.strip("[]")))


def parse_source(text: str) -> str:
    """Read what names a torrent; raises ValueError for nothing at all, as of an unset variable."""
    if not text.strip():
        raise ValueError("is empty; a TORRENT is a path, an http(s) URL, a magnet link, or -")
    return text


class FilledPath(click.Path):
    """A path that is not empty: click takes an unset variable for the current folder."""

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:  # noqa: ANN401
        """Refuse what is empty, then do as click does."""
        if value == "":
            self.fail("'': is empty; . is the current folder", param, ctx)
        return super().convert(value, param, ctx)


def parse_program(text: str) -> Path:
    """Read the path of a program, or its name in PATH; return it absolute. Raises ValueError."""
    path = os.path.expanduser(text) if os.sep in text else shutil.which(text)  # noqa: PTH111
    if not path or not text:
        raise ValueError("there is no such program; give its path")
    if not os.path.isfile(path):  # noqa: PTH113
        raise ValueError("is no file")
    if not os.access(path, os.X_OK):
        raise ValueError("is not executable")
    return Path(path).absolute()


def parse_interval(text: str) -> float:
    """Read a time between two requests, in seconds. Raises ValueError for less than a second."""
    seconds = sizes.parse_duration(text, plain_unit_s=1.0)
    if seconds < 1.0:
        raise ValueError("a second is the shortest time")
    return seconds


def _is_host(host: str, *, is_v6: bool) -> bool:
    if not is_v6:
        return _HOST.fullmatch(host) is not None
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False


COUNT: Final = ParsedType("count", parse_count)
POSITIVE_COUNT: Final = ParsedType("count", lambda text: parse_count(text, at_least=1))
SIZE: Final = ParsedType("size", sizes.parse_size)
TORRENT_SIZE: Final = ParsedType("size", parse_torrent_size)
RATE: Final = ParsedType("rate", sizes.parse_rate)
RATIO: Final = ParsedType("ratio", sizes.parse_ratio)
MINUTES: Final = ParsedType("time", lambda text: sizes.parse_duration(text, plain_unit_s=60.0))
INTERVAL: Final = ParsedType("time", parse_interval)
SECONDS: Final = ParsedType("time", lambda text: sizes.parse_duration(text, plain_unit_s=1.0))
PEER: Final = ParsedType("host:port", parse_peer)
ADDRESS: Final = ParsedType("address", parse_address)
PORT: Final = ParsedType("port", parse_port)
PROGRAM: Final = ParsedType("program", parse_program)
FOLDER: Final = FilledPath(file_okay=False, path_type=Path)
SOURCE: Final = ParsedType("torrent", parse_source, is_path=True)


def common_options(command: Command) -> Command:
    """Add what every command takes, before or behind its name: logs, colours, configuration."""
    for decorate in (
        *_LOG_OPTIONS,
        _config_option,
        _flag("--debug", "debug", "Show tracebacks and log to standard error."),
        _flag("--no-color", "no_color", "Print without colours (so does the variable NO_COLOR)."),
    ):
        command = decorate(command)
    return command


def _config_option(command: Command) -> Command:
    return click.option(
        "--config",
        type=FilledPath(path_type=Path),
        metavar="FILE",
        expose_value=False,
        is_eager=True,  # before options that it has values for
        callback=_take_defaults,
        help="Configuration file with values for options (or TORRENT_ENGINE_CONFIG).  [default:"
        " torrent_engine/config.toml in the user's configuration folder, such as ~/.config]",
    )(command)


def _take_defaults(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Give a command's options the values of the configuration file."""
    settings = settings_of(context)
    settings.config_file = path or settings.config_file
    if context.parent is None or context.resilient_parsing:
        return  # the program itself, or a shell that completes words
    from torrent_engine.cli.options.config_file import defaults_of

    context.default_map = defaults_of(context, settings.config_file)


def _open_log(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Log to a file until the command ends; what the command line says goes before its table."""
    settings = settings_of(context)
    if path is None or settings.log_file is not None or context.resilient_parsing:
        return
    from torrent_engine.cli.options.log_file import open_log

    context.call_on_close(open_log(path))
    settings.log_file = path
    _set_log_level(settings)


def _take_log_level(context: click.Context, _: click.Parameter, level: str | None) -> None:
    settings = settings_of(context)
    if level is not None:
        settings.log_level = level.upper()
        _set_log_level(settings)


def _set_log_level(settings: ProcessSettings) -> None:
    """Choose what is logged; with --debug it is all."""
    import logging

    if not settings.debug:
        logging.getLogger("torrent_engine").setLevel(settings.log_level)


_LOG_OPTIONS: Final = (
    click.option(
        "--log",
        "log_file",
        type=FilledPath(path_type=Path),
        metavar="FILE",
        expose_value=False,
        callback=_open_log,
        help="Append log records to this file; it is reopened after log rotation.  [default: none]",
    ),
    click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
        metavar="LEVEL",
        expose_value=False,
        callback=_take_log_level,
        help="Lowest level that is logged: debug, info, warning or error.  [default: info]",
    ),
)


def settings_of(context: click.Context) -> ProcessSettings:
    """Return the process's settings; made on first use."""
    return context.ensure_object(ProcessSettings)


def _flag(option: str, attribute: str, text: str) -> Callable[[Command], Command]:
    def remember(context: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001
        if value:
            settings_of(context).turn_on(attribute)

    return click.option(option, is_flag=True, expose_value=False, callback=remember, help=text)
