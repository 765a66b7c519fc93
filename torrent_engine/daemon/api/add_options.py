"""What may be said of a torrent that is added, as requests say it."""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field
from starlette.datastructures import QueryParams

from torrent_engine.base.config import SeedingConfig
from torrent_engine.base.errors import TrackerError
from torrent_engine.base.ids import OwnerTie
from torrent_engine.daemon.api.requests import MAX_FILES, FileNumber, Input, checked_json
from torrent_engine.daemon.api.torrent_changes import LimitsPatch, Rule, SeedRulesPatch
from torrent_engine.daemon.problems import InputError, Problem, ProblemError
from torrent_engine.protocol.tracker.urls import parse_tracker_url
from torrent_engine.service.add_options import AddOptions, Ephemeral, StopAfter

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext

MAX_PRIORITY: Final = 7
_MAX_PATH_CHARS: Final = 4_096
_REPEATED: Final = frozenset({"trackers"})
_TEXTS: Final = frozenset({"save_path", "category", "rename", "stop_after"})
_JSON: Final = frozenset(
    {
        "paused",
        "sequential",
        "first_last_piece",
        "peer_limit",
        "skip_check",
        "position",
        "priority",
        "limits",
        "seed_rules",
        "ephemeral",
    }
)

_FilePriority = Annotated[int, Field(ge=0, le=MAX_PRIORITY)]


class OwnerInput(Input):
    """Who cancels a download by going away, such as a tab of a browser."""

    id: str = Field(min_length=1, max_length=255)
    generation: int = Field(ge=0, le=2**53)


class PeerInput(Input):
    """The address of a peer."""

    host: str = Field(min_length=1, max_length=255)
    port: int = Field(ge=1, le=65_535)


class TorrentData(Input):
    """A .torrent in base64."""

    torrent: str = Field(min_length=1)


class AddInput(Input):
    """A torrent and its options; what is not said is as its category or the settings say."""

    source: str | TorrentData | None = None
    """A magnet link, an info-hash, a URL, a path on the server, or a .torrent."""
    cookies: str = Field(default="", max_length=8_192)
    """For the host of a URL."""
    save_path: str | None = Field(default=None, max_length=_MAX_PATH_CHARS)
    category: str | None = Field(default=None, max_length=255)
    labels: list[str] | None = Field(default=None, max_length=64)
    paused: bool | None = None
    position: int | None = Field(default=None, ge=0, le=2**31)
    priority: int | None = Field(default=None, ge=-1_000, le=1_000)
    file_priorities: dict[FileNumber, _FilePriority] | None = Field(
        default=None, max_length=MAX_FILES
    )
    files_wanted: list[FileNumber] | None = Field(default=None, max_length=MAX_FILES)
    sequential: bool | None = None
    first_last_piece: bool | None = None
    """The first and the last piece of each file come first."""
    peer_limit: int | None = Field(default=None, ge=0, le=10_000)
    """As that of ``limits``, before which it counts."""
    limits: LimitsPatch | None = None
    seed_rules: SeedRulesPatch | None = None
    skip_check: bool = False
    """Accepted, and without effect: data that is there is checked before it is served."""
    stop_after: Literal["metadata", "check"] | None = None
    rename: str | None = Field(default=None, max_length=1_024)
    owner: OwnerInput | None = None
    ephemeral: bool = False
    """It is played and not kept: it goes, with its files, when its owner does."""
    trackers: list[str] | None = Field(default=None, max_length=1_000)
    peers: list[PeerInput] | None = Field(default=None, max_length=1_000)


def options_of_query(query: QueryParams) -> AddInput:
    """Return the options that a query names; lists have commas. Raises ProblemError."""
    values = [f"{json.dumps(name)}:{_query_value(name, query.getlist(name))}" for name in query]
    return checked_json(AddInput, ("{" + ",".join(values) + "}").encode())


