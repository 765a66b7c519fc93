"""The map, the sizes, the public names and the promises of the README agree with the code."""

import ast
import re
import runpy
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "torrent_engine"
MODULES = sorted(path for path in SOURCE.rglob("*.py"))
LISTED = [path for path in MODULES if path.name != "__init__.py"]


def relative(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def architecture() -> str:
    return (ROOT / "ARCHITECTURE.md").read_text()


@pytest.mark.parametrize("path", LISTED, ids=relative)
def test_module_is_listed_in_architecture(path: Path) -> None:
    assert f"`{relative(path)}`" in architecture()


def test_architecture_names_no_module_that_does_not_exist() -> None:
    named = set(re.findall(r"`([\w/]+/\w+\.py)`", architecture()))
    folders = {path.name for path in SOURCE.iterdir() if path.is_dir()}
    ours = {name for name in named if name.split("/")[0] in folders}
    assert ours <= {relative(path) for path in MODULES}


def test_layer_line_of_architecture_is_the_contract() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = next(each["layers"] for each in contracts if each["type"] == "layers")
    assert " -> ".join(layers) in re.sub(r"\s+", " ", architecture())


def test_state_diagram_of_architecture_is_the_table() -> None:
    diagram = runpy.run_path(str(ROOT / "tools" / "state_diagram.py"))["mermaid"]()
    assert diagram in architecture()


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


def test_every_test_that_the_readme_names_exists() -> None:
    named = set(re.findall(r"\btest_\w+\b", (ROOT / "README.md").read_text()))
    tests = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    defined = {name for text in tests for name in re.findall(r"\bdef (test_\w+)", text)}
    files = {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    assert named, "the README has a table of BEPs with the tests that hold them"
    assert named - defined - files == set()


@pytest.mark.parametrize("folder", ["torrent_engine", "tests", "examples"])
def test_nobody_imports_asyncio(folder: str) -> None:
    """Only anyio's API is used, so that the code runs on trio as well."""
    guilty = [
        str(path.relative_to(ROOT))
        for path in (ROOT / folder).rglob("*.py")
        if "asyncio" in set(imported_packages(ast.parse(path.read_text())))
    ]
    assert guilty == []


def imported_packages(tree: ast.Module) -> Iterator[str]:
    """Yield the top-level package of every import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]
