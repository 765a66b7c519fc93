"""A service that tells whether our port is open, for those who configure one."""

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import anyio

from torrent_engine.base.errors import HttpError
from torrent_engine.net.http.client import HttpResponse

OK: Final = 200
MAX_ANSWER_BYTES: Final = 1024
TIMEOUT_S: Final = 60.0  # ours


class Fetch(Protocol):
    """Fetches a URL as the engine does, by its proxy if it has one."""

    def __call__(self, url: str, *, max_bytes: int) -> Awaitable[HttpResponse]:
        """Return the answer. Raises HttpError."""


class PortTest:
    """Asks a URL with the port as its last part; the answer is "1" or "0"."""

    def __init__(self, url: Callable[[], str], fetch: Fetch) -> None:
        """``url`` returns the URL of the service; "" if there is none."""
        self._url = url
        self._fetch = fetch

    @property
    def is_configured(self) -> bool:
        """Whether there is a service."""
        return bool(self._url())

    async def ask(self, port: int) -> bool:
        """Return whether the service reaches the port. Raises HttpError."""
        url = f"{self._url().rstrip('/')}/{port}"
        try:
            with anyio.fail_after(TIMEOUT_S):
                answer = await self._fetch(url, max_bytes=MAX_ANSWER_BYTES)
        except TimeoutError as error:
            raise HttpError("no answer in time") from error
        if answer.status != OK:
            raise HttpError(f"HTTP status {answer.status}", status=answer.status)
        return answer.body.strip() == b"1"
