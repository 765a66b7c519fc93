"""The description of the daemon's own interface: ``/api/v1/openapi.json``.

Source: OpenAPI 3.1.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import anyio.to_thread
from fastapi import APIRouter
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from torrent_engine import __version__
from torrent_engine.daemon.api.add_options import AddInput
from torrent_engine.daemon.api.adding import SourceInput
from torrent_engine.daemon.common.replies import json_bytes, json_reply
from torrent_engine.daemon.problems import MEDIA_TYPE, STATUSES
from torrent_engine.daemon.security.access import access_of, needs
from torrent_engine.daemon.security.principals import Scope

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext

OWN_PATHS: Final = ("/api/v1", "/api/sessions")
_REFERENCE: Final = "#/components/schemas/{model}"
_TEXT: Final = {"type": "string"}
PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "description": "An error (RFC 9457).",
    "required": ["type", "title", "status", "code"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": _TEXT,
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "code": {"type": "string", "enum": sorted(STATUSES)},
        "detail": _TEXT,
        "instance": _TEXT,
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {"pointer": _TEXT, "detail": _TEXT},
            },
        },
    },
}
SECURITY: Final[dict[str, Any]] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "basic": {"type": "http", "scheme": "basic"},
    "cookie": {"type": "apiKey", "in": "cookie", "name": "te_session"},
}
_PLAIN: Final = "text/plain"
_PROBLEM_TEXT: Final = "A problem; plain text if the head of the request is too long or malformed"
_ANY_OF: Final[list[dict[str, list[str]]]] = [{name: []} for name in SECURITY]


def router(_: "DaemonContext") -> APIRouter:
    """Return the route."""
    routes, made = APIRouter(), list[bytes]()

    @routes.get("/api/v1/openapi.json", tags=["overview"])
    @needs(Scope.READ)
    async def get_openapi(request: Request) -> Response:
        """Return the description of this interface."""
        if not made:
            made.append(await anyio.to_thread.run_sync(_text_of, request.app.routes.routes))
        return await json_reply(request, made[0])

    return routes


def _text_of(routes: Sequence[BaseRoute]) -> bytes:
    return json_bytes(document_of(routes))


def document_of(routes: Sequence[BaseRoute]) -> dict[str, Any]:
    """Return the OpenAPI document of the routes of the own interface, among others."""
    own = [
        route
        for route in routes
        if isinstance(route, APIRoute) and route.path.startswith(OWN_PATHS)
    ]
    document = get_openapi(title="torrent_engine", version=__version__, routes=own)
    for route in own:
        for method in route.methods or ():
            operation = document["paths"].get(route.path_format, {}).get(method.lower())
            if operation is not None:
                _complete(operation, route)
    document["components"] = {"schemas": _schemas(document), "securitySchemes": SECURITY}
    return document


def _complete(operation: dict[str, Any], route: APIRoute) -> None:
    """Add who may ask, and what errors look like."""
    operation["responses"].pop("422", None)
    content = {MEDIA_TYPE: {"schema": {"$ref": _REFERENCE.format(model="Problem")}}}
    content[_PLAIN] = {"schema": _TEXT}
    operation["responses"]["default"] = {"description": _PROBLEM_TEXT, "content": content}
    access = access_of(route.endpoint)
    if access is None or access.is_public:
        return
    operation["security"] = _ANY_OF
    if access.scope is not None:
        operation["x-scope"] = access.scope.value


def _schemas(document: dict[str, Any]) -> dict[str, Any]:
    """Return the schemas, with those of bodies that routes read themselves."""
    _, own = models_json_schema(
        [(AddInput, "validation"), (SourceInput, "validation")], ref_template=_REFERENCE
    )
    known = document.get("components", {}).get("schemas", {})
    kept = {name: each for name, each in known.items() if not name.endswith("ValidationError")}
    return {**own["$defs"], **kept, "Problem": PROBLEM}
