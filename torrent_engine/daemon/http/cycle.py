"""One request and its answer: uvicorn's cycle in a scope that ends with the connection."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import anyio
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.h11_impl import RequestResponseCycle

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application, ASGISendEvent

logger = logging.getLogger(__name__)
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class RequestCycle(RequestResponseCycle):
    """Runs the application for one request.

    If the client goes away, a request that only reads is cancelled, and one that changes something
    goes on. At a stop both are cancelled.
    """

    def __init__(self, *, has_long_body: Callable[[], bool], now: float, **parts: Any) -> None:  # noqa: ANN401
        super().__init__(**parts)
        self.cancel_scope = anyio.CancelScope()
        self.begun_s = now
        self.status = 0
        self._has_long_body = has_long_body

    def client_is_gone(self) -> None:
        """End what nobody reads any more."""
        self.disconnected = True
        self.message_event.set()
        if self.scope["method"] in SAFE_METHODS:
            self.cancel_scope.cancel()

    def cancel(self) -> None:
        """End the request whatever it does."""
        self.disconnected = True
        self.message_event.set()
        self.cancel_scope.cancel()

    async def run_asgi(self, app: "ASGI3Application") -> None:
        """Run the application; never raises an Exception."""
        try:
            with self.cancel_scope:
                await app(self.scope, self.receive, self.send)
        except Exception:
            logger.exception("a request failed")
            await self._fail()
        else:
            await self._complete()
        finally:
            self.on_response = lambda: None

    async def _fail(self) -> None:
        if self.response_started or self.disconnected:
            self.transport.close()
        else:
            await self.send_500_response()

    async def _complete(self) -> None:
        if self.disconnected or self.response_complete:
            return
        if not self.cancel_scope.cancelled_caught:
            logger.error("the application did not complete its answer")
        await self._fail()

    async def send(self, message: "ASGISendEvent") -> None:
        """Send a part of the answer; say that the connection ends if much of a body is unread."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if not self.keep_alive or (self.more_body and self._has_long_body()):
                self.keep_alive = False
                fields = [*message.get("headers", []), CLOSE_HEADER]
                message = {**message, "headers": fields}
        await super().send(message)
