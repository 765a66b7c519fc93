"""Tickets: secrets that let in once, within a minute, with the rights of who asked for them."""

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from torrent_engine.daemon.security.principals import Means, Principal
from torrent_engine.daemon.security.records import digest_of

LIFE_S: Final = 60.0
MAX_TICKETS: Final = 1_000


class Tickets:
    """Tickets that were not used yet; the oldest end when there are too many."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waiting: OrderedDict[str, tuple[float, Principal]] = OrderedDict()

    def make(self, principal: Principal) -> str:
        """Return a ticket with the rights of a principal."""
        while len(self._waiting) >= MAX_TICKETS:
            self._waiting.popitem(last=False)
        secret = secrets.token_urlsafe(32)
        self._waiting[digest_of(secret)] = self._clock() + LIFE_S, principal
        return secret

    def take(self, secret: str) -> Principal | None:
        """Return whose ticket it is, and forget it; None if it was used or is too old."""
        ends_s, maker = self._waiting.pop(digest_of(secret), (0.0, None))
        if maker is None or self._clock() >= ends_s:
            return None
        return replace(maker, means=Means.TICKET, csrf_token="", session_id="")
