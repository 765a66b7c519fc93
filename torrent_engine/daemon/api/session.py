"""Sessions of browsers and tickets: ``/api/v1/session``."""

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from torrent_engine.daemon.api.requests import Input, facts_in, principal_in
from torrent_engine.daemon.problems import Problem, ProblemError
from torrent_engine.daemon.security.access import needs, public
from torrent_engine.daemon.security.authentication import Denial
from torrent_engine.daemon.security.cookie_sessions import OWN, csrf_token_of
from torrent_engine.daemon.security.principals import ALL_SCOPES, Means, Principal
from torrent_engine.daemon.security.tickets import LIFE_S

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext
    from torrent_engine.daemon.security.request_facts import RequestFacts


class LoginInput(Input):
    """How somebody logs in: a password with or without a user, or a ticket."""

    user: str | None = None
    password: str | None = None
    ticket: str | None = None


def router(context: "DaemonContext") -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api/v1/session", tags=["session"])

    @routes.get("")
    @needs(None)
    async def show(request: Request) -> Response:
        """Return who asks, and the CSRF token of a cookie."""
        facts, principal = facts_in(request), principal_in(request)
        cookie = facts.cookie(OWN.name_on(facts.scheme))
        return JSONResponse(_session(context, principal, cookie))

    @routes.post("", status_code=201)
    @public()
    async def begin(request: Request, login: LoginInput | None = None) -> Response:
        """Log in; a cookie that is valid already gives the same session again (200)."""
        facts = facts_in(request)
        name = OWN.name_on(facts.scheme)
        if (cookie := facts.cookie(name)) is not None:
            found = context.authenticator.sessions.principal(cookie, OWN)
            if found is not None:
                return JSONResponse(_session(context, found, cookie))
        await _log_in(context, facts, login or LoginInput())
        cookie = context.authenticator.sessions.begin(OWN)
        await context.state.store.flush()  # it is there after a kill, too
        principal = Principal("session", Means.COOKIE)
        answer = JSONResponse(_session(context, principal, cookie), 201)
        answer.set_cookie(
            name,
            cookie,
            max_age=int(OWN.life_s),
            path="/",
            secure=facts.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return answer

    @routes.delete("", status_code=204)
    @needs(None)
    async def end(request: Request) -> Response:
        """Log out; what tabs of the session own is cancelled."""
        facts = facts_in(request)
        context.state.owners.end_all_of(principal_in(request).csrf_token)
        name = OWN.name_on(facts.scheme)
        if (cookie := facts.cookie(name)) is not None:
            context.authenticator.sessions.end(cookie)
        await context.state.store.flush()  # a kill does not bring it back
        answer = Response(status_code=204)
        answer.delete_cookie(name, path="/", secure=facts.scheme == "https", httponly=True)
        return answer

    @routes.post("/ticket", status_code=201)
    @needs(None)
    async def ticket(request: Request) -> Response:
        """Return a secret that logs in once, within a minute."""
        secret = context.authenticator.tickets.make(principal_in(request))
        return JSONResponse({"ticket": secret, "expires_in_s": LIFE_S}, 201)

    return routes


async def _log_in(context: "DaemonContext", facts: "RequestFacts", login: LoginInput) -> None:
    """Raise ProblemError unless somebody proves that he may do everything."""
    denial = await _denial(context, facts, login)
    if denial is None:
        context.lockout.succeeded(facts.client)
    elif denial is Denial.BUSY:
        raise ProblemError(Problem("too_many_requests", "try again", headers={"Retry-After": "1"}))
    else:
        if denial is Denial.WRONG:
            await context.lockout.failed(facts)
        raise ProblemError(Problem("unauthenticated", "wrong password, token or ticket"))


async def _denial(
    context: "DaemonContext", facts: "RequestFacts", login: LoginInput
) -> Denial | None:
    authenticator = context.authenticator
    if login.ticket is not None:
        maker = authenticator.by_ticket(login.ticket)
        return Denial.INVALID if maker is None else _full(maker)
    if login.password is not None:
        return await authenticator.log_in(login.user, login.password)
    if not facts.has(b"authorization"):
        return Denial.MISSING
    found = await authenticator.principal(facts, None)
    return found if isinstance(found, Denial) else _full(found)


def _full(principal: Principal | None) -> Denial | None:
    """Return None for a principal who may do everything, as a session may."""
    is_full = principal is not None and principal.scopes == ALL_SCOPES
    return None if is_full else Denial.WRONG


def _session(context: "DaemonContext", principal: Principal, cookie: str | None) -> dict[str, Any]:
    held = cookie if principal.means is Means.COOKIE else None
    expires_at = None if held is None else context.authenticator.sessions.expires_at(held)
    return {
        "user": principal.name,
        "means": principal.means.value,
        "scopes": sorted(principal.scopes),
        "csrf_token": None if held is None else csrf_token_of(held),
        "epoch": context.life.epoch,
        "expires_at": expires_at,
    }
