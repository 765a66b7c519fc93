"""Owns how a torrent of a manager is written down, and what of that is believed at the next start.

A record has plain values only. What is damaged or of another version is passed over (row F6).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import MagnetError
from torrent_engine.base.ids import OwnerTie, PeerAddress
from torrent_engine.codec.magnet import Magnet
from torrent_engine.engine.resting import RestFacts
from torrent_engine.engine.states import State

if TYPE_CHECKING:
    from torrent_engine.engine.session import Session

_NOT_KEPT: Final = frozenset({"file_priorities_of", "renamed_files_of", "owner", "paused"})
_DEFAULTS: Final = SessionConfig()
_CONFIG_FIELDS: Final = tuple(each.name for each in fields(SessionConfig))


@dataclass(frozen=True, slots=True)
class SavedSession:
    """One torrent as a manager takes it up again."""

    save_path: str
    state: State
    paused_state: State | None
    is_paused: bool
    """By its user."""
    priority: int
    config: SessionConfig
    magnet: Magnet | None
    """The link that it came from, if it did."""
    facts: RestFacts | None
    """Its numbers; None: they are not known without a look at its files."""
    was_resting: bool
    extras: Mapping[str, Any]
    """What was added while it ran; as :meth:`Session.extras` gives it."""
    seeding_s: float


def settings_of(session: "Session", *, priority: int, state: State | None = None) -> dict[str, Any]:
    """Return what is to be known of a Session; ``state`` in place of its present one."""
    facts, magnet, owner = session.rest_facts, session.magnet, session.config.owner
    now_state = session.state if state is None else state
    paused = session.paused_state
    return {
        "save_path": str(session.save_path),
        "state": now_state.value,
        "paused_state": None if paused is None else paused.value,
        "is_paused": session.is_paused_by_user,
        "priority": priority,
        "config": _config_values(session.config),
        "owner": None if owner is None else [owner.owner_id, owner.generation],
        "magnet": None if magnet is None else str(magnet),
        "facts": None if facts is None else _facts_values(facts),
        "was_resting": session.is_resting,
        "extras": session.extras(),
        "seeding_s": session.seeding_s,
    }


def read_settings(settings: Mapping[str, Any]) -> SavedSession | None:
    """Return a torrent to take up again; None if what is said of it makes no sense."""
    try:
        facts = settings["facts"]
        return SavedSession(
            save_path=str(settings["save_path"]),
            state=State(settings["state"]),
            paused_state=_state(settings["paused_state"]),
            is_paused=bool(settings["is_paused"]),
            priority=int(settings["priority"]),
            config=_config(settings),
            magnet=None if settings["magnet"] is None else Magnet.parse(settings["magnet"]),
            facts=None if facts is None else _facts(facts),
            was_resting=bool(settings["was_resting"]),
            extras=settings["extras"] if isinstance(settings["extras"], dict) else {},
            seeding_s=float(settings["seeding_s"]),
        )
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, MagnetError):
        return None


def _state(value: str | None) -> State | None:
    return None if value is None else State(value)


def _config_values(config: SessionConfig) -> dict[str, Any]:
    """Return what is not as usual."""
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


def _facts_values(facts: RestFacts) -> list[Any]:
    return [
        facts.name,
        facts.total_bytes,
        facts.wanted_bytes,
        facts.completed_bytes,
        facts.left_bytes,
        facts.piece_count,
        facts.pieces_have,
        facts.have.hex(),
        facts.is_private,
        facts.tiers,
        facts.nodes,
        facts.all_downloaded_bytes,
        facts.all_uploaded_bytes,
        facts.metadata_bytes,
    ]


_INTERNED: Final[dict[tuple[tuple[str, ...], ...], tuple[tuple[str, ...], ...]]] = {}
"""Most torrents have the same few trackers."""
_MAX_INTERNED: Final = 1_000


def _tiers(value: list[list[str]]) -> tuple[tuple[str, ...], ...]:
    tiers = tuple(tuple(map(str, tier)) for tier in value)
    if len(_INTERNED) > _MAX_INTERNED:
        _INTERNED.clear()
    return _INTERNED.setdefault(tiers, tiers)


_FACTS: Final[tuple[Callable[[Any], Any], ...]] = (
    str,
    *(int,) * 6,
    bytes.fromhex,
    bool,
    _tiers,
    lambda nodes: tuple(PeerAddress(str(host), int(port)) for host, port in nodes),
    int,
    int,
    int,
)
_KNOWN_FACTS: Final = frozenset({len(_FACTS) - 1, len(_FACTS)})  # the length of metadata came later


def _facts(values: list[Any]) -> RestFacts:
    if len(values) not in _KNOWN_FACTS:
        raise ValueError(f"{len(values)} numbers of a torrent at rest")
    return RestFacts(*(read(value) for read, value in zip(_FACTS, values, strict=False)))
