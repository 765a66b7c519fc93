"""The session id that every request carries, so that no page of another site can send one."""

import hmac
import secrets
import string
from collections.abc import Callable
from typing import Final

ID_CHARS: Final = 48
"""Letters and digits only: tremc looks for a word in the text of the refusal."""
ROTATED_AFTER_S: Final = 3600.0
_ALPHABET: Final = string.ascii_letters + string.digits


class SessionIds:
    """The present id and the one before it, which is good for one more hour."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._made_s = clock()
        self._present = _make()
        self._former = ""

    @property
    def present(self) -> str:
        """The id to tell."""
        self._rotate()
        return self._present

    def is_valid(self, given: str | None) -> bool:
        """Return whether a request carries an id that is good now."""
        self._rotate()
        if not given:
            return False
        text = given.encode("utf-8", "surrogateescape")
        is_present = hmac.compare_digest(text, self._present.encode())
        return hmac.compare_digest(text, self._former.encode()) or is_present

    def _rotate(self) -> None:
        age_s = self._clock() - self._made_s
        if age_s < ROTATED_AFTER_S:
            return
        self._former = self._present if age_s < 2 * ROTATED_AFTER_S else ""
        self._present = _make()
        self._made_s = self._clock()


def _make() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(ID_CHARS))
