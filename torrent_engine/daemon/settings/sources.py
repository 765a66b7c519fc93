"""Values of settings from a TOML file, the environment and options: keys with raw values."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from torrent_engine.daemon.settings.fields import Spec
from torrent_engine.daemon.settings.model import SECTIONS, SPECS
from torrent_engine.daemon.settings.tables import (
    KINDS,
    TABLE_SPECS,
    ReadTables,
    TableSettings,
    read_row,
)

MAX_BYTES: Final = 1 << 20
PREFIX: Final = "TORRENT_ENGINE_"
FILE_SUFFIX: Final = "_FILE"
OTHERS_NAMES: Final = {"TRANSMISSION_WEB_HOME": "transmission.web_root"}


@dataclass(slots=True)
class SettingSource:
    """Values of one source, in their own types, and what is wrong with others."""

    origin: str
    """For people: the path of a file, ``environment``, ``command line``."""
    values: dict[str, Any] = field(default_factory=dict)
    is_pinned: bool = False
    """Whether no interface can change these values."""
    errors: list[str] = field(default_factory=list)
    tables: TableSettings = field(default_factory=TableSettings)

    def wrong(self, what: str, reason: object) -> None:
        """Note what is wrong."""
        self.errors.append(f"{self.origin}: {what}: {reason}")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint with the name that was perhaps meant."""
    near = get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f"; the nearest is {near[0]!r}" if near else ""


def read_file(path: Path) -> SettingSource:
    """Read a TOML file; an unreadable one is an error of the source."""
    source = SettingSource(str(path))
    try:
        tables = tomllib.loads(_text_of(path))
    except OSError as error:
        source.errors.append(f"{path}: {error.strerror or error}")
    except ValueError as error:
        source.errors.append(f"{path}: {error}")
    else:
        _read_tables(source, tables)
    return source


def _text_of(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"is longer than {MAX_BYTES} bytes")
    return data.decode("utf-8")


def _read_tables(source: SettingSource, tables: Mapping[str, object]) -> None:
    rows = ReadTables()
    for name, table in tables.items():
        if name in SECTIONS:
            _read_section(source, name, table)
        elif name in KINDS:
            _read_rows(source, rows, name, table)
        else:
            hint = nearest(name, {*SECTIONS, *KINDS})
            source.errors.append(f"{source.origin}: there is no section {name!r}{hint}")
    source.tables = rows.settings()


def _read_section(source: SettingSource, section: str, table: object) -> None:
    if not isinstance(table, dict):
        source.errors.append(f"{source.origin}: {section!r} is a section: [{section}]")
        return
    for key, value in table.items():
        spec = SPECS.get(f"{section}.{key}")
        if spec is None:
            known = [each.partition(".")[2] for each in SPECS if each.startswith(f"{section}.")]
            source.wrong(f"[{section}]", f"there is no setting {key!r}{nearest(key, known)}")
        else:
            _take(source, spec, value)


def _take(source: SettingSource, spec: Spec, value: object) -> None:
    try:
        source.values[spec.key] = spec.read(value)
    except ValueError as error:
        source.wrong(spec.key, _shown(spec, value, error))


def _read_rows(source: SettingSource, rows: ReadTables, name: str, table: object) -> None:
    if not isinstance(table, list) or not all(isinstance(row, dict) for row in table):
        source.errors.append(f"{source.origin}: {name!r} is a list of tables: [[{name}]]")
        return
    for number, row in enumerate(table, 1):
        for key in row.keys() - TABLE_SPECS[name].keys():
            hint = nearest(key, TABLE_SPECS[name])
            source.wrong(f"[[{name}]] {number}", f"there is no setting {key!r}{hint}")
        value, wrong = read_row(name, row)
        for each in wrong:
            source.wrong(f"[[{name}]] {number}", each)
        if value is not None:
            rows.found.setdefault(name, []).append(value)


def _shown(spec: Spec, value: object, error: ValueError) -> str:
    return str(error) if spec.meaning.is_secret else f"{value!r:.80}: {error}"


def read_environment(environment: Mapping[str, str]) -> SettingSource:
    """Read ``TORRENT_ENGINE_<SECTION>__<KEY>``; with ``_FILE`` the value is in a file.

    Variables that users of other programs know count where ours are missing.
    """
    source = SettingSource("environment", is_pinned=True)
    for name, key in OTHERS_NAMES.items():
        if environment.get(name):
            _take_text(source, SPECS[key], name, environment[name])
    for name, value in environment.items():
        plain = name.removeprefix(PREFIX)
        section, separator, key = plain.lower().partition("__")
        if plain != name and separator and section in SECTIONS:
            _read_variable(source, name, f"{section}.{key}", value)
        elif plain != name and separator:
            source.wrong(name, f"there is no section {section!r}{nearest(section, SECTIONS)}")
    return source


def _read_variable(source: SettingSource, name: str, key: str, value: str) -> None:
    spec = SPECS.get(key)
    if spec is None and key.endswith(FILE_SUFFIX.lower()):
        spec = SPECS.get(key.removesuffix(FILE_SUFFIX.lower()))
        if spec is not None:
            try:
                value = Path(value).read_text("utf-8").rstrip("\r\n")
            except (OSError, ValueError) as error:
                source.wrong(name, error)
                return
    if spec is None:
        source.wrong(name, f"there is no setting {key!r}{nearest(key, SPECS)}")
        return
    _take_text(source, spec, name, value)


def _take_text(source: SettingSource, spec: Spec, name: str, text: str) -> None:
    try:
        source.values[spec.key] = spec.read_text(text)
    except ValueError as error:
        source.wrong(name, _shown(spec, text, error))


def read_options(assignments: Iterable[str]) -> SettingSource:
    """Read options of the form ``section.key=value``."""
    source = SettingSource("command line", is_pinned=True)
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        spec = SPECS.get(key.strip())
        if spec is None or not equals:
            hint = nearest(key.strip(), SPECS) if equals else "; it is KEY=VALUE"
            source.errors.append(f"command line: there is no setting {key.strip()!r}{hint}")
        else:
            _take_text(source, spec, key.strip(), value)
    return source
