"""Typed reading of parameters.

Clients leave out what they do not set; some send null for it, which is read the same. Whole numbers
may come as 3.0, flags as 0 and 1.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeVar

from torrent_engine.daemon.transmission.errors import invalid

ValueT = TypeVar("ValueT")
MAX_ITEMS: Final = 1_000_000  # ours: of one list
MAX_INTEGER: Final = 2**53


class Params:
    """The parameters of one call. Every reader returns None for what is not there.

    Readers raise RpcError for a value of another type.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __contains__(self, name: object) -> bool:
        """Return whether there is a value."""
        return isinstance(name, str) and self._values.get(name) is not None

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names that have a value."""
        return (name for name in self._values if name in self)

    def raw(self, name: str) -> object:
        """Return a value as it came."""
        return self._values.get(name)

    def _read(self, name: str, convert: Callable[[object], ValueT | None], kind: str) -> Any:  # noqa: ANN401
        value = self._values.get(name)
        if value is None:
            return None
        converted = convert(value)
        if converted is None:
            raise invalid(f"{name}: {kind} is needed")
        return converted

    def integer(self, name: str) -> int | None:
        """Return a whole number."""
        found: int | None = self._read(name, as_integer, "a whole number")
        return found

    def number(self, name: str) -> float | None:
        """Return a finite number."""
        found: float | None = self._read(name, as_number, "a number")
        return found

    def flag(self, name: str) -> bool | None:
        """Return true or false."""
        found: bool | None = self._read(name, as_flag, "true or false")
        return found

    def text(self, name: str) -> str | None:
        """Return a text."""
        found: str | None = self._read(name, as_text, "a text")
        return found

    def texts(self, name: str) -> list[str] | None:
        """Return a list of texts."""
        found: list[str] | None = self._read(name, _list_of(as_text), "a list of texts")
        return found

    def integers(self, name: str) -> list[int] | None:
        """Return a list of whole numbers."""
        found: list[int] | None = self._read(name, _list_of(as_integer), "a list of whole numbers")
        return found

    def items(self, name: str) -> list[Any] | None:
        """Return a list of anything."""
        found: list[Any] | None = self._read(
            name, lambda value: value if isinstance(value, list) else None, "a list"
        )
        return found

    def bounded(self, name: str, low: int, high: int) -> int | None:
        """Return a whole number within bounds."""
        value = self.integer(name)
        if value is not None and not low <= value <= high:
            raise invalid(f"{name}: a whole number from {low} to {high} is needed")
        return value


def as_integer(value: object) -> int | None:
    """Return a whole number; None if it is none."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and abs(value) <= MAX_INTEGER:
        return value
    return None


def as_number(value: object) -> float | None:
    """Return a finite number; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > MAX_INTEGER:
        return None
    return float(value) if math.isfinite(value) else None


def as_flag(value: object) -> bool | None:
    """Return true or false; None if it is neither."""
    return bool(value) if isinstance(value, int) and value in {0, 1} else None


def as_text(value: object) -> str | None:
    """Return a text without NUL and lone surrogates; None if it is none."""
    if not isinstance(value, str) or "\0" in value:
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return None
    return value


def _list_of(convert: Callable[[object], ValueT | None]) -> Callable[[object], list[ValueT] | None]:
    def read(value: object) -> list[ValueT] | None:
        if not isinstance(value, list) or len(value) > MAX_ITEMS:
            return None
        found = [convert(each) for each in value]
        return None if any(each is None for each in found) else found  # type: ignore[return-value]

    return read
