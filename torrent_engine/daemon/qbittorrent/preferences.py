"""Settings of the daemon by their names in this protocol: ``app/preferences``."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from torrent_engine.daemon.engine_port.facts import NetworkFacts
from torrent_engine.daemon.qbittorrent.errors import bad_request
from torrent_engine.daemon.qbittorrent.transfer import kilobytes
from torrent_engine.daemon.qbittorrent.transport import (
    WebApiCall,
    WebApiResult,
    WebApiRoute,
    reads,
    writes,
)
from torrent_engine.daemon.qbittorrent.web_api_parts import WebApiParts
from torrent_engine.daemon.security.principals import Scope
from torrent_engine.daemon.settings.engine_config import KB, download_folder
from torrent_engine.daemon.settings.model import DaemonSettings

MAX_JSON_CHARS: Final = 200_000
UNLIMITED: Final = -1
DEFAULT_DOWNLOADS: Final = 5
_ENDS: Final = ("stop", "remove", "super_seed", "remove_with_files")
"""What happens at the end of seeding, by the protocol's number."""
_ENCRYPTIONS: Final = {"preferred": 0, "allowed": 0, "required": 1, "disabled": 2}
_POLICIES: Final = ("preferred", "required", "disabled")
_DAYS: Final = (127, 62, 65, 2, 4, 8, 16, 32, 64, 1)
"""Bits of days by the protocol's number: all, weekdays, weekend, Monday to Sunday."""
_HOUR_MIN: Final = 60


@dataclass(frozen=True, slots=True)
class PreferenceFacts:
    """What preferences are told from."""

    settings: DaemonSettings
    network: NetworkFacts


ReadPreference = Callable[[PreferenceFacts], Any]
ChangePreference = Callable[[Any, PreferenceFacts], Mapping[str, Any]]
"""From a value of the protocol to settings. Raises ValueError, TypeError for what cannot be one."""


@dataclass(frozen=True, slots=True)
class Preference:
    """One key."""

    read: ReadPreference
    kind: type
    change: ChangePreference | None = None
    """None: it is told only."""


# -- kinds of preferences -------------------------------------------------------------------------


def _value(settings: DaemonSettings, key: str) -> Any:  # noqa: ANN401 - of the setting's type
    section, _, name = key.partition(".")
    return getattr(getattr(settings, section), name)


def _plain(key: str, kind: type) -> Preference:
    """Return a preference that is a setting."""
    return Preference(
        lambda facts: _value(facts.settings, key), kind, lambda value, _: {key: value}
    )


def _inverted(key: str) -> Preference:
    return Preference(
        lambda facts: not _value(facts.settings, key), bool, lambda value, _: {key: not value}
    )


def _rate(key: str) -> Preference:
    """Return a preference in bytes per second."""
    return Preference(
        lambda facts: _value(facts.settings, key) * KB,
        int,
        lambda value, _: {key: kilobytes(value)},
    )


def _count(key: str) -> Preference:
    """Return a preference whose -1 is our 0."""
    return Preference(
        lambda facts: _value(facts.settings, key) or UNLIMITED,
        int,
        lambda value, _: {key: max(value, 0)},
    )


def _rule(key: str, kind: type) -> Preference:
    """Return the value of a rule for the end of seeding; -1: there is none."""

    def read(facts: PreferenceFacts) -> Any:  # noqa: ANN401
        value = _value(facts.settings, key)
        return UNLIMITED if value is None else value

    return Preference(read, kind, lambda value, _: {key: None if value < 0 else value})


def _rule_switch(key: str) -> Preference:
    """Return whether there is a rule; its value comes with the other key."""

    def change(value: Any, facts: PreferenceFacts) -> Mapping[str, Any]:  # noqa: ANN401
        return {} if value else {key: None}

    return Preference(lambda facts: _value(facts.settings, key) is not None, bool, change)


def _clock(key: str, *, is_hour: bool) -> Preference:
    """Return the hour or minute of a time of the day."""

    def read(facts: PreferenceFacts) -> int:
        hour, minute = divmod(_value(facts.settings, key), _HOUR_MIN)
        return int(hour if is_hour else minute)

    def change(value: Any, facts: PreferenceFacts) -> Mapping[str, Any]:  # noqa: ANN401
        if not 0 <= value < (24 if is_hour else _HOUR_MIN):
            raise ValueError("not a time of the day")
        hour, minute = divmod(_value(facts.settings, key), _HOUR_MIN)
        parts = (value, minute) if is_hour else (hour, value)
        return {key: parts[0] * _HOUR_MIN + parts[1]}

    return Preference(read, int, change)


