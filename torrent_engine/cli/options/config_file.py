"""The configuration file: defaults of options, in TOML, a table for each command.

The keys are the long names of the options without the dashes. ``[common]`` holds for every command
that has such an option, the table of a command comes before it: ``[download]``, ``[dht.node]``.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import click

from torrent_engine.cli.output.exit_codes import CliError

CONFIG_VARIABLE: Final = "TORRENT_ENGINE_CONFIG"
COMMON: Final = "common"
MAX_BYTES: Final = 1 << 20
_NOT_IN_FILE: Final = frozenset({"help", "version", "config"})
_TEXT_TYPES: Final = (click.Path, click.Choice, click.types.StringParamType)
_KINDS: Final[dict[type, str]] = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "text",
}

Table = Mapping[str, Any]


def default_path() -> Path:
    """Return where the file is looked for, by the XDG rules; it need not be there."""
    home = os.environ.get("XDG_CONFIG_HOME", "")
    base = Path(home) if Path(home).is_absolute() else Path("~/.config").expanduser()
    return base / "torrent_engine" / "config.toml"


def defaults_of(context: click.Context, named: Path | None) -> dict[str, Any] | None:
    """Return click's default map for the command of a context; None without a file.

    ``named`` is the file of --config. Raises CliError for a file that is no configuration, and
    OSError for one that cannot be read.
    """
    variable = os.environ.get(CONFIG_VARIABLE)
    path = named or (Path(variable) if variable else None)
    try:
        tables = _read(path or default_path())
    except (FileNotFoundError, NotADirectoryError):
        if path is not None:
            raise
        return None
    if not tables:  # the modules of all commands are not imported for nothing
        return {}
    file = _ConfigFile(path or default_path(), context.find_root().command)
    file.check(tables)
    return file.values(tables, context)


def keys_of(command: click.Command) -> dict[str, click.Option]:
    """Return the options of a command by the keys that they have in the file."""
    keys: dict[str, click.Option] = {}
    for option in command.params:
        if isinstance(option, click.Option):
            names = [name for name in option.opts if name.startswith("--")] or option.opts
            keys |= {name.lstrip("-"): option for name in names}
    return {key: option for key, option in keys.items() if key not in _NOT_IN_FILE}


class _ConfigFile:
    """What the tables of one file mean to a tree of commands."""

    def __init__(self, path: Path, root: click.Command) -> None:
        self._path = path
        self._root = root
        self._commands = dict(_commands_below(root))

    def check(self, tables: Table) -> None:
        """Raise CliError for a table or a key that nothing is called."""
        every = {key for command in self._commands.values() for key in keys_of(command)}
        for name, table in tables.items():
            if name == COMMON:
                self._check_keys(COMMON, self._table(COMMON, table), every)
            elif (name,) in self._commands:
                self._check_command((name,), self._table(name, table))
            elif name in every and not isinstance(table, dict):
                raise CliError(f"{self._path}: {name!r} stands in a table, such as [{COMMON}]")
            else:
                names = [COMMON, *(path[0] for path in self._commands)]
                raise self._unknown("table" if isinstance(table, dict) else "key", name, names)

    def _check_command(self, path: tuple[str, ...], table: Table) -> None:
        """Check the table of a command, and those of its sub-commands in it."""
        below = {name[-1] for name in self._commands if name[:-1] == path}
        subtables = {key for key in table if key in below}
        known = set(keys_of(self._commands[path]))
        self._check_keys(".".join(path), {k: table[k] for k in table if k not in below}, known)
        for key in subtables:
            self._check_command((*path, key), self._table(f"{'.'.join(path)}.{key}", table[key]))

    def _check_keys(self, name: str, table: Table, known: set[str]) -> None:
        for key in table:
            if key not in known:
                raise self._unknown(f"key in [{name}]", key, known)

    def _unknown(self, what: str, name: str, known: "set[str] | list[str]") -> CliError:
        near = get_close_matches(name, sorted(known), n=1, cutoff=0.0)
        hint = f"; the nearest is {near[0]!r}" if near else ""
        return CliError(f"{self._path}: no {what} is called {name!r}{hint}")

    def _table(self, name: str, value: object) -> Table:
        if not isinstance(value, dict):
            raise CliError(f"{self._path}: {name!r} is a table: [{name}]")
        return value

    def values(self, tables: Table, context: click.Context) -> dict[str, Any]:
        """Return the values of one command's options by click's names; its own come first."""
        keys, own = keys_of(context.command), tables
        for name in _path_of(context):
            own = own.get(name, {})
        found: dict[str, Any] = {}
        for name, table in ((COMMON, tables.get(COMMON, {})), (".".join(_path_of(context)), own)):
            for key in table:
                if key in keys and keys[key].name is not None:
                    where = f"{self._path}: {key} in [{name}]"
                    found[str(keys[key].name)] = _value(table[key], keys[key], where, context)
        return found


def _read(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise CliError(f"{path}: is no configuration file: longer than 1 MiB")
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise CliError(f"{path}: is no TOML: {error}") from error


def _commands_below(
    group: click.Command, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Iterate over all commands with the names that lead to them."""
    if not isinstance(group, click.Group):
        return
    context = click.Context(group, info_name="")
    for name in group.list_commands(context):
        if (command := group.get_command(context, name)) is not None:
            yield (*path, name), command
            yield from _commands_below(command, (*path, name))


def _path_of(context: click.Context) -> tuple[str, ...]:
    """Return the names that lead to a context's command, without the program's."""
    if context.parent is None:
        return ()
    return (*_path_of(context.parent), str(context.command.name))


def _value(value: object, option: click.Option, where: str, context: click.Context) -> object:
    """Return a value as click would have it from a command line. Raises CliError."""
    if option.is_flag:
        is_on = _typed(value, (bool,), where)
        return is_on if option.is_bool_flag else option.flag_value if is_on else None
    is_text = isinstance(option.type, _TEXT_TYPES)
    kinds = (str,) if is_text else (str, int, float)
    given: Any
    if option.multiple:
        each = value if isinstance(value, list) else [value]
        given = [_text(_typed(item, kinds, where)) for item in each]
    else:
        given = _text(_typed(value, kinds, where))
    try:
        option.type_cast_value(context, given)
    except click.BadParameter as error:
        raise CliError(f"{where}: {error.message.rstrip('.')}") from error
    return given


def _typed(value: object, kinds: tuple[type, ...], where: str) -> object:
    if type(value) in kinds:
        return value
    wanted = " or ".join(dict.fromkeys(_KINDS[kind] for kind in kinds))
    names = {**_KINDS, list: "a list", dict: "a table"}
    got = names.get(type(value), "a time")
    raise CliError(f"{where}: {wanted} is needed, not {got}")


def _text(value: object) -> str:
    """Return what a shell would pass on; it would know the home folder, too."""
    text = str(value)
    return str(Path(text).expanduser()) if text.startswith("~/") else text
