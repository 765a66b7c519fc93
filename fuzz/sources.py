"""Source files that a fuzz target consists of and tests, and the versions of their code."""

import ast
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from fuzz.subjects import MODULES, SUBJECTS

ROOT: Final = Path(__file__).parent.parent
PACKAGE: Final = "torrent_engine"
DIGITS: Final = 12
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def module_files() -> dict[str, Path]:
    """Return the source files of the package by the names of their modules."""
    files = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


def prefixes(name: str) -> tuple[str, ...]:
    """Return how the names of the modules begin that a target tests."""
    return tuple(f"{PACKAGE}.{prefix}" for prefix in SUBJECTS[MODULES[name]].watched)


def watched_files(name: str) -> dict[str, Path]:
    """Return the source files that a target tests, by the names of their modules."""
    begin = prefixes(name)
    return {module: path for module, path in module_files().items() if module.startswith(begin)}


def unwatched(name: str) -> list[str]:
    """Return the modules of the package that a target does not test."""
    watched = watched_files(name)
    return [module for module in module_files() if module not in watched]


def target_version(name: str) -> str:
    """Return the version of the code that drives and checks."""
    return version_of([ROOT / "fuzz" / f"{MODULES[name]}.py"])


def tested_version(name: str) -> str:
    """Return the version of the code under test."""
    return version_of(watched_files(name).values())


def version_of(paths: Iterable[Path]) -> str:
    """Return a digest of what files do: comments, docstrings and layout do not count.

    It is of the syntax tree, which the version of Python is seen in: atheris runs with one.
    """
    digest = hashlib.sha256()
    for path in paths:
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, DOCUMENTED):
                node.body = [each for each in node.body if not _is_text(each)]
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()[:DIGITS]


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
