"""A service that tells whether our port is open, for those who configure one."""

from collections.abc import Callable
from typing import Final

from torrent_engine.base.config import TrackerConfig
from torrent_engine.base.errors import HttpError
from torrent_engine.net.http.client import HttpClient

OK: Final = 200
MAX_ANSWER_BYTES: Final = 1024


class PortTest:
    """Asks a URL with the port as its last part; the answer is "1" or "0"."""

    def __init__(self, url: Callable[[], str]) -> None:
        """``url`` returns the URL of the service; "" if there is none."""
        self._url = url

    @property
    def is_configured(self) -> bool:
        """Whether there is a service."""
        return bool(self._url())

    async def ask(self, port: int) -> bool:
        """Return whether the service reaches the port. Raises HttpError."""
        client = HttpClient(TrackerConfig())
        url = f"{self._url().rstrip('/')}/{port}"
        answer = await client.get(url, max_bytes=MAX_ANSWER_BYTES)
        if answer.status != OK:
            raise HttpError(f"HTTP status {answer.status}", status=answer.status)
        return answer.body.strip() == b"1"
