"""Login and logout: a cookie for the password, or for the token in its place."""

from typing import TYPE_CHECKING

from starlette.responses import PlainTextResponse, Response

from torrent_engine.daemon.qbittorrent.errors import FORBIDDEN, WebApiError
from torrent_engine.daemon.qbittorrent.transport import (
    FAILS,
    OK,
    TextReply,
    WebApiCall,
    WebApiResult,
)
from torrent_engine.daemon.security.authentication import Denial
from torrent_engine.daemon.security.cookie_sessions import QBITTORRENT

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext

BUSY = 429


class LoginForm:
    """Begins and ends sessions."""

    def __init__(self, context: "DaemonContext") -> None:
        self._authenticator = context.authenticator
        self._lockout = context.lockout
        self._store = context.state.store

    async def log_in(self, call: WebApiCall) -> WebApiResult:
        """Begin a session; "Fails." with status 200 for a wrong password, as the protocol says."""
        facts, params = call.facts, call.params
        name = QBITTORRENT.name_on(facts.scheme)
        cookie = facts.cookie(name)
        if cookie and self._authenticator.sessions.principal(cookie, QBITTORRENT) is not None:
            return TextReply(OK)
        denial = await self._authenticator.log_in(params.text("username"), params.text("password"))
        if denial is Denial.BUSY:
            raise WebApiError(BUSY, "try again")
        if denial is not None:
            await self._lockout.failed(facts)
            if self._lockout.wait_s(facts.client):
                raise WebApiError(FORBIDDEN, "too many failed logins from this address")
            return TextReply(FAILS)
        self._lockout.succeeded(facts.client)
        begun = self._authenticator.sessions.begin(QBITTORRENT)
        await self._store.flush()  # it is there after a kill, too
        answer = PlainTextResponse(OK)
        answer.set_cookie(
            name,
            begun,
            path="/",
            secure=facts.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return answer

    async def log_out(self, call: WebApiCall) -> Response:
        """End the session of the cookie."""
        name = QBITTORRENT.name_on(call.facts.scheme)
        if (cookie := call.facts.cookie(name)) is not None:
            self._authenticator.sessions.end(cookie)
            await self._store.flush()  # a kill does not bring it back
        answer = PlainTextResponse("")
        answer.delete_cookie(name, path="/", secure=call.facts.scheme == "https", httponly=True)
        return answer
