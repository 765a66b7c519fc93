"""What is known of one setting beside its value: when it applies, its limits, its meaning."""

import math
import types
import typing
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum
from typing import Any, Final
from unicodedata import category

_METADATA: Final = "setting"
_TRUE: Final = frozenset({"true", "yes", "on", "1"})
MAX_INTEGER: Final = 2**53
"""Greater whole numbers are not exact in the JSON of most programs."""
_UNWRITABLE: Final = frozenset({"Cc", "Cs"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})


class Applies(StrEnum):
    """When a changed value takes effect."""

    LIVE = "live"
    """At once."""
    RESTART = "restart"
    """After the engine was closed and opened again inside the process, which happens at once."""
    PROCESS = "process"
    """At the next start of the process."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """Metadata of one setting."""

    text: str
    applies: Applies
    is_file_only: bool
    """Whether no interface may change it."""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    is_secret: bool = False


def setting(  # noqa: PLR0913 - one keyword for each part of the meaning
    default: Any,  # noqa: ANN401 - of the field's type
    text: str,
    applies: Applies = Applies.LIVE,
    *,
    file_only: bool = False,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Sequence[str] = (),
    secret: bool = False,
) -> Any:  # noqa: ANN401
    """Return a field of a section's dataclass."""
    meaning = Meaning(text, applies, file_only, minimum, maximum, tuple(choices), secret)
    return field(default=default, metadata={_METADATA: meaning})


@dataclass(frozen=True, slots=True)
class Spec:
    """One setting: its key, its type, its default and its meaning."""

    key: str
    kind: type
    """bool, int, float, str or tuple (of texts)."""
    is_optional: bool
    default: Any
    meaning: Meaning

    def read(self, value: object) -> Any:  # noqa: ANN401
        """Return a value of a file or of JSON in its own type. Raises ValueError."""
        if value is None and self.is_optional:
            return None
        converted = self._converted(value)
        self._check(converted)
        return converted

    def read_text(self, text: str) -> Any:  # noqa: ANN401
        """Return a value of the environment or an option. Raises ValueError with a sentence."""
        plain = text.strip()
        if self.is_optional and plain.lower() in {"", "none"}:
            return None
        if self.kind is bool:
            return self.read(_flag(plain))
        if self.kind in {int, float}:
            try:
                return self.read(self.kind(plain.replace("_", "")))
            except ValueError as error:
                raise ValueError(_clear(error) or f"{self._kind_name} is needed") from None
        if self.kind is tuple:
            return self.read([part.strip() for part in plain.split(",") if part.strip()])
        return self.read(text)

    def _converted(self, value: object) -> Any:  # noqa: ANN401
        if self.kind is tuple:
            is_list = isinstance(value, list | tuple)
            if not is_list or not all(isinstance(each, str) for each in value):  # type: ignore[attr-defined]
                raise ValueError("a list of texts is needed")
            return tuple(value)  # type: ignore[arg-type]
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if self.kind is float and is_number:
            return float(_whole(value))
        if type(value) is not self.kind:
            raise ValueError(f"{self._kind_name} is needed")
        return value

    @property
    def _kind_name(self) -> str:
        names = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
        return names.get(self.kind, "a list of texts")

    def _check(self, value: Any) -> None:  # noqa: ANN401
        meaning = self.meaning
        if meaning.choices and value not in meaning.choices:
            raise ValueError(f"one of {', '.join(map(repr, meaning.choices))} is needed")
        if isinstance(value, int | float) and not isinstance(value, bool):
            low, high = meaning.minimum, meaning.maximum
            if low is not None and not value >= low:
                raise ValueError(f"{low:g} or more is needed")
            if high is not None and value > high:
                raise ValueError(f"{high:g} or less is needed")
            _whole(value)
            if not math.isfinite(value):
                raise ValueError("a finite number is needed")


def _whole(value: Any) -> Any:  # noqa: ANN401
    """Return a number that every program can read back, or one with a fraction."""
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise ValueError(f"{MAX_INTEGER} or less is needed")
    return value


def check_text(value: object) -> None:
    """Raise ValueError for a text, or a list of them, that no file and no answer could have.

    Only requests are looked at: paths of the command line may have bytes that are no text.
    """
    for each in value if isinstance(value, list | tuple) else (value,):
        if isinstance(each, str) and any(category(character) in _UNWRITABLE for character in each):
            raise ValueError("a text without control characters is needed")


def _flag(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError("true or false is needed")


def _clear(error: ValueError) -> str:
    """Return a message of ours; that of int() and float() is none."""
    text = str(error)
    return text if text.endswith("is needed") else ""


def specs_of(section: str, kind: type) -> list[Spec]:
    """Return the settings of a section's dataclass."""
    hints = typing.get_type_hints(kind)
    return [
        _spec(f"{section}.{each.name}", hints[each.name], each.default, each.metadata[_METADATA])
        for each in fields(kind)
    ]


def _spec(key: str, hint: Any, default: object, meaning: Meaning) -> Spec:  # noqa: ANN401
    if default is MISSING:
        raise TypeError(f"{key}: has no default")
    is_optional = False
    if isinstance(hint, types.UnionType):
        is_optional = type(None) in hint.__args__
        hint = next(each for each in hint.__args__ if each is not type(None))
    kind = typing.get_origin(hint) or hint
    return Spec(key, kind, is_optional, default, meaning)
