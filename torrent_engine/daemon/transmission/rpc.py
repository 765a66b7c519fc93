"""From the body of a request to the body of its answer."""

import json
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import anyio.lowlevel
from anyio.to_thread import run_sync

from torrent_engine.base.config.units import MIB
from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.daemon.problems import ProblemError
from torrent_engine.daemon.security.bodies import LONG_BYTES
from torrent_engine.daemon.security.principals import Scope
from torrent_engine.daemon.transmission.dialect import (
    Asked,
    Call,
    Dialect,
    RefusedCall,
    failure,
    read,
)
from torrent_engine.daemon.transmission.dialect import success as success_of
from torrent_engine.daemon.transmission.errors import ErrorCode, RpcError
from torrent_engine.daemon.transmission.names import SESSION, STATISTICS, renamed

logger = logging.getLogger(__name__)
Result = Mapping[str, Any] | bytes
"""Values with names in snake_case; or JSON that is ready for the dialect of the call."""
RpcHandler = Callable[[Call], Awaitable[Result]]


MAX_ANSWER_BYTES: Final = 64 * MIB  # ours: what a batch is answered before the rest is refused


class ForbiddenError(Exception):
    """The principal may not do what a call asks."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self.scope = scope


@dataclass(frozen=True, slots=True)
class Method:
    """What answers a method, and what it takes to call it."""

    handle: RpcHandler
    scope: Scope
    names: Mapping[str, str]
    """The older spelling of names in its result."""

    @property
    def changes(self) -> bool:
        """Whether a call does more than return something."""
        return self.scope is not Scope.READ


NAMES: Final = {"session_stats": STATISTICS}


class Rpc:
    """Answers requests; :attr:`methods` has a handler for each method."""

    def __init__(
        self, handlers: Mapping[str, RpcHandler], saved: Callable[[], Awaitable[None]]
    ) -> None:
        """``handlers`` has one for each of :data:`SCOPES`.

        ``saved`` returns when the databases have what calls have changed: no change is confirmed
        before.
        """
        self._saved = saved
        self.methods = {
            name: Method(handlers[name], scope, NAMES.get(name, SESSION))
            for name, scope in SCOPES.items()
        }

    def check(self, asked: Asked | Sequence[Asked], scopes: frozenset[Scope]) -> None:
        """Raise ForbiddenError if any call needs more than some scopes."""
        for each in [asked] if isinstance(asked, Call | RefusedCall) else asked:
            if isinstance(each, Call) and self.methods[each.method].scope not in scopes:
                raise ForbiddenError(self.methods[each.method].scope)

    async def answer(self, body: bytes, scopes: frozenset[Scope]) -> bytes | None:
        """Return the answer to a request; None: nobody waits for one. Raises ForbiddenError."""
        asked = await run_sync(read, body) if len(body) > LONG_BYTES else read(body)
        self.check(asked, scopes)
        if isinstance(asked, Call | RefusedCall):
            return await self._answer_one(asked)
        answers: list[bytes] = []
        room = MAX_ANSWER_BYTES
        for each in asked:
            answer = await self._answer_one(each if room > 0 else _too_long(each))
            await anyio.lowlevel.checkpoint()  # others are answered between the calls
            if answer is not None:
                answers.append(answer)
                room -= len(answer)
        return b"[%b]" % b",".join(answers) if answers else None

    async def _answer_one(self, asked: Asked) -> bytes | None:
        call = asked.call if isinstance(asked, RefusedCall) else asked
        if call.is_notification and (isinstance(asked, RefusedCall) or not self._changes(call)):
            return None
        answer = (
            self._failure(call, asked.error)
            if isinstance(asked, RefusedCall)
            else await self._call(call)
        )
        return None if call.is_notification else answer

    def _changes(self, call: Call) -> bool:
        return self.methods[call.method].changes

    async def _call(self, call: Call) -> bytes:
        method = self.methods[call.method]
        try:
            result = await method.handle(call)
            if method.changes:
                await self._saved()
        except RpcError as error:
            return self._failure(call, error)
        except TorrentEngineError as error:
            return self._failure(call, RpcError(ErrorCode.SYSTEM_ERROR, str(error)))
        except ProblemError as error:
            return self._failure(call, RpcError(ErrorCode.SYSTEM_ERROR, error.problem.detail))
        except Exception:
            incident = secrets.token_hex(6)
            logger.exception("incident %s: %s failed", incident, call.method)
            text = f"this is a bug; the log has more: incident {incident}"
            return self._failure(call, RpcError(ErrorCode.INTERNAL_ERROR, text))
        return success_of(
            call, result if isinstance(result, bytes) else self._encoded(call, result)
        )

    def _failure(self, call: Call, error: RpcError) -> bytes:
        return failure(call, error, self._encoded(call, error.result or {}))

    def _encoded(self, call: Call, result: Mapping[str, Any]) -> bytes:
        value: object = dict(result)
        if call.dialect is Dialect.LEGACY and call.method:
            value = renamed(value, self.methods[call.method].names)
        return json.dumps(value, separators=(",", ":")).encode()


def _too_long(asked: Asked) -> RefusedCall:
    """Return a call of a batch as refused: what the others are answered is long enough."""
    if isinstance(asked, RefusedCall):
        return asked
    return RefusedCall(asked, RpcError(ErrorCode.INTERNAL_ERROR, "the answer is too long"))


SCOPES: Final[dict[str, Scope]] = {
    **dict.fromkeys(
        ("torrent_get", "session_get", "session_stats", "group_get", "free_space", "port_test"),
        Scope.READ,
    ),
    "torrent_add": Scope.ADD,
    **dict.fromkeys(
        (
            "torrent_start",
            "torrent_start_now",
            "torrent_stop",
            "torrent_verify",
            "torrent_reannounce",
            "torrent_set",
            "torrent_remove",
            "torrent_set_location",
            "torrent_rename_path",
            "queue_move_top",
            "queue_move_up",
            "queue_move_down",
            "queue_move_bottom",
        ),
        Scope.CONTROL,
    ),
    **dict.fromkeys(("session_set", "group_set", "blocklist_update"), Scope.SETTINGS),
    "session_close": Scope.ADMIN,
}
"""What each method takes."""
