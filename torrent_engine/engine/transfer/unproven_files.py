"""Whole pieces that nothing can be said of alone: nobody has given the hashes of their file.

Source: BEP 52. A v2 file without its layer is fetched as a whole, onto the disk: then the hashes of
its pieces are made of what is there, and the root of the file proves all of them at once.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import anyio.to_thread

from torrent_engine.base.errors import MetainfoError
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.swarm.context import Torrent
from torrent_engine.engine.transfer.piece_assembly import PieceAssembly, ReadBlock

LOOKS_PER_TURN: Final = 1_000  # ours: at files whose hashes may be known now; 1 us each

InThread = Callable[[Callable[[ReadBlock], None]], Awaitable[None]]
"""Runs what reads blocks back in a worker thread; raises StorageError."""


@dataclass(slots=True, eq=False)
class HeldFile:
    """The pieces of one file that wait."""

    index: int
    pieces: range
    """All pieces of the file."""
    root: bytes
    held: dict[int, PieceAssembly] = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        """Whether all pieces of the file wait."""
        return len(self.held) == len(self.pieces)

    @property
    def first(self) -> PieceAssembly:
        """The first piece of a full file."""
        return self.held[self.pieces.start]


class UnprovenFiles:
    """The pieces of one torrent that wait for the hashes of their file, or for the rest of it.

    There may be half a million: no method looks at all of them, nor at all files.
    """

    def __init__(self, torrent: Torrent) -> None:
        self._torrent = torrent
        self._files: OrderedDict[int, HeldFile] = OrderedDict()
        """Those without hashes, by index; the first was not looked at for longest."""
        self._known: OrderedDict[int, HeldFile] = OrderedDict()
        """Those that have their hashes, and pieces that were not taken yet."""
        self._looks_left = 0
        """How many files may have got their hashes since they were looked at."""
        self._full: dict[bytes, dict[int, HeldFile]] = {}
        """The full ones of the files without hashes, by root and index: copies have one root."""
        self._due: OrderedDict[bytes, None] = OrderedDict()
        """The roots of full files that are to be hashed."""
        self._tried: set[bytes] = set()
        """The roots of files that are being hashed."""
        self._ended: dict[bytes, None] = {}
        """The roots of files that were hashed to no end: due again with the next piece."""

    def hold(self, assembly: PieceAssembly) -> None:
        """Keep a piece whose hash is not known; its blocks are to be written."""
        index = self._index_of(assembly.partial.piece)
        file = self._files.get(index) or self._known.get(index)
        if file is None:
            file = self._files[index] = self._new_file(index)
        file.held[assembly.partial.piece] = assembly
        self._due.update(self._ended)
        self._ended.clear()
        if file.is_full and index in self._files:
            self._full.setdefault(file.root, {})[index] = file
            if file.root not in self._tried:
                self._due[file.root] = None

    def has(self, piece: int) -> bool:
        """Return whether a piece waits here."""
        return self._held(piece) is not None

    def holds(self, assembly: PieceAssembly) -> bool:
        """Return whether a piece waits here, as this assembly."""
        return self._held(assembly.partial.piece) is assembly

    def hashes_changed(self) -> None:
        """Look at all files again, some in each turn: their hashes may be known now."""
        self._looks_left = len(self._files)

    def take_known(self, room: int) -> list[PieceAssembly]:
        """Return up to so many pieces whose hashes are known now; they wait no longer."""
        self._look_for_known()
        found: list[PieceAssembly] = []
        while self._known and len(found) < room:
            index, file = next(iter(self._known.items()))
            while file.held and len(found) < room:
                found.append(file.held.popitem()[1])
            if not file.held:
                del self._known[index]
        return found

    def take_turns(self, room: int) -> list[HeldFile]:
        """Return up to so many files that are all here and are to be proved, once."""
        found: list[HeldFile] = []
        while self._due and len(found) < room:
            root, _ = self._due.popitem(last=False)
            file = next(iter(self._full.get(root, {}).values()), None)
            if file is not None and root not in self._tried and not self._is_known(file):
                self._tried.add(root)
                found.append(file)
        return found

    async def prove(self, file: HeldFile, in_thread: InThread) -> Metainfo | None:
        """Return the torrent with the hashes of a file whose pieces are right; else None.

        It reads no further if the torrent has them meanwhile. Raises StorageError.
        """
        hashes, layer = self._torrent.metainfo.hashes, bytearray()
        try:
            for piece in file.pieces:
                if self._is_known(file):
                    return self._torrent.metainfo
                assembly, digest = file.held[piece], hashes.new_digest(piece)
                await assembly.settled()
                await in_thread(partial(assembly.add_to, digest))
                layer += digest.digest()
            return await with_layers_added(self._torrent, {file.root: bytes(layer)})
        finally:
            self._tried.discard(file.root)
            self._ended[file.root] = None

    def drop(self, file: HeldFile) -> bool:
        """Forget the pieces of a file that is wrong; one with the same content has its turn.

        Return False, and forget nothing, if its hashes came meanwhile: they tell which are wrong.
        """
        if self._files.get(file.index) is not file:
            return False
        del self._files[file.index]
        files = self._full.get(file.root, {})
        files.pop(file.index, None)
        if files:
            self._due[file.root] = None
        else:
            self._full.pop(file.root, None)
        return True

    def _look_for_known(self) -> None:
        looks = min(self._looks_left, LOOKS_PER_TURN, len(self._files))
        self._looks_left = self._looks_left - looks if self._files else 0
        for _ in range(looks):
            index, file = next(iter(self._files.items()))
            if not self._is_known(file):
                self._files.move_to_end(index)
                continue
            self._known[index] = self._files.pop(index)
            self._full.pop(file.root, None)
            self._due.pop(file.root, None)

    def _is_known(self, file: HeldFile) -> bool:
        return self._torrent.metainfo.hashes.expected(file.pieces.start) is not None

    def _held(self, piece: int) -> PieceAssembly | None:
        if not self._files and not self._known:
            return None
        index = self._index_of(piece)
        file = self._files.get(index) or self._known.get(index)
        return None if file is None else file.held.get(piece)

    def _new_file(self, index: int) -> HeldFile:
        metainfo = self._torrent.metainfo
        pieces = metainfo.layout.pieces_of(index, metainfo.geometry)
        return HeldFile(index, pieces, (metainfo.v2 and metainfo.v2.root(index)) or b"")

    def _index_of(self, piece: int) -> int:
        """Return the file that a piece is of."""
        metainfo = self._torrent.metainfo
        return metainfo.layout.files_of_piece(piece, metainfo.geometry)[0]


async def with_layers_added(torrent: Torrent, layers: Mapping[bytes, bytes]) -> Metainfo | None:
    """Return what the torrent is with these layers besides those that it has; None: wrong ones."""
    while True:
        metainfo = torrent.metainfo
        known = metainfo.v2.layers if metainfo.v2 is not None else {}
        new = {root: layer for root, layer in layers.items() if root not in known}
        try:
            found = await anyio.to_thread.run_sync(metainfo.with_layers, new) if new else metainfo
        except MetainfoError:
            return None
        if torrent.metainfo is metainfo:  # nothing else was learned meanwhile
            return found
