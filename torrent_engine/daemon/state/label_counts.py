"""How many torrents have each category and label, counted as rows come, change and go."""

from collections import Counter

from torrent_engine.daemon.engine_port.user_data import UserData


class LabelCounts:
    """Counts what :meth:`change` is told of; nobody goes through all torrents to count them."""

    def __init__(self) -> None:
        self._categories: Counter[str] = Counter()
        self._labels: Counter[str] = Counter()

    def add(self, user: UserData) -> None:
        """Count a torrent that is new."""
        self._categories[user.category] += 1
        self._labels.update(user.labels)

    def remove(self, user: UserData) -> None:
        """Count a torrent no more."""
        _take(self._categories, (user.category,))
        _take(self._labels, user.labels)

    def change(self, old: UserData, new: UserData) -> None:
        """Count a torrent with other names than before."""
        if (old.category, old.labels) != (new.category, new.labels):
            self.remove(old)
            self.add(new)

    def labels(self) -> dict[str, int]:
        """Return how many torrents have each label that any has."""
        return dict(self._labels)

    def categories(self) -> dict[str, int]:
        """Return how many torrents each category has; "" stands for none."""
        return dict(self._categories)


def _take(counts: Counter[str], names: tuple[str, ...]) -> None:
    for name in names:
        counts[name] -= 1
        if not counts[name]:
            del counts[name]
