"""Groups of torrents that share limits; kept over restarts, since the engine forgets them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any, Final, Protocol

from torrent_engine.daemon.engine_port.facts import GroupFacts
from torrent_engine.daemon.engine_port.port import EngineControl
from torrent_engine.daemon.transmission.dialect import Call
from torrent_engine.daemon.transmission.errors import NO_GROUP_NAME, invalid
from torrent_engine.daemon.transmission.params import Params
from torrent_engine.daemon.transmission.torrent_actions import NOTHING
from torrent_engine.daemon.transmission.views import KB

MAX_NAME_CHARS: Final = 256
MAX_LIMIT_KB: Final = 100_000_000
GROUPS_KEY: Final = "groups"
NUMBERS_KEY: Final = "group_numbers"
"""Limits that have no effect now."""
_WAYS: Final = {"download": "down", "upload": "up"}


class KeptTable(Protocol):
    """What this interface keeps over restarts: JSON by key."""

    def get(self, key: str) -> Any:  # noqa: ANN401 - JSON
        """Return a value; None if there is none."""

    def put(self, key: str, value: Any) -> None:  # noqa: ANN401 - JSON
        """Set a value."""


def read_group_name(params: Params, name: str) -> str | None:
    """Return the name of a group, "" for none; None if nothing is said. Raises RpcError."""
    text = params.text(name)
    if text is not None and len(text.strip()) > MAX_NAME_CHARS:
        raise invalid(f"{name}: at most {MAX_NAME_CHARS} characters")
    return None if text is None else text.strip()


class Groups:
    """The groups of the engine, and those that it had before."""

    def __init__(
        self, engine: EngineControl, table: KeptTable, named: Callable[[], Iterable[str]]
    ) -> None:
        """``named`` returns the groups that torrents name."""
        self._engine = engine
        self._table = table
        self._named = named

    def apply(self) -> None:
        """Set the groups that are kept in an engine that was opened."""
        for values in (self._table.get(GROUPS_KEY) or {}).values():
            self._engine.set_group(GroupFacts(**values))

    async def set(self, call: Call) -> Mapping[str, Any]:
        """Make or change a group."""
        params = Params(call.params)
        name = read_group_name(params, "name")
        if not name:
            raise invalid(NO_GROUP_NAME)
        old = self._groups().get(name, GroupFacts(name))
        numbers = self._numbers(name)
        honors = params.flag("honors_session_limits")
        group = GroupFacts(
            name,
            _limit(params, "down", old.download_bytes_per_s, numbers),
            _limit(params, "up", old.upload_bytes_per_s, numbers),
            old.honors_session_limits if honors is None else honors,
        )
        self._engine.set_group(group)
        self._keep(GROUPS_KEY, name, asdict(group))
        self._keep(NUMBERS_KEY, name, numbers)
        return NOTHING

    def _groups(self) -> dict[str, GroupFacts]:
        named = {name: GroupFacts(name) for name in self._named() if name}
        return named | {each.name: each for each in self._engine.groups()}

    def _numbers(self, name: str) -> dict[str, int]:
        return dict((self._table.get(NUMBERS_KEY) or {}).get(name, {}))

    def _keep(self, key: str, name: str, value: object) -> None:
        self._table.put(key, {**(self._table.get(key) or {}), name: value})

    async def get(self, call: Call) -> Mapping[str, Any]:
        """Return groups: all, or those that are named."""
        value = call.params.get("group")
        asked = [value] if isinstance(value, str) else value
        groups = sorted(self._groups().values(), key=lambda each: each.name)
        if isinstance(asked, list):
            groups = [each for each in groups if each.name in asked]
        return {"group": [self._told(each) for each in groups]}

    def _told(self, group: GroupFacts) -> dict[str, object]:
        told: dict[str, object] = {
            "honors_session_limits": group.honors_session_limits,
            "name": group.name,
        }
        numbers = self._numbers(group.name)
        for way, name in _WAYS.items():
            rate: int = getattr(group, f"{way}_bytes_per_s")
            told[f"speed_limit_{name}"] = round(rate / KB) if rate else numbers.get(name, 0)
            told[f"speed_limit_{name}_enabled"] = rate > 0
        return told


def _limit(params: Params, name: str, present: int, numbers: dict[str, int]) -> int:
    """Return a limit in bytes a second; a number without effect goes to ``numbers``."""
    number = params.bounded(f"speed_limit_{name}", 0, MAX_LIMIT_KB)
    is_on = params.flag(f"speed_limit_{name}_enabled")
    is_on = present > 0 if is_on is None else is_on
    shown = round(present / KB) if present else numbers.get(name, 0)
    number = shown if number is None else number
    numbers[name] = number
    return max(number, 1) * KB if is_on else 0
