#!/usr/bin/env python3
"""Assembles the sources of the documentation site in a folder.

    python tools/docs_pages.py build/docs

The documents are copied with the folders they have in the repository, so that their links to each
other hold in both places. In place of a line ``<!-- print: NAME -->`` comes what is printed from
the code: the configuration from its dataclasses, the command line from click, events, errors, exit
codes, the public API (as directives of mkdocstrings) and the list of modules.
"""

import ast
import enum
import inspect
import pkgutil
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

import click

import torrent_engine
from torrent_engine import config as configuration
from torrent_engine.base import errors
from torrent_engine.cli.main import PROGRAM, cli
from torrent_engine.cli.output.exit_codes import MEANINGS
from torrent_engine.engine import events

ROOT = Path(__file__).resolve().parent.parent
COPIED = [
    "*.md", "LICENSE", "docs/**/*", "examples/*.py", "bench/*.md", "bench/results/*.svg",
]  # fmt: skip
MARKER = re.compile(r"^<!-- print: ([a-z-]+) -->$", re.MULTILINE)
ROLE = re.compile(r":[a-z]+:`~?([^`]+)`")


def plain(text: str | None) -> str:
    """Return a docstring as Markdown: without the roles of reStructuredText."""
    return ROLE.sub(r"`\1`", inspect.cleandoc(text or ""))


def cell(text: str | None) -> str:
    """Return a text as one cell of a table."""
    return escaped(" ".join(plain(text).split())).replace("|", "\\|")


def escaped(text: str) -> str:
    """Return a text in which only what stands in backticks means something to Markdown."""
    parts = re.split(r"(`+[^`]+`+)", text.replace("<", "&lt;"))
    parts[::2] = [re.sub(r"([*\[\]])", r"\\\1", each) for each in parts[::2]]
    return "".join(parts)


def table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(each)} |" for each in lines)


