"""The module ``os`` with a call to the system that fails, or is the last of its process."""

import os
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import pytest

_NAMES = ["link", "replace", "unlink", "mkdir", "rmdir", "fsync", "ftruncate", "utime"]
COUNTED = frozenset([*_NAMES, "open", "pwritev", "preadv", "lseek", "fstat", "stat"])


class Killed(BaseException):
    """The process is dead: nothing that it still does has an effect."""


class FaultyOs:
    """Raises what ``fault`` returns at the call of number ``at``, and after it if that lasts.

    ``refused`` is what always fails, as on a file system that cannot do it: names and errnos.
    """

    def __init__(
        self,
        at: int,
        fault: Callable[[], BaseException],
        *,
        lasts: bool,
        refused: Mapping[str, int] | None = None,
    ) -> None:
        self.calls: list[str] = []
        self.is_on = False
        self._at = at
        self._fault = fault
        self._lasts = lasts
        self._refused = refused or {}

    @property
    def has_struck(self) -> bool:
        """Whether there were so many calls."""
        return len(self.calls) > self._at

    def put_into(self, monkeypatch: pytest.MonkeyPatch, *modules: ModuleType) -> None:
        """Let modules use this in the place of ``os``."""
        for module in modules:
            monkeypatch.setattr(module, "os", self)

    def check(self, name: str) -> None:
        """Count a call; raise if it is the one."""
        if not self.is_on:
            return
        number = len(self.calls)
        self.calls.append(name)
        if number == self._at or (self._lasts and number > self._at):
            raise self._fault()

    def __getattr__(self, name: str) -> Any:
        """Return what ``os`` has, watched if it asks the system for something."""
        real = getattr(os, name)
        if name not in COUNTED:
            return real

        def call(*arguments: Any, **options: Any) -> Any:
            self.check(name)
            if name in self._refused:
                raise OSError(self._refused[name], os.strerror(self._refused[name]))
            return real(*arguments, **options)

        return call
