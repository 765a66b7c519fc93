"""Trackers and web seeds of a torrent: its own, and those that the user added or removed.

Source: BEP 12 (tiers), BEP 17 and 19 (web seeds).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar
from urllib.parse import urlsplit

from torrent_engine.base.checks import check_text
from torrent_engine.base.errors import ConfigError, TrackerError
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.stats import TorrentFacts
from torrent_engine.engine.transfer.web_seed_fetch import BEP_OF_FILES, BEP_OF_SCRIPTS
from torrent_engine.protocol.tracker.urls import parse_tracker_url

if TYPE_CHECKING:
    from torrent_engine.engine.discovery.tracker_coordinator import TrackerCoordinator
    from torrent_engine.engine.transfer.web_seeds import WebSeeds

T = TypeVar("T")
MAX_URL_BYTES: Final = 4_096
WEB_SEED_BEPS: Final = (BEP_OF_SCRIPTS, BEP_OF_FILES)


@dataclass(frozen=True, slots=True)
class SourceEdits:
    """Trackers and web seeds that were added or removed; the torrent's own are not in here."""

    tiers: tuple[tuple[str, ...], ...] | None = None
    """All trackers, in place of the torrent's own; None: its own. The next two come on top."""
    trackers: tuple[tuple[str, int | None], ...] = ()
    """Added: URL and tier; None: a tier of its own at the end."""
    no_trackers: frozenset[str] = frozenset()
    """Removed."""
    web_seeds: tuple[tuple[str, int], ...] = ()
    """Added: URL, and 19 for files by path or 17 for a script."""
    no_web_seeds: frozenset[str] = frozenset()

    def with_tracker(self, url: str, tier: int | None) -> Self:
        """Return this with one more tracker."""
        return replace(
            self,
            trackers=(*_without(self.trackers, url), (url, tier)),
            no_trackers=self.no_trackers - {url},
        )

    def without_tracker(self, url: str) -> Self:
        """Return this with one more tracker removed."""
        others = _without(self.trackers, url)
        return replace(self, trackers=others, no_trackers=self.no_trackers | {url})

    def with_tiers(self, tiers: tuple[tuple[str, ...], ...]) -> Self:
        """Return this with these trackers and no others."""
        return replace(self, tiers=tiers, trackers=(), no_trackers=frozenset())

    def with_web_seed(self, url: str, bep: int) -> Self:
        """Return this with one more web seed."""
        return replace(
            self,
            web_seeds=(*_without(self.web_seeds, url), (url, bep)),
            no_web_seeds=self.no_web_seeds - {url},
        )

    def without_web_seed(self, url: str) -> Self:
        """Return this with one more web seed removed."""
        others = _without(self.web_seeds, url)
        return replace(self, web_seeds=others, no_web_seeds=self.no_web_seeds | {url})

    def web_seeds_of(self, own: Metainfo | TorrentFacts | None) -> dict[str, int]:
        """Return all web seeds of a torrent, each with its BEP."""
        known: dict[str, int] = {}
        if own is not None:
            known |= dict.fromkeys(own.http_seeds, BEP_OF_SCRIPTS)
            known |= dict.fromkeys(own.web_seeds, BEP_OF_FILES)
        known |= dict(self.web_seeds)
        return {url: bep for url, bep in known.items() if url not in self.no_web_seeds}

    def tiers_of(self, named: Sequence[Sequence[str]]) -> list[list[str]]:
        """Return all trackers of a torrent, tier by tier, without empty tiers."""
        tiers = [list(tier) for tier in (named if self.tiers is None else self.tiers)]
        known = {url for tier in tiers for url in tier}
        for url, tier in self.trackers:
            if url in known:
                continue
            if tier is not None and tier < len(tiers):
                tiers[tier].append(url)
            else:
                tiers.append([url])
        left = ([url for url in tier if url not in self.no_trackers] for tier in tiers)
        return [tier for tier in left if tier]

    def apply_to_trackers(self, coordinator: "TrackerCoordinator") -> None:
        """Change the trackers of a run."""
        if self.tiers is not None:
            coordinator.set_tiers(self.tiers_of(()))
            return
        for url, tier in self.trackers:
            coordinator.add_tracker(url, tier)
        for url in self.no_trackers:
            coordinator.remove_tracker(url)

    def apply_to_web_seeds(self, web_seeds: "WebSeeds") -> None:
        """Change the web seeds of a run."""
        for url in self.no_web_seeds:
            web_seeds.remove(url)
        for url, bep in self.web_seeds:
            web_seeds.add(url, bep)

    def values(self) -> dict[str, Any]:
        """Return this as plain values, for JSON; what is empty is left out, but for tiers."""
        values = {
            "tiers": self.tiers,
            "trackers": dict(self.trackers),
            "no_trackers": sorted(self.no_trackers),
            "web_seeds": dict(self.web_seeds),
            "no_web_seeds": sorted(self.no_web_seeds),
        }
        return {name: each for name, each in values.items() if each or each == ()}


