"""What the gates of the architecture measure: imports, classes and functions of the package."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "torrent_engine"
PACKAGE = "torrent_engine"


@cache
def trees() -> dict[str, ast.Module]:
    """Return the syntax tree of every module, by its dotted name."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join((PACKAGE, *parts)).removesuffix(".__init__")
        found[name] = ast.parse(path.read_text())
    return found


def imported(name: str) -> set[str]:
    """Return the modules of the package that one imports, lazily or for its types too."""
    found = set()
    for node in ast.walk(trees()[name]):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in trees() else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {each for each in found if each in trees()} - {name}


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Return the sets of nodes that can reach each other."""
    reached = {node: _reached(graph, node) for node in graph}
    found: list[set[str]] = []
    for node in graph:
        circle = {other for other in reached[node] if node in reached.get(other, set())}
        if circle and circle not in found:
            found.append(circle)
    return found


def _reached(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting += graph.get(node, ())
    return seen


@dataclass(frozen=True)
class ClassFacts:
    """A class as its source has it."""

    module: str
    bases: tuple[str, ...]
    methods: frozenset[str]
    """Public methods and properties that it defines itself."""


@cache
def classes() -> dict[str, list[ClassFacts]]:
    """Return the classes at the top of modules, by name."""
    found: dict[str, list[ClassFacts]] = {}
    for module, tree in trees().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(_facts(module, node))
    return found


def type_names() -> dict[str, list[str]]:
    """Return the public names of classes and aliases of types, each with the modules of it.

    Type variables apart, which mean nothing outside a signature.
    """
    found: dict[str, list[str]] = {}
    for module, tree in trees().items():
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
        names = [node.name for node in nodes if not node.name.startswith("_")]
        for name in [*names, *_aliases(tree)]:
            found.setdefault(name, []).append(module)
    return found


def _aliases(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            is_variable = ast.unparse(node.value).startswith(("TypeVar(", "ParamSpec("))
            for target in targets:
                if isinstance(target, ast.Name) and not is_variable:
                    yield from re.findall(r"^[A-Z]+[a-z]\w*$", target.id)


def _facts(module: str, node: ast.ClassDef) -> ClassFacts:
    bases = tuple(ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases)
    functions = (f for f in node.body if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef))
    methods = frozenset(f.name for f in functions if not f.name.startswith("_"))
    return ClassFacts(module, bases, methods)


def depth(name: str) -> int:
    """Return how many classes of the package a class inherits from, one after the other."""
    bases = [base for facts in classes().get(name, ()) for base in facts.bases if base != name]
    return max((1 + depth(base) for base in bases if base in classes()), default=0)


def public_methods(name: str) -> frozenset[str]:
    """Return the public methods of a class, those that it inherits inside the package too."""
    found: frozenset[str] = frozenset()
    for facts in classes().get(name, ()):
        found |= facts.methods
        for base in facts.bases:
            found |= public_methods(base) if base != name else frozenset()
    return found


def function_lengths() -> list[int]:
    """Return the lines of every function of the package, in ascending order."""
    return sorted(_lengths())


def _lengths() -> Iterator[int]:
    for tree in trees().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield (node.end_lineno or node.lineno) - node.lineno + 1