def attribute_docs(kind: type) -> dict[str, str]:
    """Return the string behind each attribute of a class, by the attribute's name."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(node, ast.ClassDef)
    found, name = {}, ""
    for each in node.body:
        if isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant) and name:
            found[name] = str(each.value.value)
        name = ""
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            name = each.target.id
        elif isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name):
            name = each.targets[0].id
    return found


def type_name(each: Field) -> str:
    text = each.type if isinstance(each.type, str) else inspect.formatannotation(each.type)
    return re.sub(r"\b(?:[a-z_]+\.)+([A-Za-z])", r"\1", text)


def default_of(each: Field) -> str:
    if each.default_factory is not MISSING:
        return f"`{type(each.default_factory()).__name__}()`"
    if each.default is MISSING:
        return "required"
    if isinstance(each.default, enum.Enum):
        return f"`{each.default.value!r}`"
    if isinstance(each.default, int | float) and not isinstance(each.default, bool):
        return f"`{each.default:,}`"
    return f"`{each.default!r}`"


def own_init_fields(kind: type) -> Iterator[Field]:
    return (each for each in fields(kind) if each.init)


def dataclass_table(kind: type) -> str:
    docs = attribute_docs(kind)
    rows = [
        [
            f"`{each.name}`",
            f"`{type_name(each)}`".replace("|", "\\|"),
            default_of(each).replace("|", "\\|"),
            cell(docs.get(each.name)),
        ]
        for each in own_init_fields(kind)
    ]
    return table(["field", "type", "default", "meaning"], rows)


def enum_table(kind: type[enum.Enum]) -> str:
    docs = attribute_docs(kind)
    rows = [[f"`{each.name}`", f"`{each.value!r}`", cell(docs.get(each.name))] for each in kind]
    return table(["member", "value", "meaning"], rows)


def print_configuration() -> str:
    """Return a section for each configuration dataclass and each enumeration of its values."""
    parts = []
    kinds = [getattr(configuration, name) for name in configuration.__all__]
    for kind in sorted(filter(inspect.isclass, kinds), key=configuration_order):
        body = dataclass_table(kind) if is_dataclass(kind) else enum_table(kind)
        parts.append(f"## {kind.__name__}\n\n{plain(kind.__doc__)}\n\n{body}")
    return "\n\n".join(parts)


def configuration_order(kind: type) -> tuple[bool, bool, str]:
    """Put the three that are passed to the engine first, enumerations last."""
    first = kind.__name__ in {"SessionConfig", "SharedConfig", "ManagerConfig"}
    return not is_dataclass(kind), not first, kind.__name__


def commands() -> Iterator[tuple[str, click.Command, click.Context]]:
    """Yield every command with its whole name and a context in which its help can be asked."""
    with click.Context(cli, info_name=PROGRAM, **cli.context_settings) as top:
        yield PROGRAM, cli, top
        yield from commands_below(cli, top)


def commands_below(
    group: click.Group, context: click.Context
) -> Iterator[tuple[str, click.Command, click.Context]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context)
        yield inner.command_path, command, inner
        if isinstance(command, click.Group):
            yield from commands_below(command, inner)


def print_command_line() -> str:
    """Return a section for each command: usage, what it does, its options."""
    parts = []
    for path, command, context in commands():
        usage = " ".join([path, *command.collect_usage_pieces(context)])
        text = f"## {path}\n\n    {usage}\n\n{command_help(command)}"
        if rows := option_rows(command, context):
            text += "\n\n" + table(["option", "meaning"], rows)
        if isinstance(command, click.Group):
            names = [f"`{name}`" for name in command.list_commands(context)]
            text += f"\n\nCommands: {', '.join(names)}"
        parts.append(text)
    return "\n\n".join(parts)


def command_help(command: click.Command) -> str:
    """Return the help as Markdown; paragraphs that click keeps as they are become code."""
    paragraphs = inspect.cleandoc(f"{command.help}\n\n{command.epilog or ''}").split("\n\n")
    return "\n\n".join(
        textwrap.indent(each.removeprefix("\b\n"), "    ")
        if each.startswith("\b\n")
        else escaped(each)
        for each in paragraphs
    )


def option_rows(command: click.Command, context: click.Context) -> list[list[str]]:
    records = help_records(command, context)
    return [[f"`{names}`".replace("|", "\\|"), cell(text)] for names, text in records]


def help_records(command: click.Command, context: click.Context) -> list[tuple[str, str]]:
    """Return the names and the help of each parameter that has some."""
    records = [each.get_help_record(context) for each in command.get_params(context)]
    return [record for record in records if record is not None and record[1]]


def print_exit_codes() -> str:
    """Return the exit codes of the command line."""
    rows = [[str(code.value), f"`{code.name}`", cell(text)] for code, text in MEANINGS.items()]
    return table(["code", "name", "meaning"], rows)


def print_events() -> str:
    """Return a section for each event: its type string and its fields."""
    parts = []
    kinds = [each for each in vars(events).values() if is_event(each)]
    for kind in kinds:
        docs = attribute_docs(kind)
        rows = [
            [
                f"`{each.name}`",
                f"`{type_name(each)}`".replace("|", "\\|"),
                cell(docs.get(each.name)),
            ]
            for each in fields(kind)
            if each.name != "info_hash"
        ]
        text = f"## {kind.__name__}\n\n`{kind.type}`: {plain(kind.__doc__)}"
        parts.append(text + ("\n\n" + table(["field", "type", "meaning"], rows) if rows else ""))
    return "\n\n".join(parts)


def has_page(each: object) -> bool:
    """Return whether a public name is on the page of errors or that of events."""
    is_error = inspect.isclass(each) and issubclass(each, errors.TorrentEngineError)
    return is_error or is_event(each)


def is_event(each: object) -> bool:
    return inspect.isclass(each) and issubclass(each, events.Event) and each is not events.Event


def print_errors() -> str:
    """Return the tree of errors, each below its base."""
    return "\n".join(error_lines(errors.TorrentEngineError, 0))


def error_lines(kind: type[BaseException], depth: int) -> Iterator[str]:
    summary = " ".join(plain(kind.__doc__).split("\n\n")[0].split())
    yield f"{'    ' * depth}- `{kind.__name__}`: {summary}"
    for each in sorted(kind.__subclasses__(), key=lambda each: each.__name__):
        if each.__module__ == errors.__name__:
            yield from error_lines(each, depth + 1)


def print_api() -> str:
    """Return directives for every public name that has no page of its own."""
    elsewhere = {*configuration.__all__, "__version__"}
    names = [
        name
        for name in torrent_engine.__all__
        if name not in elsewhere and not has_page(getattr(torrent_engine, name))
    ]
    classes = [name for name in names if inspect.isclass(getattr(torrent_engine, name))]
    functions = [name for name in names if inspect.isfunction(getattr(torrent_engine, name))]
    others = [name for name in names if name not in {*classes, *functions}]
    return "\n\n".join(
        f"## {title}\n\n" + "\n\n".join(f"::: torrent_engine.{name}" for name in chosen)
        for title, chosen in (("Classes", classes), ("Functions", functions), ("Types", others))
        if chosen
    )


def print_modules() -> str:
    """Return every package with its modules, and the first sentence of each docstring."""
    packages: dict[str, list[list[str]]] = {}
    summaries: dict[str, str] = {}
    for found in pkgutil.walk_packages(torrent_engine.__path__, "torrent_engine."):
        module = import_module(found.name)
        if found.ispkg:
            summaries[found.name] = summary_of(module)
            packages.setdefault(found.name, [])
        else:
            row = [f"`{found.name.rpartition('.')[2]}`", cell(summary_of(module))]
            packages.setdefault(found.name.rpartition(".")[0], []).append(row)
    parts = []
    for name, rows in sorted(packages.items()):
        summary = summaries.get(name, summary_of(torrent_engine))
        listing = "\n\n" + table(["module", "contents"], rows) if rows else ""
        parts.append(f"## {name}\n\n{plain(summary)}{listing}")
    return "\n\n".join(parts)


def summary_of(module: ModuleType) -> str:
    return " ".join(plain(module.__doc__).split("\n\n")[0].split())


PRINTERS: dict[str, Callable[[], str]] = {
    "api": print_api,
    "command-line": print_command_line,
    "configuration": print_configuration,
    "errors": print_errors,
    "events": print_events,
    "exit-codes": print_exit_codes,
    "modules": print_modules,
}


def filled(text: str) -> str:
    """Return a document with what its markers stand for."""
    return MARKER.sub(lambda match: PRINTERS[match[1]](), text)


def assemble(target: Path) -> None:
    """Write the sources of the site into a folder, which is made anew."""
    shutil.rmtree(target, ignore_errors=True)
    for path in sorted({each for pattern in COPIED for each in ROOT.glob(pattern)}):
        if path.is_file():
            to = target / path.relative_to(ROOT)
            to.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".md":
                to.write_text(filled(path.read_text()))
            else:
                shutil.copyfile(path, to)


if __name__ == "__main__":
    assemble(Path(sys.argv[1]))