def _told(kind: type, read: ReadPreference) -> Preference:
    return Preference(read, kind)


# -- those with rules of their own ----------------------------------------------------------------


def _choice(value: int, choices: tuple[Any, ...]) -> Any:  # noqa: ANN401
    if not 0 <= value < len(choices):
        raise ValueError("out of range")
    return choices[value]


def _read_days(facts: PreferenceFacts) -> int:
    days = facts.settings.limits.alt_days
    return _DAYS.index(days) if days in _DAYS else 0


def _is_queueing(facts: PreferenceFacts) -> bool:
    queue = facts.settings.queue
    return bool(queue.downloads or queue.seeds or queue.active)


def _change_queueing(value: Any, _: PreferenceFacts) -> Mapping[str, Any]:  # noqa: ANN401
    if value:
        return {"queue.downloads": DEFAULT_DOWNLOADS}
    return {"queue.downloads": 0, "queue.seeds": 0, "queue.active": 0}


def _read_port(facts: PreferenceFacts) -> int:
    return facts.settings.network.port or facts.network.listen_port


def _change_random(value: Any, facts: PreferenceFacts) -> Mapping[str, Any]:  # noqa: ANN401
    return {"network.port": 0 if value else facts.network.listen_port}


def _web_port(facts: PreferenceFacts) -> int:
    port = facts.settings.listen.address.rpartition(":")[2]
    return int(port) if port.isdecimal() else 0


def _incomplete(facts: PreferenceFacts) -> str:
    paths = facts.settings.paths
    return paths.incomplete or str(download_folder(facts.settings) / "temp")


def _change_incomplete(value: Any, facts: PreferenceFacts) -> Mapping[str, Any]:  # noqa: ANN401
    return {"paths.incomplete": _incomplete(facts) if value else ""}


PREFERENCES: Final[Mapping[str, Preference]] = {
    "add_stopped_enabled": _plain("adding.paused", bool),
    "alt_dl_limit": _rate("limits.alt_download_kb_s"),
    "alt_up_limit": _rate("limits.alt_upload_kb_s"),
    "anonymous_mode": _told(bool, lambda _: False),
    "dht": _plain("network.dht", bool),
    "dl_limit": _rate("limits.download_kb_s"),
    "dont_count_slow_torrents": _inverted("queue.count_slow"),
    "encryption": Preference(
        lambda facts: _ENCRYPTIONS[facts.settings.network.encryption],
        int,
        lambda value, _: {"network.encryption": _choice(value, _POLICIES)},
    ),
    "ip_filter_enabled": _plain("network.ip_filter_enabled", bool),
    "listen_port": Preference(_read_port, int, lambda value, _: {"network.port": value}),
    "locale": _told(str, lambda _: "en"),
    "lsd": _plain("network.lsd", bool),
    "max_active_downloads": _count("queue.downloads"),
    "max_active_torrents": _count("queue.active"),
    "max_active_uploads": _count("queue.seeds"),
    "max_connec": _plain("limits.peers", int),
    "max_connec_per_torrent": _plain("limits.peers_per_torrent", int),
    "max_inactive_seeding_time": _rule("seeding.idle_min", int),
    "max_inactive_seeding_time_enabled": _rule_switch("seeding.idle_min"),
    "max_ratio": _rule("seeding.ratio", float),
    "max_ratio_act": Preference(
        lambda facts: _ENDS.index(facts.settings.seeding.then),
        int,
        lambda value, _: {"seeding.then": _choice(value, _ENDS)},
    ),
    "max_ratio_enabled": _rule_switch("seeding.ratio"),
    "max_seeding_time": _rule("seeding.time_min", int),
    "max_seeding_time_enabled": _rule_switch("seeding.time_min"),
    "pex": _plain("network.pex", bool),
    "preallocate_all": _told(bool, lambda _: False),
    "queueing_enabled": Preference(_is_queueing, bool, _change_queueing),
    "random_port": Preference(lambda facts: facts.settings.network.port == 0, bool, _change_random),
    "rss_auto_downloading_enabled": _told(bool, lambda _: False),
    "rss_processing_enabled": _told(bool, lambda _: False),
    "save_path": Preference(
        lambda facts: str(download_folder(facts.settings)),
        str,
        lambda value, _: {"paths.download": value},
    ),
    "scan_dirs": _told(dict, lambda _: {}),
    "schedule_from_hour": _clock("limits.alt_begin_min", is_hour=True),
    "schedule_from_min": _clock("limits.alt_begin_min", is_hour=False),
    "schedule_to_hour": _clock("limits.alt_end_min", is_hour=True),
    "schedule_to_min": _clock("limits.alt_end_min", is_hour=False),
    "scheduler_days": Preference(
        _read_days, int, lambda value, _: {"limits.alt_days": _choice(value, _DAYS)}
    ),
    "scheduler_enabled": _plain("limits.alt_schedule", bool),
    "start_paused_enabled": _plain("adding.paused", bool),
    "temp_path": Preference(
        _incomplete,
        str,
        lambda value, facts: {"paths.incomplete": value} if facts.settings.paths.incomplete else {},
    ),
    "temp_path_enabled": Preference(
        lambda facts: bool(facts.settings.paths.incomplete), bool, _change_incomplete
    ),
    "up_limit": _rate("limits.upload_kb_s"),
    "upnp": _plain("network.port_mapping", bool),
    "web_ui_address": _told(
        str, lambda facts: facts.settings.listen.address.rpartition(":")[0].strip("[]")
    ),
    "web_ui_csrf_protection_enabled": _told(bool, lambda _: True),
    "web_ui_host_header_validation_enabled": _told(bool, lambda _: True),
    "web_ui_port": _told(int, _web_port),
    "web_ui_upnp": _told(bool, lambda _: False),
    "web_ui_username": _told(str, lambda facts: facts.settings.auth.user),
}
"""All keys; those that the protocol has beside them are left out."""
_FIRST: Final = ("temp_path_enabled", "queueing_enabled", "random_port")
"""Switches whose numbers, if they are there too, count more."""


