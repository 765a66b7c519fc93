"""The description of the interface is whole, and true of every route."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute

from tests.daemon.contexts import client_of, make_context
from tests.daemon.fake_port import FakeEngine
from torrent_engine.daemon.api.openapi import OWN_PATHS, document_of
from torrent_engine.daemon.app import create_app
from torrent_engine.daemon.security.route_table import access_of_route

METHODS = {"get", "put", "post", "patch", "delete"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return document_of(create_app(make_context(FakeEngine())).routes.routes)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


@pytest.mark.anyio
async def test_the_description_is_served_whole(document: dict[str, Any]) -> None:
    async with client_of(make_context(FakeEngine())) as client:
        answer = await client.get("/api/v1/openapi.json")
    assert answer.status_code == 200
    assert answer.json() == document
    assert document["openapi"].startswith("3.1.")


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    found = set(references(document))
    schemas = document["components"]["schemas"]
    prefix = "#/components/schemas/"
    assert {each for each in found if each.removeprefix(prefix) not in schemas} == set()
    assert f"{prefix}Problem" in found


def test_every_route_of_the_interface_is_described() -> None:
    app = create_app(make_context(FakeEngine()))
    document = document_of(app.routes.routes)
    for route in app.routes.routes:
        assert isinstance(route, APIRoute) or not str(getattr(route, "path", "")).startswith(
            OWN_PATHS
        )
        if not isinstance(route, APIRoute) or not route.path.startswith(OWN_PATHS):
            continue
        access = access_of_route(route)
        assert access is not None
        for method in route.methods or ():
            operation = document["paths"][route.path_format][method.lower()]
            assert ("security" in operation) is not access.is_public, (method, route.path)
            if access.scope is not None:
                assert operation["x-scope"] == access.scope.value
            assert operation["description"]


def test_operations_are_named_once_and_have_their_parameters(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names)) > 50
    for path, method, operation in operations(document):
        assert method in METHODS
        given = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
        assert given == set(re.findall(r"\{(\w+)\}", path)), (method, path)


def test_errors_are_described_as_they_are(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        assert "422" not in operation["responses"], (method, path)
        content = operation["responses"]["default"]["content"]
        assert list(content) == ["application/problem+json", "text/plain"]
