"""Numbers as Qt's JSON has them: a double that is whole has no fraction."""

from typing import Any


def in_qt_style(value: Any) -> Any:  # noqa: ANN401 - what JSON has
    """Return a value in which each double that is whole, such as -1.0, is an integer."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, dict):
        return {key: in_qt_style(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [in_qt_style(each) for each in value]
    return value
