"""Whole pieces that nothing can be said of alone: nobody has given the hashes of their file.

Source: BEP 52. A v2 file without its layer is fetched as a whole, onto the disk: then the hashes of
its pieces are made of what is there, and the root of the file proves all of them at once.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

import anyio.to_thread

from torrent_engine.base.errors import MetainfoError
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.swarm.context import Torrent
from torrent_engine.engine.transfer.piece_assembly import PieceAssembly, ReadBlock

InThread = Callable[[Callable[[ReadBlock], None]], Awaitable[None]]
"""Runs what reads blocks back in a worker thread; raises StorageError."""


class UnprovenFiles:
    """The pieces of one torrent that wait for the hashes of their file, or for the rest of it."""

    def __init__(self, torrent: Torrent) -> None:
        self._torrent = torrent
        self._held: dict[int, PieceAssembly] = {}
        self._has_new = False
        self._tried: set[bytes] = set()
        """The roots of files that are being hashed."""

    def hold(self, assembly: PieceAssembly) -> None:
        """Keep a piece whose hash is not known; its blocks are to be written."""
        self._held[assembly.partial.piece] = assembly
        self._has_new = True

    def has(self, piece: int) -> bool:
        """Return whether a piece waits here."""
        return piece in self._held

    def holds(self, assembly: PieceAssembly) -> bool:
        """Return whether a piece waits here, as this assembly."""
        return self._held.get(assembly.partial.piece) is assembly

    def take_known(self) -> list[PieceAssembly]:
        """Return the pieces whose hashes the torrent knows now; they wait no longer."""
        if not self._held:
            return []
        hashes = self._torrent.metainfo.hashes
        known = [piece for piece in self._held if hashes.expected(piece) is not None]
        return [self._held.pop(piece) for piece in known]

    def take_turns(self) -> list[list[PieceAssembly]]:
        """Return the pieces of each file that is all here and is to be proved, once."""
        if not self._has_new:
            return []
        self._has_new = False
        found: list[list[PieceAssembly]] = []
        seen: set[int] = set()
        for assembly in self._held.values():
            pieces, root = self._pieces_beside(assembly), self._root_of(assembly)
            if pieces.start in seen or root in self._tried:
                continue
            seen.add(pieces.start)
            if all(piece in self._held for piece in pieces):
                self._tried.add(root)
                found.append([self._held[piece] for piece in pieces])
        return found

    async def prove(self, file: Sequence[PieceAssembly], in_thread: InThread) -> Metainfo | None:
        """Return the torrent with the hashes of a file whose pieces are right; else None.

        Raises StorageError.
        """
        hashes, layer = self._torrent.metainfo.hashes, list[bytes]()
        root = self._root_of(file[0])
        try:
            for assembly in file:
                await assembly.settled()
                digest = hashes.new_digest(assembly.partial.piece)
                await in_thread(partial(assembly.add_to, digest))
                layer.append(digest.digest())
            return await with_layers_added(self._torrent, {root: b"".join(layer)})
        finally:
            self._tried.discard(root)

    def drop(self, file: Sequence[PieceAssembly]) -> None:
        """Forget the pieces of a file that is wrong; one with the same content has its turn."""
        for assembly in file:
            self._held.pop(assembly.partial.piece, None)
        self._has_new = True

    def _index_of(self, assembly: PieceAssembly) -> int:
        metainfo = self._torrent.metainfo
        piece = assembly.partial.piece
        return metainfo.layout.files_of_piece(piece, metainfo.geometry)[0]

    def _pieces_beside(self, assembly: PieceAssembly) -> range:
        """Return all pieces of the file that a piece is of."""
        metainfo = self._torrent.metainfo
        return metainfo.layout.pieces_of(self._index_of(assembly), metainfo.geometry)

    def _root_of(self, assembly: PieceAssembly) -> bytes:
        part = self._torrent.metainfo.v2
        return (part and part.root(self._index_of(assembly))) or b""


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