NO_EDITS: Final = SourceEdits()


def edits_from(values: Mapping[str, Any]) -> SourceEdits:
    """Return what :meth:`SourceEdits.values` gave; invalid values are left out."""
    trackers = tuple(
        (url, tier if isinstance(tier, int) else None)
        for url, tier in _items(values.get("trackers"))
        if _is_tracker(url)
    )
    web_seeds = tuple(
        (url, bep)
        for url, bep in _items(values.get("web_seeds"))
        if bep in WEB_SEED_BEPS and is_web_seed_url(url)
    )
    no_trackers = frozenset(_texts(values.get("no_trackers")))
    no_web_seeds = frozenset(_texts(values.get("no_web_seeds")))
    return SourceEdits(_tiers(values.get("tiers")), trackers, no_trackers, web_seeds, no_web_seeds)


def check_web_seed(url: str, bep: int) -> None:
    """Raise ConfigError unless this can be a web seed."""
    if not is_web_seed_url(url):
        raise ConfigError(f"web seed: {url!r} is no http or https URL")
    if bep not in WEB_SEED_BEPS:
        raise ConfigError(f"web seed: BEP {bep} is neither 17 nor 19")


def is_web_seed_url(url: str) -> bool:
    """Return whether a URL is of a kind that web seeds have; where it leads is checked later."""
    if not url.isprintable() or len(url.encode()) > MAX_URL_BYTES:
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        return False


def _is_tracker(url: str) -> bool:
    try:
        parse_tracker_url(url)
    except TrackerError:
        return False
    return True


def _tiers(value: object) -> tuple[tuple[str, ...], ...] | None:
    if not isinstance(value, list | tuple):
        return None
    return tuple(tuple(_texts(tier)) for tier in value)


def check_tiers(
    tiers: Sequence[Sequence[str]], known: Collection[str]
) -> tuple[tuple[str, ...], ...]:
    """Return tiers of trackers without repeated URLs and empty tiers.

    Raises TypeError for what is no text, and TrackerError for what is no http, https or udp URL and
    not among the ``known`` ones.
    """
    seen: set[str] = set()
    checked: list[tuple[str, ...]] = []
    for tier in tiers:
        if isinstance(tier, str):
            raise TypeError(f"tiers: each must be a list of URLs, not {tier!r:.80}")
        urls: list[str] = []
        for url in tier:
            check_text("url", url)
            if url not in known:
                parse_tracker_url(url)
            if url not in seen:
                seen.add(url)
                urls.append(url)
        if urls:
            checked.append(tuple(urls))
    return tuple(checked)


def _texts(value: object) -> list[str]:
    found = value if isinstance(value, list | tuple) else ()
    return [text for text in found if isinstance(text, str)]


def _items(value: object) -> list[tuple[str, Any]]:
    found = value.items() if isinstance(value, dict) else ()
    return [(name, each) for name, each in found if isinstance(name, str)]


def _without(pairs: tuple[tuple[str, T], ...], url: str) -> tuple[tuple[str, T], ...]:
    return tuple(pair for pair in pairs if pair[0] != url)
