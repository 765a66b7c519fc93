"""Options that several commands share, and the types of their values."""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from torrent_engine.base.ids import PeerAddress
from torrent_engine.cli import sizes

Command = TypeVar("Command", bound=Callable[..., Any])

PREFIX: Final = "TORRENT_ENGINE_"  # of variables of the environment
MAX_PORT: Final = 65_535
MAX_COUNT: Final = 1_000_000
_PORT: Final = re.compile(r"[0-9]{1,5}")
_COUNT: Final = re.compile(r"[0-9]{1,7}")
_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}")


@dataclass(slots=True)
class Settings:
    """What holds for the whole process, whichever command runs."""

    debug: bool = False
    no_color: bool = False

    def turn_on(self, attribute: str) -> None:
        """Set one of them; with debug the program also says on stderr what happens."""
        setattr(self, attribute, True)
        if attribute == "debug":
            _log_to_stderr()


class ParsedType(click.ParamType[object]):
    """A click type around a function that raises ValueError with a sentence.

    What is wrong with a value that ``is_secret`` is told without repeating it.
    """

    def __init__(
        self, name: str, parse: Callable[[str], object], *, is_secret: bool = False
    ) -> None:
        self.name = name
        self._parse = parse
        self._is_secret = is_secret

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


def parse_address(text: str) -> str:
    """Read a literal IPv4 or IPv6 address. Raises ValueError."""
    return str(ipaddress.ip_address(text.strip("[]")))


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
RATE: Final = ParsedType("rate", sizes.parse_rate)
RATIO: Final = ParsedType("ratio", sizes.parse_ratio)
MINUTES: Final = ParsedType("time", lambda text: sizes.parse_duration(text, plain_unit_s=60.0))
SECONDS: Final = ParsedType("time", lambda text: sizes.parse_duration(text, plain_unit_s=1.0))
PEER: Final = ParsedType("host:port", parse_peer)
ADDRESS: Final = ParsedType("address", parse_address)
PORT: Final = ParsedType("port", parse_port)
FOLDER: Final = click.Path(file_okay=False, path_type=Path)


def common_options(command: Command) -> Command:
    """Add --debug and --no-color, which may stand before or behind the command's name."""
    for decorate in (
        _flag("--debug", "debug", "Show tracebacks and log what happens."),
        _flag("--no-color", "no_color", "Print without colours (NO_COLOR does the same)."),
    ):
        command = decorate(command)
    return command


def settings_of(context: click.Context) -> Settings:
    """Return the process's settings; made on first use."""
    return context.ensure_object(Settings)


def _log_to_stderr() -> None:
    import logging

    logging.basicConfig(level=logging.DEBUG, format="%(relativeCreated)8d %(name)s %(message)s")


def _flag(option: str, attribute: str, text: str) -> Callable[[Command], Command]:
    def remember(context: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001
        if value:
            settings_of(context).turn_on(attribute)

    return click.option(option, is_flag=True, expose_value=False, callback=remember, help=text)
