"""Validation of values from callers: configurations, ports, paths."""

import math
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import MISSING, Field, fields
from enum import Enum
from functools import cache, partial
from os import PathLike
from types import UnionType
from typing import (
    Annotated,
    Any,
    Final,
    NamedTuple,
    TypeAlias,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from torrent_engine.base.errors import ConfigError

MAX_PORT: Final = 0xFFFF

_Check: TypeAlias = Callable[[str, Any], Any]
"""Takes a field's name and value, returns the value to keep; raises TypeError or ConfigError."""


class Range(NamedTuple):
    """Range of valid numbers, both ends included."""

    first: float = 0
    last: float = math.inf


Count: TypeAlias = Annotated[int, Range(1)]
"""A number of at least 1."""
Port: TypeAlias = Annotated[int, Range(0, MAX_PORT)]
"""A port to listen on; 0 lets the system choose."""
PeerPort: TypeAlias = Annotated[int, Range(1, MAX_PORT)]
Share: TypeAlias = Annotated[float, Range(0, 1)]
Priority: TypeAlias = Annotated[int, Range(0, 7)]
_PRIORITIES: Final = bytes(range(8))
ANY_NUMBER: Final = Range(-math.inf)


class Checked:
    """Base of the configuration dataclasses, which validates values by the types of the fields.

    Numbers must not be negative or NaN; lists are converted to tuples. Raises TypeError for a value
    of a wrong type and ConfigError, a ValueError, for an invalid one; the message has the field
    and the value.
    """

    __slots__ = ()

    def __post_init__(self) -> None:
        """Validate every value that is not the default."""
        for name, default, check in _rules_of(cast("Any", type(self))):
            value = getattr(self, name)
            if value is not default:
                kept = check(f"{type(self).__name__}.{name}", value)
                if kept is not value:
                    object.__setattr__(self, name, kept)
        self.check_together()

    def check_together(self) -> None:
        """Raise ConfigError if values contradict each other; for subclasses."""

    def __repr__(self) -> str:
        """Return the fields that differ from the defaults, without the values of secret ones."""
        shown: list[str] = []
        for each in _fields_of(cast("Any", type(self))):
            value = getattr(self, each.name)
            if value != _default_of(each):
                shown.append(f"{each.name}={value!r}" if each.repr else f"{each.name}=...")
        return f"{type(self).__name__}({', '.join(shown)})"


def check_number(name: str, value: object, allowed: Range = Range()) -> None:  # noqa: B008 - frozen
    """Raise TypeError if a value is not an int, ConfigError if it is out of range."""
    _int(allowed, name, value)


def check_port(name: str, value: object) -> None:
    """Raise TypeError or ConfigError if a value is not a port from 1 to 65535."""
    _int(Range(1, MAX_PORT), name, value)


def check_text(name: str, value: object) -> None:
    """Raise TypeError if a value is not a string."""
    _instance((str,), name, value)


def check_path(name: str, value: object) -> None:
    """Raise TypeError if a value is not a path of text, ConfigError if it cannot be kept.

    A path has no NUL and, with the folder that a relative one is in, is UTF-8: it is kept and shown
    as text in databases, side files, interfaces and logs.
    """
    if not isinstance(value, str | PathLike):
        raise _wrong_type(name, "a path", value)
    if isinstance(os.fspath(value), bytes):
        raise _wrong_type(name, "a path of text", value)
    if "\0" in str(value):
        raise ConfigError(f"{name}: {value!r} has a NUL in it")
    text = str(value)
    with suppress(OSError):  # the current folder may be gone
        text = os.path.abspath(text)  # noqa: PTH100 - the core needs no pathlib
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ConfigError(f"{name}: {text!r} is not UTF-8") from None


def check_order(config: object, least: str, most: str) -> None:
    """Raise ConfigError if field ``least`` of a configuration is greater than field ``most``."""
    first, last = getattr(config, least), getattr(config, most)
    if first > last:
        raise ConfigError(
            f"{type(config).__name__}.{least}: {first!r} is more than {most} {last!r}"
        )


# -- rules from types -------------------------------------------------------------------------


@cache
def _rules_of(cls: Any) -> tuple[tuple[str, object, _Check], ...]:  # noqa: ANN401
    hints = get_type_hints(cls, include_extras=True)
    return tuple((each.name, each.default, _check_of(hints[each.name])) for each in _fields_of(cls))


@cache
def _fields_of(cls: Any) -> tuple[Field[Any], ...]:  # noqa: ANN401 - a dataclass
    return fields(cls)


def _default_of(field: Field[Any]) -> object:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _check_of(hint: Any) -> _Check:  # noqa: ANN401 - whatever a field is annotated with
    """Return the function that validates values of one type."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return partial(_int if arguments[0] is int else _float, arguments[1])
    if origin in {Union, UnionType}:
        return _one_of_check(arguments)
    if origin is tuple:
        return _tuple_check(arguments)
    return _callable if origin is not None else _plain_check(hint)


def _plain_check(hint: type) -> _Check:
    if hint is int or hint is float:
        return partial(_int if hint is int else _float, Range())
    return partial(_enum, hint) if issubclass(hint, Enum) else partial(_instance, (hint,))


def _one_of_check(choices: tuple[Any, ...]) -> _Check:
    left = [each for each in choices if each is not type(None)]
    if any(get_origin(each) is PathLike for each in left):
        check: _Check = _path
    else:
        check = _check_of(left[0])
    return partial(_optional, check) if len(left) < len(choices) else check


def _tuple_check(arguments: tuple[Any, ...]) -> _Check:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        check = _check_of(arguments[0])
        return partial(_numbers if arguments[0] is Priority else _items, check)
    return partial(_record, tuple(map(_check_of, arguments)))


def _optional(check: _Check, name: str, value: object) -> object:
    return None if value is None else check(name, value)


def _callable(name: str, value: object) -> object:
    if not callable(value):
        raise _wrong_type(name, "a function", value)
    return value


def _int(allowed: Range, name: str, value: Any) -> int:  # noqa: ANN401 - it is checked here
    if type(value) is not int and (isinstance(value, bool) or not isinstance(value, int)):
        raise _wrong_type(name, "a whole number", value)
    return int(_in_range(allowed, name, value))


def _float(allowed: Range, name: str, value: Any) -> float:  # noqa: ANN401 - it is checked here
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong_type(name, "a number", value)
    if value != value:
        raise ConfigError(f"{name}: {value!r} is no number")
    return _in_range(allowed, name, value)


def _in_range(allowed: Range, name: str, value: float) -> float:
    first, last = allowed
    if value < first:
        fault = "is negative" if value < 0 else f"is less than {first:g}"
        raise ConfigError(f"{name}: {value!r} {fault}")
    if value > last:
        raise ConfigError(f"{name}: {value!r} is more than {last:g}")
    return value


def _items(check: _Check, name: str, value: Any) -> tuple[Any, ...]:  # noqa: ANN401 - checked here
    if not isinstance(value, tuple | list):
        raise _wrong_type(name, "a tuple", value)
    kept = tuple([check(f"{name}[{at}]", item) for at, item in enumerate(value)])
    return value if isinstance(value, tuple) and kept == value else kept


def _numbers(check: _Check, name: str, value: Any) -> tuple[Any, ...]:  # noqa: ANN401 - checked here
    """Validate file priorities; fast, because there may be a million files."""
    try:
        is_right = type(value) is tuple and not bytes(value).strip(_PRIORITIES)
    except (TypeError, ValueError):
        is_right = False
    return value if is_right else _items(check, name, value)


def _record(checks: tuple[_Check, ...], name: str, value: Any) -> tuple[Any, ...]:  # noqa: ANN401
    if not isinstance(value, tuple | list) or len(value) != len(checks):
        raise _wrong_type(name, f"a tuple of {len(checks)}", value)
    kept = tuple([check(name, item) for check, item in zip(checks, value, strict=True)])
    return value if isinstance(value, tuple) and kept == value else kept


def _enum(kind: type[Enum], name: str, value: object) -> Enum:
    try:
        return value if isinstance(value, kind) else kind(value)
    except ValueError:
        choices = ", ".join(repr(each.value) for each in kind)
        raise ConfigError(f"{name}: {value!r} is none of {choices}") from None


def _path(name: str, value: object) -> object:
    check_path(name, value)
    return os.fspath(value)  # type: ignore[call-overload] # it was checked


def _instance(kinds: tuple[type, ...], name: str, value: object) -> object:
    if not isinstance(value, kinds):
        raise _wrong_type(name, " or ".join(_name_of(kind) for kind in kinds), value)
    return value


def _name_of(kind: type) -> str:
    return {bool: "True or False", str: "a string"}.get(kind, f"a {kind.__name__}")


def _wrong_type(name: str, wanted: str, value: object) -> TypeError:
    return TypeError(f"{name}: must be {wanted}, not {value!r:.80}")
