"""Changes of a torrent's trackers, as ``torrent_set`` asks for them."""

from collections.abc import Iterable, Sequence

from torrent_engine.base.errors import TrackerError
from torrent_engine.daemon.engine_port.facts import TrackerFacts
from torrent_engine.daemon.transmission.errors import ErrorCode, RpcError
from torrent_engine.daemon.transmission.params import Params, as_integer, as_text
from torrent_engine.protocol.tracker.urls import parse_tracker_url

UrlTiers = list[list[str]]
CHANGES = ("tracker_list", "tracker_add", "tracker_remove", "tracker_replace")


def read_tracker_list(text: str) -> UrlTiers:
    """Return the tiers of a text with a URL in each line, and empty lines between tiers.

    A URL counts where it is first. Raises RpcError for one that is no tracker.
    """
    tiers: UrlTiers = [[]]
    seen: set[str] = set()
    for line in text.splitlines():
        url = line.strip()
        if not url:
            tiers.append([])
        elif url not in seen:
            seen.add(url)
            tiers[-1].append(_checked(url))
    return [tier for tier in tiers if tier]


def _checked(url: str) -> str:
    try:
        parse_tracker_url(url)
    except TrackerError:
        raise RpcError(ErrorCode.INVALID_TRACKER_LIST) from None
    return url


def changed_trackers(params: Params, trackers: Sequence[TrackerFacts]) -> UrlTiers | None:
    """Return the tiers that a torrent shall have; None: as it has. Raises RpcError."""
    if not any(name in params for name in CHANGES):
        return None
    text = params.text("tracker_list")
    if text is not None:
        return read_tracker_list(text)
    kept = {facts.id: facts for facts in trackers}
    urls = {facts.id: facts.url for facts in trackers}
    for number in params.integers("tracker_remove") or ():
        _known(number, urls)
        del urls[number]
    for number, url in _replacements(params):
        _known(number, urls)
        urls[number] = _new(url, urls.values())
    tiers = _tiers((kept[number].tier, url) for number, url in urls.items())
    for url in params.texts("tracker_add") or ():
        tiers.append([_new(url.strip(), (each for tier in tiers for each in tier))])
    return tiers


def _tiers(trackers: Iterable[tuple[int, str]]) -> UrlTiers:
    found: dict[int, list[str]] = {}
    for tier, url in trackers:
        found.setdefault(tier, []).append(url)
    return [found[tier] for tier in sorted(found)]


def _replacements(params: Params) -> list[tuple[int, str]]:
    values = params.items("tracker_replace") or []
    pairs = list(zip(values[::2], values[1::2], strict=len(values) % 2 == 0))
    found = [(as_integer(number), as_text(url)) for number, url in pairs]
    if len(values) % 2 or any(number is None or url is None for number, url in found):
        raise RpcError(ErrorCode.SET_ANNOUNCE_LIST, "tracker_replace: [id, url, ...] is needed")
    return [(number, url) for number, url in found if number is not None and url is not None]


def _known(number: int, urls: dict[int, str]) -> None:
    if number not in urls:
        raise RpcError(ErrorCode.SET_ANNOUNCE_LIST, f"there is no tracker {number}")


def _new(url: str, present: Iterable[str]) -> str:
    if url in set(present):
        raise RpcError(ErrorCode.SET_ANNOUNCE_LIST, "the tracker is there already")
    try:
        parse_tracker_url(url)
    except TrackerError as error:
        raise RpcError(ErrorCode.SET_ANNOUNCE_LIST, str(error)) from None
    return url
