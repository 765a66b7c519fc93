"""Owns one fact of each torrent that runs: whether it has been slow for some time."""

from collections.abc import Collection, Hashable


class SlowTorrents:
    """Takes a torrent for slow, or no longer for slow, once it was so for ``after_s`` seconds."""

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._slow: set[Hashable] = set()
        self._changing: dict[Hashable, float] = {}
        """Since when a torrent is not what it is taken for."""

    def __len__(self) -> int:
        """Return how many torrents something is remembered of, or a few more."""
        return len(self._slow) + len(self._changing)

    def is_slow(self, key: Hashable, now: float, *, is_below: bool) -> bool:
        """Tell whether a torrent is slow, which is ``is_below`` the rate at the moment."""
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
        """Forget a torrent that does not run: it begins anew."""
        self._slow.discard(key)
        self._changing.pop(key, None)

    def keep_only(self, keys: Collection[Hashable]) -> None:
        """Forget all torrents but these."""
        if len(self) > len(keys):
            for key in (self._slow | self._changing.keys()).difference(keys):
                self.forget(key)
