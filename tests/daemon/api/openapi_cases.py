"""Requests made at random from an OpenAPI document: mostly as it says, often wrong somewhere."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import quote, urlencode

MAX_DEPTH = 6
ODD_TEXTS = (
    *("", "\x00", "a\r\nb: c", "../..", "%", "%00", "\ud800", "\u202e", "-1", "1e999", "NaN"),
    *("0" * 40, "f" * 39, "true", "null", "a" * 3_000, "magnet:?xt=urn:btih:x", "http://[", "[]"),
    *("2026-13-01T00:00:00Z", "9" * 30, "*", "=1+1", "/etc/passwd", "\U0001f600", "٣"),
)
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308),
    *([], {}, [[]], {"": None}, [None], {"a": {"a": {}}}, *ODD_TEXTS),
)
ODD_BODIES = (
    *(b"", b"{", b"[]", b"null", b'""', b"\xff", b"{}{}", b'{"a":1,"a":2}', b"[" * 2_000),
    *(b"NaN", b'{"a":Infinity}', b"d4:infode", b"--x\r\n\r\n", b"1" * 5_000, b'"\\ud800"'),
)


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    description: dict[str, Any]


@dataclass
class Case:
    """One request."""

    method: str
    path: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def operations_of(document: dict[str, Any]) -> Iterator[Operation]:
    """Yield all operations of a document."""
    for path, item in document["paths"].items():
        for method, description in item.items():
            yield Operation(method.upper(), path, description)


class CaseMaker:
    """Makes requests of the operations of a document."""

    def __init__(
        self, document: dict[str, Any], generator: Random, known: Mapping[str, Sequence[str]]
    ) -> None:
        """``known`` are values of parameters that lead somewhere, by their names."""
        self._schemas = document["components"]["schemas"]
        self._random = generator
        self._known = known

    def case(self, operation: Operation) -> Case:
        """Return a request."""
        path, query = operation.path, []
        for each in operation.description.get("parameters", ()):
            value = self._parameter(each)
            if each["in"] == "path":
                path = path.replace(f"{{{each['name']}}}", quote(value, safe="", errors="replace"))
            elif each["in"] == "query" and (each.get("required") or self._chance(0.4)):
                query.append((each["name"], value))
        if self._chance(0.05):
            query.append(("unknown", self._random.choice(ODD_TEXTS)))
        text = f"?{urlencode(query, errors='replace')}" if query else ""
        return self._with_body(Case(operation.method, path + text), operation)

    def _with_body(self, case: Case, operation: Operation) -> Case:
        content = operation.description.get("requestBody", {}).get("content", {})
        if not content:
            if self._chance(0.05):
                case.body = self._random.choice(ODD_BODIES)
            return case
        kind = self._random.choice(sorted(content))
        case.headers["content-type"] = "text/plain" if self._chance(0.03) else kind
        if self._chance(0.1) or "json" not in kind:
            case.body = self._random.choice(ODD_BODIES)
        else:
            value = self.value(content[kind].get("schema", {}))
            case.body = json.dumps(value).encode("utf-8", "replace")
        return case

    def _parameter(self, parameter: dict[str, Any]) -> str:
        known = self._known.get(parameter["name"])
        if known and self._chance(0.8):
            return self._random.choice(known)
        if self._chance(0.2):
            return self._random.choice(ODD_TEXTS)
        value = self.value(parameter.get("schema", {}))
        return value if isinstance(value, str) else json.dumps(value)

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def value(self, schema: dict[str, Any], depth: int = 0) -> Any:
        """Return a value of a schema, or sometimes any other."""
        if depth > MAX_DEPTH or self._chance(0.04):
            return self._random.choice(ODD_VALUES)
        if "$ref" in schema:
            return self.value(self._schemas[schema["$ref"].rpartition("/")[2]], depth + 1)
        for choice in ("anyOf", "oneOf", "allOf"):
            if choice in schema:
                return self.value(self._random.choice(schema[choice]), depth + 1)
        if "const" in schema or "enum" in schema:
            return self._random.choice(schema.get("enum", [schema.get("const")]))
        return self._typed(schema, depth)

    def _typed(self, schema: dict[str, Any], depth: int) -> Any:
        match schema.get("type"):
            case "object":
                return self._object(schema, depth)
            case "array":
                count = self._random.choice((0, 1, 1, 2, 5))
                return [self.value(schema.get("items", {}), depth + 1) for _ in range(count)]
            case "integer" | "number":
                return self._number(schema)
            case "boolean":
                return self._chance(0.5)
            case "string":
                return self._text(schema)
            case _:
                return self._random.choice(ODD_VALUES)

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        required = schema.get("required", ())
        value = {
            name: self.value(each, depth + 1)
            for name, each in schema.get("properties", {}).items()
            if name in required or self._chance(0.5)
        }
        more = schema.get("additionalProperties")
        if isinstance(more, dict) or self._chance(0.03):
            name = self._random.choice((*self._known.get("key", ()), "0", "1", *ODD_TEXTS))
            value[name] = self.value(more if isinstance(more, dict) else {}, depth + 1)
        return value

    def _number(self, schema: dict[str, Any]) -> float:
        low, high = schema.get("minimum", -3), schema.get("maximum", 10_000)
        edges = (low, high, low - 1, high + 1, 0, 1, 2)
        if self._chance(0.5):
            return self._random.choice(edges)
        number = self._random.uniform(low, high)
        return int(number) if schema.get("type") == "integer" else number

    def _text(self, schema: dict[str, Any]) -> str:
        every = [text for texts in self._known.values() for text in texts]
        if every and self._chance(0.4):
            return self._random.choice(every)
        size = self._random.choice((1, 3, 40, schema.get("minLength", 1), 256))
        return "".join(self._random.choice("abc/.: 0\n\u00e9\u4e2d") for _ in range(size))
