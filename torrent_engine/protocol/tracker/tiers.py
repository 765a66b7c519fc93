"""The order in which trackers are tried: shuffled tiers, a working one first (BEP 12).

Source: BEP 12.
"""

import random
from collections.abc import Iterable, Iterator


class TrackerTiers:
    """The trackers of one torrent, in tiers; each URL is in exactly one tier."""

    def __init__(self, tiers: Iterable[Iterable[str]], rng: random.Random) -> None:
        self._tiers: list[list[str]] = []
        self._rng = rng
        seen: set[str] = set()
        for tier in tiers:
            urls = [url for url in dict.fromkeys(tier) if url not in seen]
            seen.update(urls)
            rng.shuffle(urls)
            if urls:
                self._tiers.append(urls)

    def __len__(self) -> int:
        """Return the number of tiers, including empty ones."""
        return len(self._tiers)

    def __iter__(self) -> Iterator[str]:
        """Yield every URL in the order in which BEP 12 tries them."""
        for tier in self._tiers:
            yield from tier

    def tier(self, index: int) -> tuple[str, ...]:
        """Return the URLs of one tier in their current order."""
        return tuple(self._tiers[index])

    def tier_of(self, url: str) -> int:
        """Return the index of a URL's tier. Raises KeyError if it is unknown."""
        for index, tier in enumerate(self._tiers):
            if url in tier:
                return index
        raise KeyError(url)

    def promote(self, url: str) -> None:
        """Move a tracker that responded to the front of its tier."""
        tier = self._tiers[self.tier_of(url)]
        tier.remove(url)
        tier.insert(0, url)

    def remove(self, url: str) -> None:
        """Remove a tracker; an empty tier stays. Raises KeyError if it is unknown."""
        self._tiers[self.tier_of(url)].remove(url)

    def add(self, url: str, tier: int | None = None) -> int | None:
        """Add a tracker at a random position of a tier, or in a new last tier.

        Returns the tier's index, or None if the URL is already listed.
        """
        if any(url in urls for urls in self._tiers):
            return None
        if tier is None or not 0 <= tier < len(self._tiers):
            self._tiers.append([url])
            return len(self._tiers) - 1
        urls = self._tiers[tier]
        urls.insert(self._rng.randrange(len(urls) + 1), url)
        return tier
