"""The Sessions that run with the same shared resources, at most one for each torrent.

Source: BEP 52: a hybrid has two info-hashes. Who has a link with one of them knows the other once
the metadata is there, so that two links may turn out to be of one torrent.
"""

from collections.abc import Callable, Coroutine

from torrent_engine.base.errors import BusyError

CloseSession = Callable[[], Coroutine[object, object, None]]


class RunningSessions:
    """Which torrents have a Session that runs, by either of their info-hashes."""

    def __init__(self) -> None:
        self._closers: dict[bytes, CloseSession] = {}
        self._owners: dict[bytes, bytes] = {}
        """By each of the two info-hashes of a hybrid: the one that its Session has."""

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._closers)

    @property
    def closers(self) -> tuple[CloseSession, ...]:
        """What ends them."""
        return tuple(self._closers.values())

    def add(self, info_hash: bytes, close_session: CloseSession) -> None:
        """Add a Session that runs from now on. Raises BusyError if its torrent has another one."""
        if info_hash in self._closers:
            raise BusyError(info_hash.hex(), "this torrent has a Session already")
        self._check_owner(info_hash, info_hash)
        self._closers[info_hash] = close_session

    def claim(self, info_hash: bytes, other_hash: bytes) -> None:
        """Take note that a Session is of a hybrid, which has another info-hash, too.

        Raises BusyError if that hybrid has another Session, the first one that knew it.
        """
        self._check_owner(info_hash, info_hash)
        self._check_owner(other_hash, info_hash)
        self._owners[info_hash] = self._owners[other_hash] = info_hash

    def _check_owner(self, info_hash: bytes, session: bytes) -> None:
        owner = self._owners.get(info_hash, session)
        if owner != session:
            reason = f"this torrent has a Session already: a hybrid, by its info-hash {owner.hex()}"
            raise BusyError(session.hex(), reason)

    def remove(self, info_hash: bytes) -> None:
        """Remove a Session that has ended; twice is harmless."""
        self._closers.pop(info_hash, None)
        if self._owners.get(info_hash) == info_hash:
            self._owners = {key: owner for key, owner in self._owners.items() if owner != info_hash}
