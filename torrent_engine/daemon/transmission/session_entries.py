"""The kinds of fields of the session."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torrent_engine.daemon.settings.model import SPECS
from torrent_engine.daemon.transmission.errors import ErrorCode, RpcError, file_only, invalid
from torrent_engine.daemon.transmission.params import Params
from torrent_engine.daemon.transmission.session_facts import SessionChanges, SessionFacts

Tell = Callable[[SessionFacts], object]


def checked(key: str, name: str, value: object) -> Any:  # noqa: ANN401 - of the setting's type
    """Return a value of a setting. Raises RpcError if it cannot be one."""
    try:
        return SPECS[key].read(value)
    except ValueError as error:
        raise invalid(f"{name}: {error}") from None


def read_as(params: Params, name: str, kind: type) -> Any:  # noqa: ANN401 - of that type
    """Return a parameter of the type of a setting; None if it is not there. Raises RpcError."""
    readers: dict[type, Callable[[str], object]] = {
        bool: params.flag,
        int: params.integer,
        float: params.number,
        str: params.text,
        tuple: params.texts,
    }
    return readers[kind](name)


def read_path(params: Params, name: str, text: str) -> str | None:
    """Return an absolute path; "" stays. Raises RpcError with ``text`` for another one."""
    path = params.text(name)
    if path and not path.startswith("/"):
        raise RpcError(ErrorCode.PATH_NOT_ABSOLUTE, text)
    return path


@dataclass(frozen=True, slots=True)
class Plain:
    """A field that is a setting."""

    name: str
    key: str

    @property
    def names(self) -> tuple[str, ...]:
        """The field."""
        return (self.name,)

    def tell(self, facts: SessionFacts) -> dict[str, Any]:
        """Return the value."""
        return {self.name: facts.values[self.key]}

    def change(self, params: Params, facts: SessionFacts, changes: SessionChanges) -> None:
        """Read a new value."""
        value = read_as(params, self.name, SPECS[self.key].kind)
        if value is not None and value != facts.values[self.key]:
            changes.settings[self.key] = checked(self.key, self.name, value)


@dataclass(frozen=True, slots=True)
class Switched:
    """A switch and a number that are one setting: ``off`` while the switch is off.

    The number is kept then.
    """

    switch: str
    name: str
    key: str
    off: Any
    """The value that switches it off: 0 or None."""
    default: Any
    """The number before one is known."""

    @property
    def names(self) -> tuple[str, ...]:
        """Both fields."""
        return (self.switch, self.name)

    def tell(self, facts: SessionFacts) -> dict[str, Any]:
        """Return the switch and the number."""
        value = facts.values[self.key]
        is_on = value != self.off
        return {self.switch: is_on, self.name: value if is_on else self._kept(facts)}

    def _kept(self, facts: SessionFacts) -> Any:  # noqa: ANN401 - of the setting's type
        return facts.kept.get(self.name, self.default)

    def change(self, params: Params, facts: SessionFacts, changes: SessionChanges) -> None:
        """Read a new position of the switch and a new number."""
        is_on, number = params.flag(self.switch), read_as(params, self.name, SPECS[self.key].kind)
        if is_on is None and number is None:
            return
        told = self.tell(facts)
        is_on = bool(told[self.switch]) if is_on is None else is_on
        number = told[self.name] if number is None else checked(self.key, self.name, number)
        if is_on and number == self.off:
            raise invalid(f"{self.name}: more than {self.off} is needed")
        if {self.switch: is_on, self.name: number} == told:
            return
        changes.settings[self.key] = number if is_on else self.off
        if not is_on:
            changes.kept[self.name] = number


@dataclass(frozen=True, slots=True)
class ReadOnly:
    """A field that is told only; what clients send for it is ignored."""

    name: str
    tell_value: Tell

    @property
    def names(self) -> tuple[str, ...]:
        """The field."""
        return (self.name,)

    def tell(self, facts: SessionFacts) -> dict[str, Any]:
        """Return the value."""
        return {self.name: self.tell_value(facts)}

    def change(self, params: Params, facts: SessionFacts, changes: SessionChanges) -> None:
        """Ignore it: clients write back all that they read."""


@dataclass(frozen=True, slots=True)
class FileOnly:
    """A field that no interface may change; another value than the present one is refused."""

    name: str
    tell_value: Tell

    @property
    def names(self) -> tuple[str, ...]:
        """The field."""
        return (self.name,)

    def tell(self, facts: SessionFacts) -> dict[str, Any]:
        """Return the value."""
        return {self.name: self.tell_value(facts)}

    def change(self, params: Params, facts: SessionFacts, changes: SessionChanges) -> None:
        """Raise RpcError for another value."""
        if self.name in params and params.raw(self.name) != self.tell_value(facts):
            raise invalid(file_only(self.name))


@dataclass(frozen=True, slots=True)
class Special:
    """Fields with rules of their own."""

    names: tuple[str, ...]
    tell: Callable[[SessionFacts], dict[str, Any]]
    change: Callable[[Params, SessionFacts, SessionChanges], None]
    notes: str = field(default="", compare=False)
