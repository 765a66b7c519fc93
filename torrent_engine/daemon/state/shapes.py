"""Rows as JSON, encoded once for each shape that interfaces ask for.

A shape is a choice of fields and their spelling. What was encoded is kept with the revision of its
row, so that the next reply only joins it. Rows are encoded in slices; other tasks run in between.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterable
from typing import Final

import anyio.lowlevel

from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.engine_port.facts import FactGroup
from torrent_engine.daemon.state.rows import StateRow

ENCODE_COST: Final = 20  # ours: encoding of a row, in look-ups of what was kept
SLICE_COST: Final = 3_000  # ours: look-ups between two checkpoints, some milliseconds
MAX_KEPT_BYTES: Final = 64 * 1024 * 1024  # ours: of all shapes together
MAX_SHAPES: Final = 16  # ours: clients choose fields; the least used shapes are forgotten
_ALL: Final = frozenset(FactGroup)


class Shape:
    """The rows in one shape, as JSON; made by :meth:`Shapes.get`."""

    def __init__(self, encode: Callable[[StateRow], bytes], groups: Collection[FactGroup]) -> None:
        self._encode = encode
        self._groups = None if set(groups) >= _ALL else tuple(group.value for group in groups)
        self._kept: dict[InfoHash, tuple[int, bytes]] = {}
        self.kept_bytes = 0
        """Length of everything that is kept."""

    def one(self, row: StateRow) -> bytes:
        """Return a row, encoded now if it has changed."""
        kept = self._kept.get(row.info_hash)
        if kept is not None and kept[0] == self._revision(row):
            return kept[1]
        return self._encoded(row)

    def _encoded(self, row: StateRow) -> bytes:
        kept, data = self._kept.get(row.info_hash), self._encode(row)
        self.kept_bytes += len(data) - (0 if kept is None else len(kept[1]))
        self._kept[row.info_hash] = (self._revision(row), data)
        return data

    def _revision(self, row: StateRow) -> int:
        """Return the newest revision of the groups that the shape shows."""
        if self._groups is None:
            return row.revisions.newest
        return max((getattr(row.revisions, group) for group in self._groups), default=0)

    async def many(self, rows: Iterable[StateRow]) -> list[bytes]:
        """Return rows in their order; other tasks run in between."""
        found: list[bytes] = []
        cost = 0
        look_up, revision_of = self._kept.get, self._revision
        shows_all = self._groups is None
        for row in rows:
            kept = look_up(row.info_hash)
            now = row.revisions.newest if shows_all else revision_of(row)
            if kept is not None and kept[0] == now:
                found.append(kept[1])
                cost += 1
            else:
                found.append(self._encoded(row))
                cost += ENCODE_COST
            if cost >= SLICE_COST:
                cost = 0
                await anyio.lowlevel.checkpoint()
        return found

    def forget(self, info_hash: InfoHash) -> None:
        """Keep nothing of a torrent that is gone."""
        kept = self._kept.pop(info_hash, None)
        if kept is not None:
            self.kept_bytes -= len(kept[1])


class Shapes:
    """The shapes that were used lately, within a bound of memory."""

    def __init__(
        self, *, max_kept_bytes: int = MAX_KEPT_BYTES, max_shapes: int = MAX_SHAPES
    ) -> None:
        self._max_kept_bytes = max_kept_bytes
        self._max_shapes = max_shapes
        self._shapes: OrderedDict[Hashable, Shape] = OrderedDict()

    def get(
        self,
        key: Hashable,
        encode: Callable[[StateRow], bytes],
        groups: Collection[FactGroup] = _ALL,
    ) -> Shape:
        """Return the shape of a key, such as ("own", fields); ``encode`` is used for a new one.

        ``groups`` are those that the shape shows: a change of others does not encode it anew.
        """
        shape = self._shapes.get(key)
        if shape is None:
            self._trim(self._max_shapes - 1)
            shape = self._shapes[key] = Shape(encode, groups)
        self._shapes.move_to_end(key)
        return shape

    def _trim(self, max_shapes: int) -> None:
        while self._shapes and (
            len(self._shapes) > max_shapes or self.kept_bytes > self._max_kept_bytes
        ):
            self._shapes.popitem(last=False)

    @property
    def kept_bytes(self) -> int:
        """Length of everything that is kept."""
        return sum(shape.kept_bytes for shape in self._shapes.values())

    def forget(self, info_hash: InfoHash) -> None:
        """Keep nothing of a torrent that is gone."""
        for shape in self._shapes.values():
            shape.forget(info_hash)
