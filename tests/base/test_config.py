"""The reference of all settings: every field of every configuration is documented."""

import ast
from pathlib import Path

import pytest

import torrent_engine.base.config as package

UNDOCUMENTED = "class Bare:\n    a: int = 1\n    b: int = 2\n    '''Documented.'''\n"


def undocumented(source: str) -> list[str]:
    """Return the fields of the classes in a module that have no docstring behind them."""
    classes = [each for each in ast.parse(source).body if isinstance(each, ast.ClassDef)]
    return [
        f"{each.name}.{ast.unparse(field.target)}"
        for each in classes
        for field, after in zip(each.body, [*each.body[1:], None], strict=True)
        if isinstance(field, ast.AnnAssign)
        and not (isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant))
    ]


@pytest.mark.parametrize(
    "path", sorted(Path(str(package.__file__)).parent.glob("*.py")), ids=lambda path: path.name
)
def test_every_setting_has_a_docstring(path: Path) -> None:
    assert undocumented(path.read_text("utf-8")) == []


def test_a_setting_without_a_docstring_is_found() -> None:
    assert undocumented(UNDOCUMENTED) == ["Bare.a"]
