"""The checks before every request, in their order, as one ASGI middleware.

Nothing of a request reaches a route before all of them passed. The framing of the request (check
1) was checked by the HTTP server.
"""

import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from torrent_engine.daemon.http.asgi import AsgiApp, AsgiReceive, AsgiScope, AsgiSend, HeaderFields
from torrent_engine.daemon.problems import MEDIA_TYPE, Problem, ProblemError
from torrent_engine.daemon.security.access import JSON, Page, RouteAccess
from torrent_engine.daemon.security.authentication import Authenticator, Denial
from torrent_engine.daemon.security.bodies import LimitedBody, check_type, limit_of, media_type_of
from torrent_engine.daemon.security.headers import (
    completed,
    cors_fields,
    preflight_fields,
)
from torrent_engine.daemon.security.hosts import HostRule, OriginRule, origin_of
from torrent_engine.daemon.security.lockout import Lockout
from torrent_engine.daemon.security.principals import Means, Principal
from torrent_engine.daemon.security.request_facts import (
    AddressRange,
    RequestFacts,
    facts_of,
    is_within,
)
from torrent_engine.daemon.security.route_table import Found
from torrent_engine.daemon.security.served_routes import ListenerRoutes

PRINCIPAL: Final = "te.principal"
FACTS: Final = "te.facts"
ROUTE: Final = "te.route"
"""The route that was found; whatever else its own matching found is in the scope too."""
REALM: Final = 'Basic realm="torrent-engine", charset="UTF-8"'
FOREIGN_RPC: Final = "/transmission/rpc"
PLAIN_TYPE: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class GuardRules:
    """What is configured of the checks; replaced as a whole when settings are read again."""

    hosts: HostRule = field(default_factory=HostRule)
    origins: OriginRule = field(default_factory=OriginRule)
    allow_from: Sequence[AddressRange] = ()
    """Networks that may ask; empty: everybody who reaches the listener."""
    trusted_proxies: Sequence[AddressRange] = ()
    hsts_s: int = 0
    """How long browsers shall use TLS only; 0: it is not said."""
    root_path: str = ""
    """Where a proxy that passes whole paths on shows the interfaces, such as "/torrents"."""


@dataclass(slots=True)
class _Request:
    facts: RequestFacts
    rules: GuardRules
    found: Found
    own_origin: str
    principal: Principal | None = None
    prefix: str = ""
    """What was taken from the beginning of its path."""

    @property
    def access(self) -> RouteAccess | None:
        return self.found.access

    @property
    def is_plain(self) -> bool:
        """Whether errors are told as text."""
        return self.access is not None and self.access.plain_errors


Check = Callable[[_Request], Awaitable[Problem | None]]


