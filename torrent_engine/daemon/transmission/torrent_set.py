"""``torrent_set``: everything is checked for all torrents before the first change."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from torrent_engine.base.errors import TorrentEngineError, UnknownTorrentError
from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.engine_port.facts import Limits, SeedRules
from torrent_engine.daemon.engine_port.port import EnginePort
from torrent_engine.daemon.state.daemon_state import DaemonState
from torrent_engine.daemon.state.rows import StateRow, UserData
from torrent_engine.daemon.transmission import file_changes, tracker_changes
from torrent_engine.daemon.transmission.dialect import Call, Dialect
from torrent_engine.daemon.transmission.errors import (
    COMMA_IN_LABEL,
    NO_LABEL,
    PIECE_OUT_OF_RANGE,
    ErrorCode,
    RpcError,
    invalid,
)
from torrent_engine.daemon.transmission.groups import read_group_name
from torrent_engine.daemon.transmission.params import Params
from torrent_engine.daemon.transmission.torrent_actions import NOTHING, system_error
from torrent_engine.daemon.transmission.torrent_fields import (
    FIELDS,
    GENERAL_MODE,
    NEVER_MODE,
    OWN_MODE,
)
from torrent_engine.daemon.transmission.views import KB, GeneralFacts, TorrentView, kept_key

MAX_LABELS: Final = 64
MAX_LABEL_CHARS: Final = 256
MAX_LIMIT_KB: Final = 100_000_000
MAX_PEERS: Final = 65_535
MAX_MINUTES: Final = 10_000_000
_MINUTE_S: Final = 60.0
ChangeStep = Callable[[], object]


def read_labels(texts: Sequence[str]) -> tuple[str, ...]:
    """Return labels trimmed, each once. Raises RpcError."""
    labels = tuple(dict.fromkeys(text.strip() for text in texts))
    if not all(labels):
        raise invalid(NO_LABEL)
    if any("," in label for label in labels):
        raise invalid(COMMA_IN_LABEL)
    if len(labels) > MAX_LABELS or any(len(label) > MAX_LABEL_CHARS for label in labels):
        raise invalid(f"at most {MAX_LABELS} labels of {MAX_LABEL_CHARS} characters")
    return labels


class TorrentSet:
    """Changes settings of torrents."""

    def __init__(
        self,
        port: EnginePort,
        state: DaemonState,
        rows: Callable[[Call], list[StateRow]],
        general: Callable[[], GeneralFacts],
    ) -> None:
        """``rows`` are the torrents that a call means."""
        self._port = port
        self._state = state
        self._rows = rows
        self._general = general

    async def answer(self, call: Call) -> Mapping[str, Any]:
        """Change what a call says. Raises RpcError."""
        params, rows = Params(call.params), self._rows(call)
        check_changes(params)
        files = [await self._file_changes(row.info_hash, params) for row in rows]
        for row in rows:
            self._plan(row, params)
        try:
            for row, changes in zip(rows, files, strict=True):
                await self._apply(row.info_hash, params, changes)
        except TorrentEngineError as error:
            raise system_error(error) from None
        if "queue_position" in params:
            await self._state.queue_changed()
        return NOTHING

    async def _apply(self, key: InfoHash, params: Params, files: Mapping[int, int]) -> None:
        """Change a torrent as it is now: others may have changed it since it was looked at."""
        self._state.look(key)
        if (row := self._state.torrents.get(key)) is None:
            return  # removed meanwhile
        try:
            for step in self._plan(row, params):
                step()
            if files:
                await self._port.settings.set_file_priorities(key, files)
        except UnknownTorrentError:
            pass  # removed meanwhile
        finally:
            self._state.look(key)

    def _plan(self, row: StateRow, params: Params) -> list[ChangeStep]:
        """Return what to do with a torrent but for its files, without a wait between.

        Raises RpcError if something cannot be.
        """
        view = TorrentView(row, Dialect.JSON_RPC, self._general(), 0.0)
        kept = dict(row.user.other)
        steps = [
            *self._plan_limits(row, new_limits(view, params, kept)),
            *self._plan_rules(row, new_rules(view, params, kept)),
            *self._plan_trackers(row, params),
            *self._plan_rest(row, params),
        ]
        if (user := new_user_data(row.user, params, kept)) != row.user:
            settings, values = self._port.settings, user.values()
            steps.insert(0, lambda: settings.set_user_data(row.info_hash, values))
        return steps

    def _plan_limits(self, row: StateRow, limits: Limits) -> list[ChangeStep]:
        if limits == row.settings.limits:
            return []
        return [lambda: self._port.settings.set_limits(row.info_hash, limits)]

    def _plan_rules(self, row: StateRow, rules: SeedRules) -> list[ChangeStep]:
        if rules == row.settings.seed_rules:
            return []
        return [lambda: self._port.settings.set_seed_rules(row.info_hash, rules)]

    def _plan_trackers(self, row: StateRow, params: Params) -> list[ChangeStep]:
        if not any(name in params for name in tracker_changes.CHANGES):
            return []
        present = self._port.torrents.trackers(row.info_hash)
        tiers = tracker_changes.changed_trackers(params, present) or []
        return [lambda: self._port.settings.set_trackers(row.info_hash, tiers)]

    async def _file_changes(self, key: InfoHash, params: Params) -> dict[int, int]:
        """Return the new priorities of files, by index. Raises RpcError for one that is not."""
        if not any(name in params for name in file_changes.CHANGES):
            return {}
        try:
            files = await self._port.torrents.files(key)
        except UnknownTorrentError:
            return {}  # removed meanwhile
        chosen = file_changes.changed_priorities(params, [each.priority for each in files]) or []
        pairs = zip(files, chosen, strict=True)
        return {each.index: priority for each, priority in pairs if priority != each.priority}

    def _plan_rest(self, row: StateRow, params: Params) -> list[ChangeStep]:
        steps: list[ChangeStep] = []
        port, key = self._port, row.info_hash
        priority = params.bounded("bandwidth_priority", -1, 1)
        if priority is not None:
            steps.append(lambda: port.control.set_priority(key, priority))
        if (order := new_order(row, params)) is not None:
            chosen, begin = order
            steps.append(
                lambda: port.settings.set_sequential(key, is_sequential=chosen, from_piece=begin)
            )
        group, honors = new_group(row, params)
        if (group, honors) != (row.settings.group, row.settings.honors_session_limits):
            steps.append(lambda: port.settings.set_group(key, group, honors_session_limits=honors))
        if (position := params.integer("queue_position")) is not None:
            place = min(max(position, 0), len(port.torrents.hashes()) - 1)
            steps.append(lambda: port.control.move_to(key, place))
        return steps


def check_changes(params: Params) -> None:
    """Raise RpcError for what is wrong whatever the torrent."""
    read_labels(params.texts("labels") or ())
    read_group_name(params, "group")


# -- values from what is and what is asked --------------------------------------------------------


def new_limits(view: TorrentView, params: Params, kept: dict[str, str]) -> Limits:
    """Return the limits that a torrent shall have; numbers without effect go to ``kept``."""
    limits = view.row.settings.limits
    peers = params.bounded("peer_limit", 1, MAX_PEERS)
    return replace(
        limits,
        download_bytes_per_s=_new_limit(view, params, "download", kept),
        upload_bytes_per_s=_new_limit(view, params, "upload", kept),
        max_peers=limits.max_peers if peers is None else peers,
    )


def _new_limit(view: TorrentView, params: Params, way: str, kept: dict[str, str]) -> int:
    number = params.bounded(f"{way}_limit", 0, MAX_LIMIT_KB)
    is_limited = params.flag(f"{way}_limited")
    present: int = getattr(view.row.settings.limits, f"{way}_bytes_per_s")
    if number is None and is_limited in {None, present > 0}:
        return present
    shown = FIELDS[f"{way}_limit"].compute(view) if number is None else number
    is_limited = present > 0 if is_limited is None else is_limited
    _keep(kept, f"{way}_limit", None if is_limited else shown)
    return max(int(str(shown)), 1) * KB if is_limited else 0


def _keep(kept: dict[str, str], name: str, value: object) -> None:
    """Keep a number that has no effect; None: it has, so nothing is kept."""
    kept.pop(kept_key(name), None)
    if value is not None:
        kept[kept_key(name)] = str(value)


def new_rules(view: TorrentView, params: Params, kept: dict[str, str]) -> SeedRules:
    """Return when seeding of a torrent shall end; numbers without effect go to ``kept``."""
    rules = view.row.settings.seed_rules
    ratio, minutes = params.number("seed_ratio_limit"), params.integer("seed_idle_limit")
    if (ratio is not None and ratio < 0) or (minutes is not None and minutes < 0):
        raise invalid("seed_ratio_limit, seed_idle_limit: 0 or more is needed")
    idle_min = rules.idle_s if rules.idle_s is None else rules.idle_s / _MINUTE_S
    new_ratio = _new_rule(view, params, "seed_ratio", (rules.ratio, ratio), kept)
    new_idle = _new_rule(view, params, "seed_idle", (idle_min, minutes), kept)
    idle_s = None if new_idle is None else new_idle * _MINUTE_S
    return replace(rules, ratio=new_ratio, idle_s=idle_s)


def _new_rule(
    view: TorrentView,
    params: Params,
    name: str,
    values: tuple[float | None, float | None],
    kept: dict[str, str],
) -> float | None:
    present, number = values
    mode = params.bounded(f"{name}_mode", GENERAL_MODE, NEVER_MODE)
    if mode is None and number is None:
        return present
    if mode is None:
        mode = GENERAL_MODE if present is None else NEVER_MODE if math.isinf(present) else OWN_MODE
    shown = FIELDS[f"{name}_limit"].compute(view) if number is None else number
    _keep(kept, f"{name}_limit", None if mode == OWN_MODE else shown)
    if mode == OWN_MODE:
        return float(str(shown))
    return None if mode == GENERAL_MODE else math.inf


def new_user_data(user: UserData, params: Params, kept: dict[str, str]) -> UserData:
    """Return what the daemon shall keep with a torrent."""
    texts = params.texts("labels")
    labels = user.labels if texts is None else read_labels(texts)
    return replace(user, labels=labels, other=tuple(sorted(kept.items())))


def new_group(row: StateRow, params: Params) -> tuple[str, bool]:
    """Return the group that a torrent shall be in, and whether the general limits count for it."""
    name, honors = params.text("group"), params.flag("honors_session_limits")
    settings = row.settings
    return (
        settings.group if name is None else name.strip(),
        settings.honors_session_limits if honors is None else honors,
    )


def new_order(row: StateRow, params: Params) -> tuple[bool, int | None] | None:
    """Return whether pieces are downloaded in their order, and from where; None: as it is."""
    chosen = params.flag("sequential_download")
    piece = params.integer("sequential_download_from_piece")
    if piece is not None and not 0 <= piece < max(row.about.piece_count, 1):
        raise RpcError(ErrorCode.PIECE_INDEX_OUT_OF_RANGE, PIECE_OUT_OF_RANGE)
    if chosen is None and piece is None:
        return None
    return row.settings.is_sequential if chosen is None else chosen, piece
