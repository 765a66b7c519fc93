"""Endpoints that want the request alone, and answer it whole."""

from collections.abc import Awaitable, Callable, Sequence
from inspect import Parameter, Signature, iscoroutinefunction, signature

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

PlainEndpoint = Callable[[Request], Awaitable[Response]]


def plain_endpoints(routes: Sequence[BaseRoute]) -> dict[object, PlainEndpoint]:
    """Return the endpoints of some routes for which FastAPI has nothing to find or to convert.

    They have one parameter, the request, return a Response, and their routes depend on nothing.
    """
    found: dict[object, PlainEndpoint] = {}
    for route in routes:
        if isinstance(route, APIRoute) and not route.dependencies and is_plain(route.endpoint):
            found[route.endpoint] = route.endpoint
    return found


def is_plain(endpoint: Callable[..., object]) -> bool:
    """Return whether a function takes a request alone, as its annotations say."""
    form: Signature = signature(endpoint)
    kinds = {Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD}
    takes = [each.annotation for each in form.parameters.values() if each.kind in kinds]
    gives = form.return_annotation
    return (
        iscoroutinefunction(endpoint)
        and len(form.parameters) == len(takes) == 1
        and takes[0] is Request
        and isinstance(gives, type)
        and issubclass(gives, Response)
    )