class Preferences:
    """Settings, as they are read and changed."""

    def __init__(self, parts: WebApiParts) -> None:
        self._parts = parts
        self._context = parts.context

    def routes(self) -> list[WebApiRoute]:
        """Return the routes."""
        return [
            reads("app/preferences", self.tell),
            writes("app/setPreferences", self.change, Scope.SETTINGS),
        ]

    def _facts(self) -> PreferenceFacts:
        store = self._context.settings_store
        return PreferenceFacts(store.now, self._parts.port.engine.network())

    async def tell(self, call: WebApiCall) -> WebApiResult:
        """Return all preferences."""
        facts = self._facts()
        return {name: each.read(facts) for name, each in PREFERENCES.items()}

    async def change(self, call: WebApiCall) -> WebApiResult:
        """Change preferences, all or none; unknown ones and those told only are ignored."""
        given, facts = read_object(call.params.needed("json")), self._facts()
        changes = changed_settings(given, facts)
        for key in ("paths.download", "paths.incomplete"):
            if changes.get(key):
                await self._context.paths.checked(str(changes[key]))
        if changes:
            self._context.settings_store.change(changes, call.by)
        return None


def read_object(text: str) -> Mapping[str, Any]:
    """Return a JSON object. Raises WebApiError for another text."""
    try:
        found = json.loads(text) if len(text) <= MAX_JSON_CHARS else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise bad_request("json: an object is needed")
    return found


def changed_settings(given: Mapping[str, Any], facts: PreferenceFacts) -> dict[str, Any]:
    """Return the settings that differ. Raises WebApiError for a value of another type."""
    changes: dict[str, Any] = {}
    given = {name: value for name, value in given.items() if not _is_off(name, given)}
    names = [*(name for name in _FIRST if name in given), *(n for n in given if n not in _FIRST)]
    for name in names:
        preference = PREFERENCES.get(name)
        if preference is None or preference.change is None:
            continue
        value = _typed(name, given[name], preference.kind)
        if value == preference.read(facts):
            continue
        try:
            found = preference.change(value, _with(facts, changes))
        except ValueError as error:
            raise bad_request(f"{name}: {error}") from None
        changes |= found
    return changes


def _is_off(name: str, given: Mapping[str, Any]) -> bool:
    """Return whether a switch that is given too leaves a number without effect."""
    if name == "listen_port":
        return given.get("random_port") is True
    switch = "queueing_enabled" if name.startswith("max_active_") else f"{name}_enabled"
    return given.get(switch) is False


def _with(facts: PreferenceFacts, changes: Mapping[str, Any]) -> PreferenceFacts:
    """Return facts with settings as they will be."""
    settings = facts.settings
    for key, value in changes.items():
        section, _, name = key.partition(".")
        section_now = replace(getattr(settings, section), **{name: value})
        settings = replace(settings, **{section: section_now})
    return replace(facts, settings=settings)


def _typed(name: str, value: object, kind: type) -> Any:  # noqa: ANN401
    """Return a value of a type; numbers may be whole where others are meant."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is float and is_number:
        return value
    if kind is int and isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise bad_request(f"{name}: another type is needed")
