"""Values of requests at the control socket.

All functions raise ConfigError, which names the value.
"""

from collections.abc import Mapping
from typing import Any, Final

from torrent_engine.base.errors import ConfigError
from torrent_engine.base.ids import SHA1_BYTES, InfoHash

MAX_TEXT_CHARS: Final = 4_096  # ours: of a path, a list of files or a label
MAX_TEXTS: Final = 100  # ours: of lists of files, or labels
MAX_QUEUE_PRIORITY: Final = 1_000_000  # ours
MAX_LIMIT: Final = 2**40  # ours: of bytes per second


def read_object(value: object, name: str, known: set[str]) -> Mapping[str, Any]:
    """Return an object with known names only."""
    if not isinstance(value, dict):
        raise ConfigError(f"{name}: an object is needed")
    if unknown := sorted(map(str, set(value) - known)):
        raise ConfigError(f"{name}: {unknown[0][:40]!r} is not known")
    return value


def read_list(value: object, name: str, limit: int) -> list[object]:
    """Return an array of at most ``limit``."""
    if not isinstance(value, list) or len(value) > limit:
        raise ConfigError(f"{name}: an array of at most {limit} is needed")
    return value


def read_info_hash(value: object) -> InfoHash:
    """Return an info-hash of 40 hexadecimal digits."""
    try:
        data = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        data = b""
    if len(data) != SHA1_BYTES:
        raise ConfigError("ids: an info-hash is 40 hexadecimal digits")
    return InfoHash(data)


def read_flag(value: object, name: str) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name}: true or false is needed")
    return value


def read_optional_flag(value: object, name: str) -> bool | None:
    """Return true, false or None."""
    if value is not None and not isinstance(value, bool):
        raise ConfigError(f"{name}: true or false is needed")
    return value


def read_text(value: object, name: str) -> str:
    """Return a text that can be a path."""
    if not isinstance(value, str) or len(value) > MAX_TEXT_CHARS or "\0" in value:
        raise ConfigError(f"{name}: a text of at most {MAX_TEXT_CHARS} characters is needed")
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise ConfigError(f"{name}: is no text") from error
    return value


def read_texts(value: object, name: str) -> tuple[str, ...]:
    """Return an array of texts."""
    return tuple(read_text(each, name) for each in read_list(value, name, MAX_TEXTS))


def read_priority(value: object) -> int:
    """Return a priority in the queue."""
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MAX_QUEUE_PRIORITY:
        raise ConfigError(f"priority: a number up to {MAX_QUEUE_PRIORITY:,} is needed")
    return value


def read_limit(value: object, name: str) -> int | None:
    """Return a number from 0, or None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_LIMIT:
        raise ConfigError(f"{name}: a number from 0 to {MAX_LIMIT:,} is needed")
    return value
