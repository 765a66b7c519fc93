"""Endpoints that want the request alone, which are called without FastAPI's way around them."""

from collections.abc import Callable
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.support.daemon_app import make_client
from torrent_engine.base.errors import MetainfoError
from torrent_engine.daemon.common.plain_endpoints import is_plain, plain_endpoints
from torrent_engine.daemon.problems import Problem, ProblemError
from torrent_engine.daemon.security.access import needs, public
from torrent_engine.daemon.security.principals import Scope

pytestmark = pytest.mark.anyio


async def alone(request: Request) -> Response:
    return JSONResponse(request.method)


async def of_a_kind(request: Request) -> JSONResponse:
    return JSONResponse(request.method)


async def with_a_query(request: Request, number: Annotated[int, Query()] = 1) -> Response:
    return JSONResponse([request.method, number])


async def with_a_default(request: Request, *, number: int = 1) -> Response:
    return JSONResponse([request.method, number])


async def without_a_request() -> Response:
    return JSONResponse(1)


async def with_a_body(name: str) -> Response:
    return JSONResponse(name)


async def told_as_it_is(request: Request) -> str:
    return request.method


async def told_without_a_type(request: Request):
    return JSONResponse(request.method)


def in_a_thread(request: Request) -> Response:
    return JSONResponse(request.method)


@pytest.mark.parametrize("endpoint", [alone, of_a_kind])
def test_a_request_in_and_a_response_out_is_plain(endpoint: Callable[..., object]) -> None:
    assert is_plain(endpoint)


@pytest.mark.parametrize(
    "endpoint",
    [
        with_a_query,
        with_a_default,
        without_a_request,
        with_a_body,
        told_as_it_is,
        told_without_a_type,
        in_a_thread,
    ],
)
def test_what_fastapi_has_to_find_or_to_convert_is_not(endpoint: Callable[..., object]) -> None:
    assert not is_plain(endpoint)


def test_routes_with_dependencies_are_left_to_fastapi() -> None:
    def nobody() -> None: ...

    routes = APIRouter()
    routes.add_api_route("/one", alone, methods=["GET"])
    routes.add_api_route("/two", of_a_kind, methods=["GET"], dependencies=[Depends(nobody)])
    assert list(plain_endpoints(routes.routes)) == [alone]


def raising(error: Exception) -> Callable[..., Any]:
    @needs(Scope.READ)
    async def fail(request: Request) -> Response:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ProblemError(Problem("not_found", "not now")), 404, "not_found"),
        (MetainfoError("no torrent"), 422, "torrent_invalid"),
        (ValueError("a bug"), 500, "internal"),
    ],
)
async def test_errors_are_problems_as_elsewhere(error: Exception, status: int, code: str) -> None:
    routes = APIRouter()
    routes.add_api_route("/things", raising(error), methods=["GET"])
    answer = await make_client(extra=routes).bearer().ask("GET", "/things")
    assert (answer.status, answer.code) == (status, code)


async def test_what_hangs_behind_the_answer_runs_and_paths_end_where_they_end() -> None:
    done = []

    @public()
    async def answer(request: Request) -> Response:
        response = JSONResponse(request.path_params)

        async def note() -> None:
            done.append(request.url.path)

        response.background = note  # type: ignore[assignment]
        return response

    routes = APIRouter()
    routes.add_api_route("/things", answer, methods=["GET"])
    routes.add_api_route("/things/{name}/of", answer, methods=["GET"])
    client = make_client(extra=routes)
    assert (await client.ask("GET", "/things")).json == {}
    assert (await client.ask("GET", "/things/a/of")).json == {"name": "a"}
    assert done == ["/things", "/things/a/of"]
    for path in ("/things%0A", "/things/a", "/thing", "/thingsx"):
        assert (await client.bearer().ask("GET", path)).status == 404, path
