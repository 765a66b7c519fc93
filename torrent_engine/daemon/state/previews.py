"""Torrents whose metadata somebody only looks at: no interface lists them.

A preview is a torrent of the engine with a mark in its user data; it stops once the metadata is
there, and goes with its owner.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.engine_port.facts import EngineState, FactSheet
from torrent_engine.daemon.engine_port.user_data import UserData
from torrent_engine.service.add_options import Ephemeral

READY: Final = "ready"
FETCHING: Final = "fetching"
FAILED: Final = "failed"
GONE: Final = "gone"


@dataclass(frozen=True, slots=True)
class Preview:
    """One preview as it is told."""

    info_hash: InfoHash
    name: str
    status: str
    """"fetching", "ready", "failed" or "gone"."""
    error: str
    facts: FactSheet

    @classmethod
    def of(cls, facts: FactSheet) -> "Preview":
        """Return what the facts of a torrent say."""
        progress = facts.progress
        status = FETCHING
        if facts.about.has_metadata:
            status = READY
        elif progress.state is EngineState.ERROR:
            status = FAILED
        return cls(facts.info_hash, facts.about.name, status, progress.error, facts)


class PreviewStore:
    """The previews that are there; ``tell`` is called when the status of one changes."""

    def __init__(self, tell: Callable[[Preview, str], None]) -> None:
        self._tell = tell
        self._previews: dict[InfoHash, Preview] = {}

    def __iter__(self) -> Iterator[Preview]:
        """Iterate over the previews."""
        return iter(tuple(self._previews.values()))

    def get(self, info_hash: InfoHash) -> Preview | None:
        """Return a preview; None if there is none of this torrent."""
        return self._previews.get(info_hash)

    def take(self, facts: FactSheet) -> bool:
        """Take what is known of a torrent; False if it is no preview."""
        values = dict(facts.settings.user_data)
        if not values or UserData.read(values).ephemeral != Ephemeral.PREVIEW:
            self._previews.pop(facts.info_hash, None)
            return False
        before, after = self._previews.get(facts.info_hash), Preview.of(facts)
        self._previews[facts.info_hash] = after
        if before is None or before.status != after.status:
            self._tell(after, after.status)
        return True

    def drop(self, info_hash: InfoHash) -> None:
        """Forget a torrent that is gone."""
        gone = self._previews.pop(info_hash, None)
        if gone is not None:
            self._tell(gone, GONE)
