"""``torrent_get``: chosen fields of chosen torrents, as objects or as a table."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import anyio.lowlevel
import anyio.to_thread

from torrent_engine.base.errors import UnknownTorrentError
from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.engine_port.port import TorrentReading
from torrent_engine.daemon.state.rows import StateRow
from torrent_engine.daemon.state.shapes import Shapes
from torrent_engine.daemon.state.torrent_table import TorrentTable
from torrent_engine.daemon.transmission.dialect import Call, Dialect
from torrent_engine.daemon.transmission.errors import NO_FIELDS, invalid
from torrent_engine.daemon.transmission.ids import select
from torrent_engine.daemon.transmission.names import SPELLINGS, TORRENT
from torrent_engine.daemon.transmission.torrent_fields import FIELDS, needs_of, values_of
from torrent_engine.daemon.transmission.views import (
    GeneralFacts,
    Need,
    TorrentView,
    read_details,
)

SLICE_ROWS: Final = 50  # ours: rows with details between two checkpoints
SLICE_ITEMS: Final = 1_000  # ours: what one call encodes, which no other thread interrupts
KEPT_FROM_ROWS: Final = 20  # ours: replies about fewer torrents are not kept
TRACKERS_KEPT_S: Final = 15.0  # ours: some remotes ask for the trackers of everything all the time
MAX_ANSWER_BYTES: Final = 256 * 1024 * 1024  # ours: of one call
TRACKERS_ONLY: Final = frozenset({Need.TRACKERS})
TABLE: Final = "table"
FORMATS: Final = frozenset({"objects", TABLE})


@dataclass(frozen=True, slots=True)
class _Question:
    """What one call asks of each torrent."""

    dialect: Dialect
    names: tuple[str, ...]
    is_table: bool
    general: GeneralFacts

    @property
    def labels(self) -> tuple[str, ...]:
        """The names as they are told."""
        if self.dialect is Dialect.JSON_RPC:
            return self.names
        return tuple(TORRENT[name] for name in self.names)

    def of(self, names: Sequence[str]) -> "_Question":
        return _Question(self.dialect, tuple(names), self.is_table, self.general)

    def encode(self, view: TorrentView) -> bytes:
        """Return the values of a torrent as JSON, without the brackets."""
        values = values_of(view, self.names)
        if self.is_table:
            return _dump(values)[1:-1]
        return _dump(dict(zip(self.labels, values, strict=True)))[1:-1]

    async def encode_long(self, view: TorrentView) -> bytes:
        """Do the same; in a thread if the torrent has very many files or pieces."""
        if view.details.length <= SLICE_ITEMS:
            return self.encode(view)
        return await anyio.to_thread.run_sync(self._encode_in_slices, view)

    def _encode_in_slices(self, view: TorrentView) -> bytes:
        values = [_dump_long(each) for each in values_of(view, self.names)]
        if not self.is_table:
            labels = map(_dump, self.labels)
            values = [b"%b:%b" % pair for pair in zip(labels, values, strict=True)]
        return b",".join(values)

    def enclose(self, inner: bytes) -> bytes:
        return b"[%b]" % inner if self.is_table else b"{%b}" % inner


class TorrentGet:
    """Answers ``torrent_get``; what is the same as before is not encoded again."""

    def __init__(
        self,
        torrents: TorrentReading,
        table: TorrentTable,
        shapes: Shapes,
        general: Callable[[], GeneralFacts],
        *,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        self._torrents = torrents
        self._table = table
        self._shapes = shapes
        self._general = general
        self._clock = clock
        self._wall_clock = wall_clock
        self._asked: _Question | None = None
        self._kept_until_s = 0.0
        self._trackers: dict[InfoHash, tuple[int, bytes]] = {}
        """What was told of the trackers of each torrent, by the revision of its row."""

    async def answer(self, call: Call) -> bytes:
        """Return the result as JSON. Raises RpcError."""
        question = self._question(call)
        selection = select(call.params, self._table, self._clock())
        rows = await self._encoded(question, selection.rows)
        if question.is_table:
            rows.insert(0, _dump(question.labels))
        inner = b'"torrents":[%b]' % b",".join(rows)
        if selection.removed is not None:
            inner = b'"removed":%b,%b' % (_dump(selection.removed), inner)
        return b"{%b}" % inner

    def _question(self, call: Call) -> _Question:
        names = field_names(call.params.get("fields"), call.dialect)
        return _Question(call.dialect, names, is_table(call.params), self._general())

    async def _encoded(self, question: _Question, rows: Sequence[StateRow]) -> list[bytes]:
        kept = [name for name in question.names if FIELDS[name].is_kept]
        others = [name for name in question.names if not FIELDS[name].is_kept]
        if question.is_table and others:
            return [question.enclose(each) for _, each in await self._fresh(question, rows)]
        if not others:
            return [question.enclose(each) for each in await self._kept(question, rows)]
        rest, heads = question.of(others), await self._heads(question.of(kept), rows)
        if len(rows) >= KEPT_FROM_ROWS and needs_of(others) == TRACKERS_ONLY:
            tails = await self._tracked(rest, rows)
        else:
            tails = await self._fresh(rest, rows)
        return [
            question.enclose(b"%b,%b" % (heads[row.info_hash], tail) if kept else tail)
            for row, tail in tails
        ]

    async def _heads(self, question: _Question, rows: Sequence[StateRow]) -> dict[InfoHash, bytes]:
        if not question.names:
            return {}
        values = await self._kept(question, rows)
        return {row.info_hash: each for row, each in zip(rows, values, strict=True)}

    async def _kept(self, question: _Question, rows: Sequence[StateRow]) -> list[bytes]:
        """Return the values of rows alone."""
        if len(rows) < KEPT_FROM_ROWS:
            return [question.encode(self._view(question, row)) for row in rows]
        shape = self._shapes.get(
            ("transmission", question), lambda row: question.encode(self._view(question, row))
        )
        return await shape.many(rows)

    async def _tracked(
        self, question: _Question, rows: Sequence[StateRow]
    ) -> list[tuple[StateRow, bytes]]:
        """Return what is told of trackers; of torrents that are the same it is kept for a while."""
        now_s = self._clock()
        if (self._asked, now_s < self._kept_until_s) != (question, True):
            self._asked, self._kept_until_s = question, now_s + TRACKERS_KEPT_S
            self._trackers.clear()
        known = self._trackers
        changed = [row for row in rows if known.get(row.info_hash, (0, b""))[0] != row.revision]
        for row, data in await self._fresh(question, changed):
            known[row.info_hash] = (row.revision, data)
        return [(row, known[row.info_hash][1]) for row in rows if row.info_hash in known]

    async def _fresh(
        self, question: _Question, rows: Sequence[StateRow]
    ) -> list[tuple[StateRow, bytes]]:
        """Return values that need more than rows, of torrents that are still there.

        Raises RpcError for more than an answer may have.
        """
        needs = needs_of(question.names)
        found: list[tuple[StateRow, bytes]] = []
        length = 0
        for number, row in enumerate(rows, 1):
            try:
                details = await read_details(self._torrents, row, needs)
            except UnknownTorrentError:
                continue
            data = await question.encode_long(self._view(question, row, details))
            found.append((row, data))
            length += len(data)
            if length > MAX_ANSWER_BYTES:
                raise invalid("the answer is too long: ask for fewer fields or torrents")
            if number % SLICE_ROWS == 0:
                await anyio.lowlevel.checkpoint()
        return found

    def _view(self, question: _Question, row: StateRow, *details: Any) -> TorrentView:  # noqa: ANN401
        return TorrentView(row, question.dialect, question.general, self._wall_clock(), *details)


def field_names(value: object, dialect: Dialect) -> tuple[str, ...]:
    """Return the fields that are asked for, each once; unknown ones are left out.

    Raises RpcError if there is none.
    """
    values = [value] if isinstance(value, str) else value
    texts = [each for each in values if isinstance(each, str)] if isinstance(values, list) else []
    if dialect is Dialect.LEGACY:
        texts = [SPELLINGS.get(each, each) for each in texts]
    names = tuple(name for name in dict.fromkeys(texts) if name in FIELDS)
    if not names:
        raise invalid(NO_FIELDS)
    return names


def is_table(params: Mapping[str, Any]) -> bool:
    """Return whether the format is a table. Raises RpcError for an unknown one."""
    value = params.get("format", "objects")
    if not isinstance(value, str) or value not in FORMATS:
        raise invalid(f"format: {' or '.join(sorted(FORMATS))} is needed")
    return bool(value == TABLE)


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _dump_long(value: object) -> bytes:
    """Return a value as JSON; a long list is encoded in slices."""
    if not isinstance(value, list) or len(value) <= SLICE_ITEMS:
        return _dump(value)
    slices = (value[start : start + SLICE_ITEMS] for start in range(0, len(value), SLICE_ITEMS))
    return b"[%b]" % b",".join(_dump(each)[1:-1] for each in slices)
