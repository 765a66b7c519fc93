"""Texts that a program keeps with a torrent: labels, a category, whatever it likes."""

from collections.abc import Mapping
from typing import Final, TypeAlias

from torrent_engine.base.errors import ConfigError
from torrent_engine.engine.runs.facts import shared

MAX_BYTES: Final = 4_096
KeptTexts: TypeAlias = tuple[tuple[str, str], ...]
"""Names and texts, sorted by name."""


def checked_user_data(data: Mapping[str, str]) -> KeptTexts:
    """Return the texts as they are kept; torrents with the same share them.

    Raises TypeError if names or values are no texts, ConfigError if they are longer than 4 KiB
    together or no Unicode.
    """
    if not isinstance(data, Mapping):
        raise TypeError(f"user_data: must be a mapping, not {data!r:.80}")
    for text in (*data.keys(), *data.values()):
        if not isinstance(text, str):
            raise TypeError(f"user_data: must have texts only, not {text!r:.80}")
    try:
        size = sum(len(name.encode()) + len(text.encode()) for name, text in data.items())
    except UnicodeEncodeError as error:
        raise ConfigError(f"user_data: no Unicode: {error.reason}") from None
    if size > MAX_BYTES:
        raise ConfigError(f"user_data: {size} bytes; at most {MAX_BYTES} are kept")
    return shared(tuple(sorted(data.items())))


def read_user_data(value: object) -> KeptTexts:
    """Return the texts of a record; none if they are no such texts."""
    if not isinstance(value, dict):
        return ()
    try:
        return checked_user_data(value)
    except (TypeError, ConfigError):
        return ()
