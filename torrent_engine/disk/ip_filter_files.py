"""Reading of IP filter files, a millisecond of work at a time."""

import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from torrent_engine.base.config import AddressClass, ClassRule, IpFilterConfig
from torrent_engine.base.errors import ConfigError, IpFilterError, StorageError
from torrent_engine.disk.regular_files import open_regular
from torrent_engine.policy.ip_filter.filter import AddressSet, IpFilter
from torrent_engine.policy.ip_filter.lines import parse_range
from torrent_engine.policy.ip_filter.lists import (
    CHUNK_BYTES,
    ListFacts,
    ListReader,
    TextListReader,
)
from torrent_engine.policy.ip_filter.p2b import HEADER, BinaryListReader
from torrent_engine.policy.ip_filter.ranges import RangeBuilder

LISTS_CLASS: Final = "lists"  # the name of the class of IpFilterConfig.paths
_GZIP: Final = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class FilterFileStamp:
    """The counts of one file."""

    path: str
    facts: ListFacts


@dataclass(frozen=True, slots=True)
class LoadedFilter:
    """A filter, and the counts of its files."""

    ip_filter: IpFilter
    files: tuple[FilterFileStamp, ...] = ()


def load_filter(
    config: IpFilterConfig, yield_thread: Callable[[], None] = lambda: None
) -> LoadedFilter:
    """Load the filter of a configuration; ``yield_thread`` is called about each millisecond.

    Raises StorageError for a file that cannot be read, IpFilterError for one that is damaged or has
    too many ranges, ConfigError for an invalid range of the configuration. Malformed lines are
    counted.
    """
    loader = _Loader(config.max_ranges, yield_thread)
    blocked = AddressClass(LISTS_CLASS, ClassRule.BLOCKED, paths=config.paths)
    sets = tuple(loader.address_set(each) for each in (blocked, *config.classes))
    ip_filter = IpFilter(
        sets,
        blocked_ports=config.blocked_ports,
        always_allow_local=config.always_allow_local,
    )
    return LoadedFilter(ip_filter, tuple(loader.files))


class _Loader:
    def __init__(self, max_ranges: int, yield_thread: Callable[[], None]) -> None:
        self.files: list[FilterFileStamp] = []
        self._ranges_left = max_ranges
        self._yield_thread = yield_thread

    def address_set(self, config: AddressClass) -> AddressSet:
        """Return all of one class."""
        builder = RangeBuilder()
        for text in config.ranges:
            bits, first, last = _configured(config, text)
            builder.add(bits, [first << bits | last])
        for path in config.paths:
            self.files.append(FilterFileStamp(path, self._read(Path(path), builder)))
        self._ranges_left -= len(builder)
        return AddressSet(config.name, config.rule, builder.build(self._yield_thread))

    def _read(self, path: Path, builder: RangeBuilder) -> ListFacts:
        try:
            with open_regular(path) as file:
                return self._read_file(file, builder)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise IpFilterError(f"{path}: a damaged gzip file: {error}") from error
        except OSError as error:
            raise StorageError(path, (error.strerror or str(error)).lower()) from error
        except IpFilterError as error:
            raise IpFilterError(f"{path}: {error}") from error

    def _read_file(self, file: IO[bytes], builder: RangeBuilder) -> ListFacts:
        is_packed = file.read(len(_GZIP)) == _GZIP
        file.seek(0)
        if is_packed:
            with gzip.open(file) as unpacked:
                return self._read_list(unpacked, builder)
        return self._read_list(file, builder)

    def _read_list(self, file: "IO[bytes] | gzip.GzipFile", builder: RangeBuilder) -> ListFacts:
        reader: ListReader | None = None
        while chunk := file.read(CHUNK_BYTES):
            if reader is None:
                kind = BinaryListReader if chunk.startswith(HEADER) else TextListReader
                reader = kind(builder, self._ranges_left)
            reader.feed(chunk)
            self._yield_thread()
        return ListFacts() if reader is None else reader.close()


def _configured(config: AddressClass, text: str) -> tuple[int, int, int]:
    try:
        return parse_range(text)
    except IpFilterError as error:
        raise ConfigError(f"class {config.name!r} of the IP filter: {error}") from error
