"""What is saved of a torrent over a restart, and how it is written down.

A record has plain values only. One that is damaged or of another version is ignored (row F6).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from torrent_engine.base.config import STORED_MAGNET_LIMITS, SessionConfig
from torrent_engine.base.errors import MagnetError
from torrent_engine.base.ids import InfoHash, OwnerTie, PeerAddress
from torrent_engine.codec.magnet import Magnet
from torrent_engine.disk.state.session_table import SessionClocks
from torrent_engine.engine.dormancy.snapshot import TorrentSnapshot
from torrent_engine.engine.runs.facts import facts_values, read_facts, shared
from torrent_engine.engine.runs.user_data import KeptTexts, read_user_data
from torrent_engine.engine.states import State
from torrent_engine.engine.stats import TorrentFacts
from torrent_engine.policy.queue.torrent_times import SavedTimes

_NOT_KEPT: Final = frozenset(
    {"file_priorities_of", "renamed_files_of", "owner", "paused", "storage"}
)
_DEFAULTS: Final = SessionConfig()
_CONFIG_FIELDS: Final = tuple(each.name for each in fields(SessionConfig))


@dataclass(frozen=True, slots=True)
class SavedSession:
    """One torrent as a manager restores it after a restart."""

    save_path: str
    state: State
    paused_state: State | None
    is_paused: bool
    """By its user."""
    priority: int
    config: SessionConfig
    magnet: Magnet | None
    """The link that it came from, if it did."""
    snapshot: TorrentSnapshot | None
    """Its numbers; None: they are not known without a look at its files."""
    was_resting: bool
    extras: Mapping[str, Any]
    """Trackers and web seeds that were added or removed, as :meth:`SourceEdits.values` has them."""
    seeding_s: float
    facts: TorrentFacts | None = None
    """What its .torrent says; None: not known, or the record is of an earlier version."""
    is_forced: bool = False
    """It runs outside of the queue."""
    times: SavedTimes | None = None
    """None: the record is of an earlier version."""
    user_data: KeptTexts = ()
    files_path: str | None = None
    """Where the files are until they are complete; None: below the save path."""


def settings_of(saved: SavedSession) -> dict[str, Any]:
    """Return the record of a torrent."""
    snapshot, owner, paused = saved.snapshot, saved.config.owner, saved.paused_state
    return {
        "save_path": saved.save_path,
        "state": saved.state.value,
        "paused_state": None if paused is None else paused.value,
        "is_paused": saved.is_paused,
        "priority": saved.priority,
        "config": _config_values(saved.config),
        "owner": None if owner is None else [owner.owner_id, owner.generation],
        "magnet": None if saved.magnet is None else str(saved.magnet),
        "facts": None if snapshot is None else _snapshot_values(snapshot),
        "was_resting": saved.was_resting,
        "extras": dict(saved.extras),
        "has_own_storage": saved.config.storage is not None,
        "seeding_s": saved.seeding_s,
        "times": None if saved.times is None else list(saved.times),
        "user_data": dict(saved.user_data),
        **({} if saved.files_path is None else {"files_path": saved.files_path}),
        "about": None if saved.facts is None else facts_values(saved.facts),
        **({"is_forced": True} if saved.is_forced else {}),
    }


def read_settings(
    settings: Mapping[str, Any], clocks: SessionClocks | None = None
) -> SavedSession | None:
    """Return the torrent of a record; None if the record is not valid, or its storage not known.

    ``clocks`` are newer than the record.
    A storage that a program gave is an object of its process.
    """
    if settings.get("has_own_storage"):
        return None
    try:
        facts, about = settings["facts"], settings.get("about")
        snapshot = None if facts is None else _snapshot(facts)
        return SavedSession(
            save_path=str(settings["save_path"]),
            state=State(settings["state"]),
            paused_state=_state(settings["paused_state"]),
            is_paused=bool(settings["is_paused"]),
            priority=int(settings["priority"]),
            config=_config(settings),
            magnet=_magnet(settings["magnet"], is_needed=facts is None and about is None),
            snapshot=snapshot,
            was_resting=bool(settings["was_resting"]),
            extras=settings["extras"] if isinstance(settings["extras"], dict) else {},
            seeding_s=float(settings["seeding_s"]) if clocks is None else clocks.seeding_s,
            facts=None if about is None else _about(about, snapshot),
            is_forced=bool(settings.get("is_forced")),
            times=_times(settings.get("times"), clocks),
            user_data=read_user_data(settings.get("user_data")),
            files_path=_text(settings.get("files_path")),
        )
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, MagnetError):
        return None


def _magnet(text: str | None, *, is_needed: bool) -> Magnet | None:
    """Return a saved link; a broken one is none, unless nothing else says what the torrent is."""
    if text is None:
        return None
    try:
        return Magnet.parse(text, limits=STORED_MAGNET_LIMITS)
    except (MagnetError, AttributeError):
        if is_needed:
            raise
        return None


def _times(values: list[Any] | None, clocks: SessionClocks | None) -> SavedTimes | None:
    if values is None:
        return None
    times = SavedTimes(*(None if each is None else float(each) for each in values))  # type: ignore[arg-type]
    if clocks is None:
        return times
    return times._replace(downloading_s=clocks.downloading_s, activity_s=clocks.activity_s)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _state(value: str | None) -> State | None:
    return None if value is None else State(value)


def _config_values(config: SessionConfig) -> dict[str, Any]:
    """Return the options that are not at their default."""
    if config == _DEFAULTS:
        return {}
    values = {name: getattr(config, name) for name in _CONFIG_FIELDS if name not in _NOT_KEPT}
    return {name: value for name, value in values.items() if value != getattr(_DEFAULTS, name)}


def _config(settings: Mapping[str, Any]) -> SessionConfig:
    values = {
        name: _tuples(value)
        for name, value in settings["config"].items()
        if name in _CONFIG_FIELDS and name not in _NOT_KEPT
    }
    owner = settings["owner"]
    if owner is not None:
        values["owner"] = OwnerTie(str(owner[0]), int(owner[1]))
    if not values and not settings["is_paused"]:
        return _DEFAULTS
    return SessionConfig(**values, paused=bool(settings["is_paused"]))


def _tuples(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return lists as tuples, inside of them too."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _snapshot_values(snapshot: TorrentSnapshot) -> list[Any]:
    return [
        snapshot.name,
        snapshot.total_bytes,
        snapshot.wanted_bytes,
        snapshot.completed_bytes,
        snapshot.left_bytes,
        snapshot.piece_count,
        snapshot.pieces_have,
        snapshot.have.hex(),
        snapshot.is_private,
        snapshot.tiers,
        snapshot.nodes,
        snapshot.all_downloaded_bytes,
        snapshot.all_uploaded_bytes,
        snapshot.metadata_bytes,
        snapshot.all_failed_bytes,
        snapshot.all_redundant_bytes,
        (snapshot.v2_hash or b"").hex(),
        (snapshot.v1_hash or b"").hex(),
        snapshot.missing_pad_bytes,
    ]


def _about(values: list[Any], snapshot: TorrentSnapshot | None) -> TorrentFacts:
    """Return the facts of a record; what the snapshot has too is one object."""
    facts = read_facts(values)
    if snapshot is None or snapshot.name != facts.name:
        return facts
    return replace(
        facts,
        name=snapshot.name,
        total_bytes=snapshot.total_bytes,
        piece_count=snapshot.piece_count,
    )


def _tiers(value: list[list[str]]) -> tuple[tuple[str, ...], ...]:
    return shared(tuple(tuple(map(str, tier)) for tier in value))


def _info_hash(digits: str) -> InfoHash | None:
    return InfoHash.fromhex(digits) if digits else None


_SNAPSHOT_FIELDS: Final[tuple[Callable[[Any], Any], ...]] = (
    str,
    *(int,) * 6,
    bytes.fromhex,
    bool,
    _tiers,
    lambda nodes: tuple(PeerAddress(str(host), int(port)) for host, port in nodes),
    *(int,) * 5,
    *(_info_hash,) * 2,
    int,
)
_KNOWN_LENGTHS: Final = frozenset(len(_SNAPSHOT_FIELDS) - late for late in (0, 1, 3, 5, 6))
"""Records of earlier versions do not have the last fields."""


def _snapshot(values: list[Any]) -> TorrentSnapshot:
    if len(values) not in _KNOWN_LENGTHS:
        raise ValueError(f"{len(values)} numbers in a snapshot")
    read = (field(value) for field, value in zip(_SNAPSHOT_FIELDS, values, strict=False))
    return TorrentSnapshot(*read)
