"""Requests that are made twice and count once: ``Idempotency-Key``.

The answer to a request that created something is kept for a day. The same key with the same body
gets that answer again; what failed changed nothing, so it is carried out again.
"""

import hashlib
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from torrent_engine.daemon.api.requests import principal_in
from torrent_engine.daemon.problems import Problem, ProblemError
from torrent_engine.daemon.state.store import StoredTable

KEPT_S: Final = 86_400.0
MAX_KEY_CHARS: Final = 255
MAX_KEPT: Final = 10_000  # ours: the oldest go first
_PRUNE_AT: Final = 100
_SUCCESS: Final = range(200, 300)


class Idempotency:
    """Answers that were given, by the keys of their requests."""

    def __init__(self, table: StoredTable, *, now: Callable[[], float] = time.time) -> None:
        self._table = table
        self._now = now
        self._running: set[str] = set()
        self._puts = 0

    async def answer(
        self, request: Request, body: bytes, answer: Callable[[], Awaitable[Response]]
    ) -> Response:
        """Return what ``answer`` returns, or what it returned to the same request before.

        Raises ProblemError if the key had another request, or one that is not answered yet.
        """
        given = request.headers.get("idempotency-key")
        if given is None:
            return await answer()
        if not 0 < len(given) <= MAX_KEY_CHARS:
            detail = f"Idempotency-Key has 1 to {MAX_KEY_CHARS} characters"
            raise ProblemError(Problem("bad_request", detail))
        key, asked = self._key(request, given), self._fingerprint(request, body)
        if (known := self._known(key)) is not None:
            return _again(known, asked)
        if key in self._running:
            raise ProblemError(Problem("idempotency_in_progress", "the first one still runs"))
        self._running.add(key)
        try:
            response = await answer()
        finally:
            self._running.discard(key)
        if response.status_code in _SUCCESS:
            self._keep(key, asked, response)
        return response

    @staticmethod
    def _key(request: Request, given: str) -> str:
        principal = principal_in(request)
        text = "\0".join((principal.means, principal.name, request.url.path, given))
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()

    @staticmethod
    def _fingerprint(request: Request, body: bytes) -> str:
        digest = hashlib.sha256(request.url.query.encode("utf-8", "surrogateescape"))
        digest.update(b"\0" + body)
        return digest.hexdigest()

    def _known(self, key: str) -> dict[str, Any] | None:
        known = self._table.get(key)
        is_fresh = isinstance(known, dict) and known.get("at", 0) > self._now() - KEPT_S
        return known if is_fresh else None

    def _keep(self, key: str, asked: str, response: Response) -> None:
        self._table.put(
            key,
            {
                "at": self._now(),
                "asked": asked,
                "status": response.status_code,
                "type": response.headers.get("content-type", ""),
                "location": response.headers.get("location", ""),
                "body": bytes(response.body).decode("utf-8", "replace"),
            },
        )
        self._puts += 1
        if self._puts % _PRUNE_AT == 1:
            self._prune()

    def _prune(self) -> None:
        """Forget what is too old, and the oldest of too many."""
        oldest_at = self._now() - KEPT_S
        ages = sorted((value.get("at", 0), key) for key, value in self._table.items())
        spare = max(0, len(ages) - MAX_KEPT)
        for number, (at, key) in enumerate(ages):
            if number < spare or at <= oldest_at:
                self._table.drop(key)


def _again(known: dict[str, Any], asked: str) -> Response:
    if known["asked"] != asked:
        raise ProblemError(Problem("idempotency_key_reused", "the key had another request"))
    headers = {"Content-Type": known["type"], "Idempotent-Replayed": "true"}
    if known["location"]:
        headers["Location"] = known["location"]
    return Response(known["body"].encode(), known["status"], headers)