class Guard:
    """Checks requests, and completes the fields of answers."""

    def __init__(
        self,
        app: AsgiApp,
        routes: ListenerRoutes,
        authenticator: Authenticator,
        lockout: Lockout,
        rules: Callable[[str], GuardRules],
        *,
        phase: Callable[[], str],
    ) -> None:
        """``rules`` returns the present ones of a listener; ``phase`` is that of the daemon."""
        self._app = app
        self._routes = routes
        self._authenticator, self._lockout, self._rules = authenticator, lockout, rules
        self._phase = phase
        self._checks: tuple[Check, ...] = (
            self._check_address,
            self._check_lockout,
            self._check_host,
            self._check_origin,
            self._check_credential,
            self._check_csrf,
            self._check_scope,
            self._check_route,
            self._check_phase,
            self._check_body,
        )

    async def __call__(self, scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        rules = self._rules((scope.get("extensions") or {}).get("te.listener", ""))
        whole, scope = scope, below(scope, rules.root_path)
        facts = facts_of(scope, rules.trusted_proxies)
        own_origin = origin_of(facts.scheme, facts.host)
        request = _Request(facts, rules, self._routes.find(scope), own_origin)
        request.prefix = "" if scope is whole else rules.root_path
        extra = [*self._cors(request), *_hsts(facts, rules)]
        answer = _Completed(send, self._page(request), extra, is_plain=request.is_plain)
        for check in self._checks:
            if (problem := await check(request)) is not None:
                await answer.send_problem(problem)
                return
            if check == self._check_origin and self._is_preflight(request):
                await answer.send_empty(204, self._preflight(request))
                return
        if request.found.redirect:
            await answer.send_empty(308, self._redirect(request))
            return
        await self._pass(scope, receive, answer, request)

    async def _pass(
        self, scope: AsgiScope, receive: AsgiReceive, answer: "_Completed", request: _Request
    ) -> None:
        access, found = request.access, request.found
        if access is None or found.route is None:  # cannot be: the check of the route refused it
            raise RuntimeError("a request without a route passed the checks")
        scope = {
            **scope,
            **found.matched,
            ROUTE: found.route,
            PRINCIPAL: request.principal,
            FACTS: request.facts,
        }
        if found.reads_by_get:
            scope["method"] = "GET"
        kind = media_type_of(request.facts)
        body = LimitedBody(receive, limit_of(kind, access))
        try:
            if kind == JSON and not request.facts.is_safe:
                receive = (await body.read_json()).receive
            else:
                receive = body.receive
            await self._app(scope, receive, answer.send)
        except ProblemError as error:
            if answer.is_begun:
                raise
            await answer.send_problem(error.problem)

    # -- the checks -------------------------------------------------------------------------

    async def _check_address(self, request: _Request) -> Problem | None:
        allowed, client = request.rules.allow_from, request.facts.client
        if not allowed or client is None or is_within(client, allowed):
            return None
        return Problem("address_refused", "this address may not ask")

    async def _check_lockout(self, request: _Request) -> Problem | None:
        wait_s = self._lockout.wait_s(request.facts.client)
        if not wait_s or (
            request.access is not None and request.access.is_public and (request.facts.is_safe)
        ):
            return None
        if request.facts.path == FOREIGN_RPC or request.is_plain:
            return Problem("forbidden", "too many failed logins from this address")
        retry = {"Retry-After": str(int(wait_s) + 1)}
        return Problem("locked_out", "too many failed logins from this address", headers=retry)

    async def _check_host(self, request: _Request) -> Problem | None:
        if request.facts.is_unix or request.rules.hosts.allows(request.facts.host):
            return None
        detail = "this is not a name of the daemon; [listen] hosts lists further ones"
        return Problem("host_refused", detail)

    async def _check_origin(self, request: _Request) -> Problem | None:
        facts = request.facts
        if facts.is_safe:
            return None
        origin, site = facts.field(b"origin"), facts.field(b"sec-fetch-site")
        is_twice = facts.has(b"origin") and origin is None
        if is_twice or request.rules.origins.refuses(origin, site, request.own_origin):
            return Problem("origin_refused", "a page of another site may not do that")
        return None

    async def _check_credential(self, request: _Request) -> Problem | None:
        access = request.access
        if access is not None and access.is_public:
            return None
        found = await self._authenticator.principal(request.facts, access)
        if isinstance(found, Principal):
            request.principal = found
            return None
        if found is Denial.BUSY:
            return Problem("too_many_requests", "try again", headers={"Retry-After": "1"})
        if found is Denial.WRONG:
            await self._lockout.failed(request.facts)
        if request.is_plain:
            return Problem("forbidden", "Forbidden")
        prompts = access is not None and access.prompts
        scheme = REALM if prompts else 'Bearer realm="torrent-engine"'
        detail = "wrong credentials" if found is Denial.WRONG else "a token or password is needed"
        return Problem("unauthenticated", detail, headers={"WWW-Authenticate": scheme})

    async def _check_csrf(self, request: _Request) -> Problem | None:
        principal, facts, access = request.principal, request.facts, request.access
        if principal is None or facts.is_safe or access is None or access.has_own_csrf:
            return None
        if principal.means is Means.COOKIE:
            given = (facts.field(b"x-csrf-token") or "").encode()
            if not hmac.compare_digest(given, principal.csrf_token.encode()):
                return Problem("csrf_invalid", "X-CSRF-Token is not that of the session")
        elif principal.means is Means.BASIC and _may_be_a_form(facts):
            return Problem("csrf_invalid", "a browser must send JSON here")
        return None

    async def _check_scope(self, request: _Request) -> Problem | None:
        access, principal = request.access, request.principal
        if access is None or access.is_public or access.scope is None:
            return None
        if principal is not None and principal.allows(access.scope):
            return None
        extra = {"scope": access.scope.value}
        return Problem("forbidden", f"the scope {access.scope.value!r} is needed", extra=extra)

    async def _check_route(self, request: _Request) -> Problem | None:
        found, facts = request.found, request.facts
        if found.methods:
            allow = {"Allow": ", ".join(sorted(found.methods))}
            return Problem("method_not_allowed", f"not {facts.method}", headers=allow)
        if found.access is None:
            return Problem("not_found", "there is no such path")
        return None

    async def _check_phase(self, request: _Request) -> Problem | None:
        phase = self._phase()
        if phase == "running" or (request.access and request.access.allows_while_starting):
            return None
        code = "starting" if phase == "starting" else "stopping"
        return Problem(code, f"the daemon is {code}", headers={"Retry-After": "1"})

    async def _check_body(self, request: _Request) -> Problem | None:
        return None if request.access is None else check_type(request.facts, request.access)

    # -- origins ----------------------------------------------------------------------------

    def _is_preflight(self, request: _Request) -> bool:
        facts = request.facts
        return (
            facts.method == "OPTIONS"
            and facts.has(b"access-control-request-method")
            and request.rules.origins.is_listed(facts.field(b"origin"))
        )

    @staticmethod
    def _preflight(request: _Request) -> HeaderFields:
        return preflight_fields(request.facts.field(b"access-control-request-headers") or "")

    @staticmethod
    def _redirect(request: _Request) -> HeaderFields:
        query = b"?" + request.facts.query if request.facts.query else b""
        target = request.prefix + request.found.redirect
        return [(b"location", target.encode("ascii", "replace") + query)]

    def _cors(self, request: _Request) -> HeaderFields:
        origin = request.facts.field(b"origin")
        if origin is None or not request.rules.origins.is_listed(origin):
            return []
        return cors_fields(origin)

    @staticmethod
    def _page(request: _Request) -> Page:
        return Page.API if request.access is None else request.access.page


def below(scope: AsgiScope, root_path: str) -> AsgiScope:
    """Return a request without the beginning of its path that a proxy passes on."""
    path: str = scope["path"]
    if not root_path or not path.startswith(f"{root_path}/"):
        return scope
    raw = scope.get("raw_path")
    prefix = root_path.encode("utf-8", "replace")
    if isinstance(raw, bytes) and raw.startswith(prefix):
        raw = raw[len(prefix) :]
    return {**scope, "path": path[len(root_path) :], "raw_path": raw}


def _hsts(facts: RequestFacts, rules: GuardRules) -> HeaderFields:
    if not rules.hsts_s or facts.scheme != "https":
        return []
    return [(b"strict-transport-security", f"max-age={rules.hsts_s}".encode())]


def _may_be_a_form(facts: RequestFacts) -> bool:
    """Return whether a page of another site could have made a browser send this."""
    if facts.field(b"origin") == "null":  # of a page that hides where it is from
        return True
    is_browser = facts.has(b"origin") or facts.has(b"sec-fetch-site")
    return is_browser and media_type_of(facts) not in {JSON, ""}


class _Completed:
    """The way back to the client."""

    def __init__(
        self, send: AsgiSend, page: Page, extra: HeaderFields, *, is_plain: bool = False
    ) -> None:
        self._send = send
        self._page = page
        self._extra = extra
        self._is_plain = is_plain
        self.is_begun = False

    async def send(self, message: Mapping[str, Any]) -> None:
        """AsgiSend a part of an answer."""
        if message["type"] == "http.response.start":
            self.is_begun = True
            fields = completed(message.get("headers", ()), self._page, self._extra)
            message = {**message, "headers": fields}
        await self._send(message)

    async def send_problem(self, problem: Problem) -> None:
        """Answer with a problem."""
        body = problem.detail.encode("utf-8", "replace") if self._is_plain else problem.body()
        kind = PLAIN_TYPE if self._is_plain else MEDIA_TYPE
        fields = [
            (b"content-type", kind.encode()),
            (b"content-length", str(len(body)).encode()),
        ]
        fields += [(n.lower().encode(), v.encode("latin-1")) for n, v in problem.headers.items()]
        start = {"type": "http.response.start", "status": problem.status, "headers": fields}
        await self.send(start)
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def send_empty(self, status: int, fields: HeaderFields) -> None:
        """Answer without a body."""
        await self.send({"type": "http.response.start", "status": status, "headers": fields})
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def principal_of(scope: Mapping[str, Any]) -> Principal:
    """Return who makes a request, in a route that is not public."""
    principal = scope.get(PRINCIPAL)
    if not isinstance(principal, Principal):
        raise ProblemError(Problem("unauthenticated", "a token or password is needed"))
    return principal
