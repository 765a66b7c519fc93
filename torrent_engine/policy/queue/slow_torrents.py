"""Detection of torrents that have been slow for some time."""

from collections.abc import Collection, Hashable


class SlowTorrents:
    """Hysteresis of slow torrents: a change counts after it has lasted ``after_s`` seconds."""

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._slow: set[Hashable] = set()
        self._changing: dict[Hashable, float] = {}
        """Torrent -> since when its rate contradicts its current classification."""

    def __len__(self) -> int:
        """Return an upper bound of the number of remembered torrents."""
        return len(self._slow) + len(self._changing)

    def is_slow(self, key: Hashable, now: float, *, is_below: bool) -> bool:
        """Return whether a torrent counts as slow; ``is_below``: its rate is low at the moment."""
        was_slow = key in self._slow
        if is_below is was_slow:
            self._changing.pop(key, None)
            return was_slow
        if now - self._changing.setdefault(key, now) < self._after_s:
            return was_slow
        del self._changing[key]
        if is_below:
            self._slow.add(key)
        else:
            self._slow.discard(key)
        return is_below

    def forget(self, key: Hashable) -> None:
        """Remove a torrent that is not active."""
        self._slow.discard(key)
        self._changing.pop(key, None)

    def keep_only(self, keys: Collection[Hashable]) -> None:
        """Remove all torrents but these."""
        if len(self) > len(keys):
            for key in (self._slow | self._changing.keys()).difference(keys):
                self.forget(key)
