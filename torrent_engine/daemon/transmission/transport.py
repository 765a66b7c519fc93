"""The protocol over HTTP: session id, methods of HTTP, compression.

Clients take the session id from the answer 409, which therefore comes before the check of the
method: some of them ask by GET. tremc looks for it in the text of the answer.
"""

import gzip
from typing import Final

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response

from torrent_engine.daemon.problems import Problem, ProblemError
from torrent_engine.daemon.security.principals import Principal
from torrent_engine.daemon.transmission.rpc import ForbiddenError, Rpc
from torrent_engine.daemon.transmission.session_fields import RPC_SEMVER
from torrent_engine.daemon.transmission.session_ids import SessionIds

SESSION_FIELD: Final = "X-Transmission-Session-Id"
VERSION_FIELD: Final = "X-Transmission-Rpc-Version"
JSON_TYPE: Final = "application/json; charset=UTF-8"
COMPRESSED_FROM_BYTES: Final = 1024
IN_THREAD_FROM_BYTES: Final = 64 * 1024
COMPRESSION_LEVEL: Final = 1
CONFLICT: Final = 409
_CONFLICT_PAGE: Final = (
    "<!DOCTYPE html><title>409: Conflict</title><h1>409: Conflict</h1>"
    "<p>Your request had no valid session id. Send it again with this header:</p>"
    "<p><code>{field}: {value}</code></p>\n"
    "<p>It is asked for so that no page of another site can send requests.</p>\n"
)


class RpcTransport:
    """Answers requests of HTTP that the guard let pass."""

    def __init__(self, rpc: Rpc, session_ids: SessionIds) -> None:
        self._rpc = rpc
        self._session_ids = session_ids

    async def answer(self, request: Request, principal: Principal) -> Response:
        """Return the answer to a request."""
        fields = {SESSION_FIELD: self._session_ids.present, VERSION_FIELD: RPC_SEMVER}
        if not self._session_ids.is_valid(request.headers.get(SESSION_FIELD)):
            text = _CONFLICT_PAGE.format(field=SESSION_FIELD, value=self._session_ids.present)
            return Response(text, CONFLICT, fields, "text/html")
        if request.method != "POST":
            headers = {**fields, "Allow": "POST"}
            raise ProblemError(Problem("method_not_allowed", "send a POST", headers=headers))
        try:
            body = await self._rpc.answer(await request.body(), principal.scopes)
        except ForbiddenError as error:
            scope = error.scope.value
            raise ProblemError(
                Problem(
                    "forbidden",
                    f"the scope {scope!r} is needed",
                    extra={"scope": scope},
                    headers=fields,
                )
            ) from None
        if body is None:
            return Response(status_code=204, headers=fields)
        return await _compressed(body, fields, request)


async def _compressed(body: bytes, fields: dict[str, str], request: Request) -> Response:
    if len(body) < COMPRESSED_FROM_BYTES:
        return Response(body, 200, fields, JSON_TYPE)
    fields = {**fields, "Vary": "Accept-Encoding"}
    if not takes_gzip(request.headers.get("accept-encoding", "")):
        return Response(body, 200, fields, JSON_TYPE)
    if len(body) < IN_THREAD_FROM_BYTES:
        body = _gzip(body)
    else:
        body = await anyio.to_thread.run_sync(_gzip, body)
    return Response(body, 200, {**fields, "Content-Encoding": "gzip"}, JSON_TYPE)


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, COMPRESSION_LEVEL, mtime=0)


def takes_gzip(accepted: str) -> bool:
    """Return whether a value of Accept-Encoding lets an answer be compressed by gzip."""
    for part in accepted.lower().split(","):
        coding, _, parameters = part.partition(";")
        if coding.strip() in {"gzip", "x-gzip"}:
            return parameters.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False
