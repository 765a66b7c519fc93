"""Addresses that users banned, so that the bans hold in the next process too."""

from collections.abc import Callable
from contextlib import suppress

from torrent_engine.base.errors import ConfigError
from torrent_engine.daemon.engine_port.port import EngineControl
from torrent_engine.daemon.state.store import StoredTable


class BanBook:
    """Bans of users with their ends, written down; the engine itself forgets them."""

    def __init__(
        self, engine: EngineControl, table: StoredTable, wall_clock: Callable[[], float]
    ) -> None:
        self._engine = engine
        self._table = table
        self._wall_clock = wall_clock

    def ban(self, host: str, seconds: int | None) -> None:
        """Have no connections with a literal address; None: for good. Raises ConfigError."""
        self._engine.ban(host, seconds)
        self._table.put(host, None if seconds is None else self._wall_clock() + seconds)

    def reload(self) -> None:
        """Let an engine that was opened know the bans that hold still."""
        now = self._wall_clock()
        for host, ends_at in self._table.items():
            left_s = None if ends_at is None else int(ends_at - now)
            if left_s is not None and left_s <= 0:
                self._table.drop(host)
                continue
            with suppress(ConfigError):
                self._engine.ban(host, left_s)