def _query_value(name: str, texts: Sequence[str]) -> str:
    """Return a value of a query as JSON. Raises ProblemError."""
    last = texts[-1]
    if name in _TEXTS:
        return json.dumps(last)
    if name in _REPEATED:
        return json.dumps(list(texts))
    if name == "labels":
        return json.dumps([each for each in last.split(",") if each])
    if name == "files_wanted":
        numbers = [each for each in last.split(",") if each]
        if all(each.isascii() and each.isdecimal() and len(each) < 10 for each in numbers):
            return json.dumps([int(each) for each in numbers])
    elif name in _JSON:
        try:
            return json.dumps(json.loads(last), allow_nan=False)
        except (ValueError, RecursionError):
            pass
    wrong = InputError(f"/{name}", f"cannot be {last!r:.80}")
    raise ProblemError(Problem("input_invalid", "the query is not as described", errors=[wrong]))


def owner_of_header(text: str) -> OwnerTie:
    """Return the owner of a ``TE-Owner`` field: ``<id>;gen=<n>``. Raises ProblemError."""
    owner_id, separator, generation = text.rpartition(";gen=")
    number = generation.strip()
    if not separator or not owner_id or not number.isdecimal() or len(number) > 15:
        raise ProblemError(Problem("bad_request", "TE-Owner: <id>;gen=<n> is needed"))
    return OwnerTie(owner_id.strip(), int(number))


async def engine_options(
    context: "DaemonContext", given: AddInput, owner: OwnerTie | None
) -> AddOptions:
    """Return options as the engine takes them. Raises ProblemError."""
    save_path = None if not given.save_path else str(await context.paths.checked(given.save_path))
    tie = owner if given.owner is None else OwnerTie(given.owner.id, given.owner.generation)
    limits, rules = given.limits, given.seed_rules
    if given.ephemeral and tie is None:
        missing = InputError("/owner", "is needed: an ephemeral torrent goes with its owner")
        raise ProblemError(Problem("input_invalid", "no owner", errors=[missing]))
    check_trackers(given.trackers or ())
    general_peers = None if limits is None else limits.peer_limit
    return AddOptions(
        save_path=save_path,
        category=given.category or None,
        labels=tuple(given.labels) if given.labels else None,
        paused=given.paused,
        position=given.position,
        priority=given.priority,
        file_priorities=given.file_priorities,
        files_wanted=None if given.files_wanted is None else tuple(given.files_wanted),
        sequential=True if given.ephemeral and given.sequential is None else given.sequential,
        first_last_piece=given.first_last_piece,
        peer_limit=general_peers if given.peer_limit is None else given.peer_limit,
        ephemeral=Ephemeral.STREAM if given.ephemeral else None,
        max_download_bytes_per_s=None if limits is None else limits.download_bytes_per_s,
        max_upload_bytes_per_s=None if limits is None else limits.upload_bytes_per_s,
        seed_rules=None if rules is None else _seeding(rules),
        stop_after=None if given.stop_after is None else StopAfter(given.stop_after),
        rename=given.rename or None,
        owner=tie,
        trackers=None if given.trackers is None else tuple(given.trackers),
        peers=None if given.peers is None else tuple((p.host, p.port) for p in given.peers),
    )


def check_trackers(urls: Iterable[str]) -> None:
    """Raise ProblemError unless each can be the URL of a tracker."""
    for url in urls:
        try:
            parse_tracker_url(url)
        except TrackerError as error:
            raise ProblemError(Problem("url_refused", str(error))) from None


def _seeding(rules: SeedRulesPatch) -> SeedingConfig:
    return SeedingConfig(
        _rule("ratio", rules.ratio), _rule("time_s", rules.time_s), _rule("idle_s", rules.idle_s)
    )


def _rule(name: str, value: Rule) -> float | None:
    if value == "never":
        return math.inf
    if isinstance(value, float | int) and not 0 <= value < math.inf:
        raise ProblemError(Problem("setting_invalid", f"seed_rules.{name} is out of range"))
    return None if value is None else float(value)


def existing_parent(path: Path) -> Path:
    """Return a folder, or the nearest one above it that is there."""
    return next((each for each in (path, *path.parents) if each.is_dir()), Path("/"))
