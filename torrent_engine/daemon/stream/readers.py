"""How many files are read at once, and how long a player waits for metadata."""

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final, Self

from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.engine_port.port import ByteReader
from torrent_engine.daemon.problems import Problem, ProblemError
from torrent_engine.daemon.state.counters import ServiceCounters

MAX_READERS: Final = 32  # ours
MAX_READERS_OF_ONE: Final = 8  # ours: players read the end of a file while they play its start
METADATA_WAIT_S: Final = 30.0  # ours
RETRY_S: Final = 2
_MAX_WAITING: Final = 1_000


class OpenReaders:
    """Counts the readers that are open."""

    def __init__(self, counters: ServiceCounters | None = None) -> None:
        self._of_one: Counter[InfoHash] = Counter()
        self._counters = counters or ServiceCounters()

    @property
    def count(self) -> int:
        """How many there are."""
        return self._of_one.total()

    def counted(self, info_hash: InfoHash, reader: ByteReader) -> ByteReader:
        """Return the reader, to be counted while it is open. Raises ProblemError: too many."""
        if self.count >= MAX_READERS or self._of_one[info_hash] >= MAX_READERS_OF_ONE:
            raise _later("too many streams are open")
        return _CountedReader(self._of_one, info_hash, reader, self._counters)


class _CountedReader:
    """A reader that is in the count from its opening to its end."""

    def __init__(
        self,
        of_one: Counter[InfoHash],
        info_hash: InfoHash,
        reader: ByteReader,
        counters: ServiceCounters,
    ) -> None:
        self._of_one = of_one
        self._counters = counters
        self._info_hash = info_hash
        self._reader = reader
        self.seek = reader.seek

    @property
    def size(self) -> int:
        return self._reader.size

    async def read(self, size: int = -1) -> bytes:
        data = await self._reader.read(size)
        self._counters.stream_bytes += len(data)
        return data

    async def __aenter__(self) -> Self:
        self._of_one[self._info_hash] += 1
        self._counters.stream_readers += 1
        try:
            await self._reader.__aenter__()
        except BaseException:
            self._forget()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        try:
            await self._reader.__aexit__(*exc)
        finally:
            self._forget()

    def _forget(self) -> None:
        self._counters.stream_readers -= 1
        self._of_one[self._info_hash] -= 1
        self._of_one += Counter()  # drops zeros


class MetadataPatience:
    """Since when files of torrents without metadata are asked for."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since_s: OrderedDict[InfoHash, float] = OrderedDict()

    def known(self, info_hash: InfoHash) -> None:
        """Forget a torrent whose metadata is there."""
        self._since_s.pop(info_hash, None)

    def refusal(self, info_hash: InfoHash) -> ProblemError:
        """Return what a player is told: to try again soon, and after a while that it failed."""
        now = self._clock()
        since = self._since_s.setdefault(info_hash, now)
        while len(self._since_s) > _MAX_WAITING:
            self._since_s.popitem(last=False)
        if now - since < METADATA_WAIT_S:
            return _later("the metadata is not there yet")
        self._since_s.pop(info_hash, None)
        return ProblemError(Problem("read_timeout", "the metadata did not come"))


def _later(detail: str) -> ProblemError:
    return ProblemError(Problem("busy", detail, headers={"Retry-After": str(RETRY_S)}))
