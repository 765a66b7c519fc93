"""docs/api.md has every route with an example, and no other; held against the OpenAPI document."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.contexts import make_context
from tests.daemon.fake_port import FakeEngine
from torrent_engine.daemon.api.openapi import document_of
from torrent_engine.daemon.app import create_app
from torrent_engine.daemon.problems import STATUSES

TEXT = (Path(__file__).parents[3] / "docs" / "api.md").read_text("utf-8")
HEADING = re.compile(
    r"^### `([A-Z]+ \S+)`\n\n(.*?)\n\n    (curl [^\n]*)$", re.MULTILINE | re.DOTALL
)
FOUND = {key: (text, example) for key, text, example in HEADING.findall(TEXT)}


@pytest.fixture(scope="module")
def operations() -> dict[str, dict[str, Any]]:
    document = document_of(create_app(make_context(FakeEngine())).routes.routes)
    return {
        f"{method.upper()} {path}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if path.startswith("/api/v1")
    }


def test_every_route_is_in_the_document(operations: dict[str, dict[str, Any]]) -> None:
    assert set(FOUND) == set(operations)
    assert TEXT.count("\n### `") == len(FOUND)


def test_scopes_and_examples_are_those_of_the_routes(operations: dict[str, dict[str, Any]]) -> None:
    for key, (text, example) in FOUND.items():
        method, path = key.split()
        scope = operations[key].get("x-scope")
        assert re.findall(r"Scope `(\w+)`", text) == ([] if scope is None else [scope]), key
        fixed = re.sub(r"\{\w+\}", '[^/?"]+', path.removeprefix("/api/v1"))
        assert re.search(rf'"\$at{fixed}(\?[^"]*)?"$', example), key
        assert (f" -X {method} " in example) is (method != "GET"), key
        if body := re.search(r"--json '(.*?)' \"", example):
            json.loads(body[1])


def test_every_code_of_an_error_is_in_the_document() -> None:
    rows = re.findall(r"^\| (\d{3}) \| (.*) \|$", TEXT, re.MULTILINE)
    told = {code: int(status) for status, codes in rows for code in re.findall(r"\w+", codes)}
    assert told == STATUSES
