"""The map, the sizes and the public names agree with the code."""

import ast
import re
import runpy
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from tests import code_structure as structure

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "torrent_engine"
MODULES = sorted(path for path in SOURCE.rglob("*.py"))


def relative(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def architecture() -> str:
    return (ROOT / "ARCHITECTURE.md").read_text()


def test_each_module_says_what_is_in_it() -> None:
    """The list of modules in the documents is printed from these lines."""
    first = {
        name: (ast.get_docstring(tree) or "").split("\n")[0]
        for name, tree in structure.trees().items()
    }
    assert len(first) == len(MODULES)
    assert {name: line for name, line in first.items() if len(line) <= 10} == {}


PERSONAL = re.compile(r'^ *"""(Own|Tell|Hear)s?\b', re.MULTILINE)
"""Verbs for what an object is or returns; a noun, or "Return ...", says it."""


def test_docstrings_say_what_a_thing_is_or_what_a_function_returns() -> None:
    found = {relative(path): PERSONAL.findall(path.read_text()) for path in MODULES}
    assert {name: verbs for name, verbs in found.items() if verbs} == {}


EXPLANATIONS = [ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs" / "internals").glob("*.md"))]
MAX_ARCHITECTURE_BYTES = 24_000
"""It explains; modules are listed by tools/docs."""


@pytest.mark.parametrize("path", EXPLANATIONS, ids=lambda path: path.name)
def test_explanations_name_no_module_or_class_that_does_not_exist(path: Path) -> None:
    text = path.read_text()
    folders = {folder.name for folder in SOURCE.iterdir() if folder.is_dir()}
    named = set(re.findall(r"`([\w/]+/\w+\.py)`", text))
    ours = {name for name in named if name.split("/")[0] in folders}
    assert ours <= {relative(path) for path in MODULES}
    classes = set(re.findall(r"`([A-Z]\w*[a-z]\w*)(?:\.\w+)?(?:\(\))?`", text))
    assert classes <= defined_classes()


@cache
def defined_classes() -> set[str]:
    """Return the names of all classes, errors and events of the package too."""
    nodes = [node for tree in structure.trees().values() for node in ast.walk(tree)]
    return {node.name for node in nodes if isinstance(node, ast.ClassDef)}


def test_architecture_is_short_and_has_a_line_for_each_package() -> None:
    text = architecture()
    assert len(text.encode()) <= MAX_ARCHITECTURE_BYTES
    table = text[text.index("## Packages") : text.index("## The life of one block")]
    listed = re.findall(r"^\| `([\w/]+)` \|", table, re.MULTILINE)
    packages = [relative(path.parent) for path in SOURCE.rglob("__init__.py")]
    assert sorted(listed) == sorted(set(packages) - {"."})


def test_layer_line_of_architecture_is_the_contract() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = next(each["layers"] for each in contracts if each["type"] == "layers")
    assert " -> ".join(layers) in re.sub(r"\s+", " ", architecture())


def test_state_diagram_of_the_documents_is_the_table() -> None:
    diagram = runpy.run_path(str(ROOT / "tools" / "state_diagram.py"))["mermaid"]()
    assert diagram in (ROOT / "docs" / "internals" / "sessions.md").read_text()


def test_all_is_what_the_package_exports() -> None:
    package = import_module("torrent_engine")
    assert set(package.__all__) == set(exported(ast.parse((SOURCE / "__init__.py").read_text())))
    assert len(set(package.__all__)) == len(package.__all__)
    assert [name for name in package.__all__ if getattr(package, name, None) is None] == []


def exported(tree: ast.Module) -> Iterator[str]:
    """Yield the public names that a module defines or imports from its own package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("torrent_engine"):
            yield from (alias.asname or alias.name for alias in node.names)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from [node.name] * (not node.name.startswith("_"))
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [each.id for each in targets if isinstance(each, ast.Name)]
            yield from (name for name in names if not name.startswith("_") or name == "__version__")


@pytest.mark.parametrize("folder", ["torrent_engine", "tests", "examples"])
def test_nobody_imports_asyncio(folder: str) -> None:
    """Only anyio's API is used, so that the code runs on trio as well; uvicorn needs asyncio."""
    guilty = [
        str(path.relative_to(ROOT))
        for path in (ROOT / folder).rglob("*.py")
        if path.parent != SOURCE / "daemon" / "http" and imports_asyncio(path.read_text())
    ]
    assert guilty == []


def imports_asyncio(source: str) -> bool:
    """Return whether a module imports it; what does not name it is not parsed."""
    return "asyncio" in source and "asyncio" in set(imported_packages(ast.parse(source)))


@pytest.mark.parametrize("line", ["import asyncio", "from asyncio.tasks import x"])
def test_an_import_of_asyncio_is_found(line: str) -> None:
    assert imports_asyncio(f"def f():\n    {line}\n")
    assert not imports_asyncio(f"import anyio  # {line}\n")


def imported_packages(tree: ast.Module) -> Iterator[str]:
    """Yield the top-level package of every import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("folder", ["torrent_engine", "tests", "examples", "bench", "tools"])
def test_nothing_is_raised_where_a_group_is_caught(folder: str) -> None:
    """Python before 3.11.4, as Debian 12 has it, makes a group of one of it."""
    guilty = [
        str(path.relative_to(ROOT))
        for path in (ROOT / folder).rglob("*.py")
        if raises_in_group(path.read_text())
    ]
    assert guilty == []


def raises_in_group(source: str) -> bool:
    """Return whether a module raises in an ``except*``; what has none is not parsed."""
    if "except*" not in source:
        return False
    groups = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.TryStar))
    inside = (node for group in groups for handler in group.handlers for node in ast.walk(handler))
    return any(isinstance(node, ast.Raise) for node in inside)


def test_an_error_that_is_raised_where_a_group_is_caught_is_found() -> None:
    assert raises_in_group("try:\n    f()\nexcept* ValueError:\n    raise KeyError\n")
    assert not raises_in_group("try:\n    f()\nexcept* ValueError:\n    pass\n")


FACADES = {"Session": 85, "TorrentManager": 50, "SharedResources": 35}
"""Classes that are a front of many parts, each with its own limit of public methods."""
TOO_WIDE: set[str] = set()
TOO_DEEP: set[str] = set()
"""Classes from before there was a limit: the two sets only ever lose names."""
KNOWN_CIRCLES: list[set[str]] = []


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports inside functions and those for types count."""
    graph = {name: structure.imported(name) for name in structure.trees()}
    graph.pop("torrent_engine")  # the public names, from everywhere
    found = [
        {name.removeprefix("torrent_engine.") for name in circle}
        for circle in structure.circles(graph)
    ]
    assert sorted(map(sorted, found)) == sorted(map(sorted, KNOWN_CIRCLES))


def test_rooms_of_the_engine_are_few_and_small() -> None:
    rooms = [path for path in (SOURCE / "engine").iterdir() if (path / "__init__.py").exists()]
    assert len(rooms) <= 16
    sizes = {room.name: len(list(room.glob("*.py"))) - 1 for room in rooms}
    assert {name: size for name, size in sizes.items() if size > 20} == {}


def test_classes_have_few_public_methods() -> None:
    widths = {name: len(structure.public_methods(name)) for name in structure.classes()}
    wide = {name for name, width in widths.items() if width > FACADES.get(name, 25)}
    assert wide == TOO_WIDE


def test_classes_inherit_from_one_class_of_the_package_at_most() -> None:
    """Errors, events and Protocols apart."""
    deep = {name for name in structure.classes() if structure.depth(name) > 1}
    assert {name for name in deep if not is_exempt(name)} == TOO_DEEP


def is_exempt(name: str) -> bool:
    """Return whether a class is an error, an event or a Protocol."""
    facts = structure.classes()[name]
    return any(
        base in {"Exception", "Event", "PeerEvent", "Protocol"} or base.endswith("Error")
        for each in facts
        for base in each.bases
    )


def test_name_of_a_type_means_one_thing() -> None:
    """Helpers with a leading underscore apart: they are names of their module only."""
    homes = structure.type_names()
    assert {name: modules for name, modules in homes.items() if len(modules) > 1} == {}


def test_functions_are_short() -> None:
    lengths = structure.function_lengths()
    assert lengths[len(lengths) * 9 // 10] <= 30
