"""JSON Schema of the settings, for forms and checkers."""

from typing import Any, Final

from torrent_engine.daemon.settings.fields import Spec
from torrent_engine.daemon.settings.model import SECTIONS, SPECS

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_TYPES: Final[dict[type, str]] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    tuple: "array",
}


def settings_schema() -> dict[str, Any]:
    """Return the schema of an object with all settings by their keys.

    Three words are ours: ``x-applies``, ``x-file-only`` and ``x-section``.
    """
    return {
        "$schema": DIALECT,
        "title": "torrent_engine daemon",
        "type": "object",
        "additionalProperties": False,
        "properties": {key: _property(spec) for key, spec in SPECS.items()},
        "x-sections": {name: (kind.__doc__ or "").strip() for name, kind in SECTIONS.items()},
    }


def _property(spec: Spec) -> dict[str, Any]:
    meaning = spec.meaning
    name = _TYPES[spec.kind]
    default = list(spec.default) if isinstance(spec.default, tuple) else spec.default
    found: dict[str, Any] = {
        "type": [name, "null"] if spec.is_optional else name,
        "description": meaning.text,
        "default": default,
        "x-applies": meaning.applies.value,
        "x-file-only": meaning.is_file_only,
        "x-section": spec.key.partition(".")[0],
    }
    if spec.kind is tuple:
        found["items"] = {"type": "string"}
    if meaning.choices:
        found["enum"] = list(meaning.choices)
    if meaning.minimum is not None:
        found["minimum"] = meaning.minimum
    if meaning.maximum is not None:
        found["maximum"] = meaning.maximum
    if meaning.is_secret:
        found["writeOnly"] = True
    return found
