"""Owns reading the files of an IP filter, a millisecond of work at a time."""

import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from torrent_engine.base.config import AddressClass, ClassRule, IpFilterConfig
from torrent_engine.base.errors import ConfigError, IpFilterError, StorageError
from torrent_engine.policy.address_ranges import RangeBuilder
from torrent_engine.policy.ip_filter import AddressSet, IpFilter
from torrent_engine.policy.ip_filter_lines import parse_range
from torrent_engine.policy.ip_filter_lists import (
    CHUNK_BYTES,
    ListFacts,
    ListReader,
    TextListReader,
)
from torrent_engine.policy.ip_filter_p2b import HEADER, BinaryListReader

LISTS_CLASS: Final = "lists"  # the name of the class of IpFilterConfig.paths
_GZIP: Final = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What one file had in it."""

    path: str
    facts: ListFacts


@dataclass(frozen=True, slots=True)
class LoadedFilter:
    """A filter, and what its files had in them."""

    ip_filter: IpFilter
    files: tuple[FileFacts, ...] = ()


def load_filter(
    config: IpFilterConfig, stand_back: Callable[[], None] = lambda: None
) -> LoadedFilter:
    """Read all that a configuration names; ``stand_back`` is called about each millisecond.

    Raises StorageError for a file that cannot be read, IpFilterError for one that is damaged or
    has too many ranges, ConfigError for a range of the configuration itself that is none. Lines
    that are none of a list are counted.
    """
    loader = _Loader(config.max_ranges, stand_back)
    blocked = AddressClass(LISTS_CLASS, ClassRule.BLOCKED, paths=config.paths)
    sets = tuple(loader.address_set(each) for each in (blocked, *config.classes))
    ip_filter = IpFilter(
        sets,
        blocked_ports=config.blocked_ports,
        always_allows_local=config.always_allows_local,
    )
    return LoadedFilter(ip_filter, tuple(loader.files))


class _Loader:
    def __init__(self, max_ranges: int, stand_back: Callable[[], None]) -> None:
        self.files: list[FileFacts] = []
        self._ranges_left = max_ranges
        self._stand_back = stand_back

    def address_set(self, config: AddressClass) -> AddressSet:
        """Return all of one class."""
        builder = RangeBuilder()
        for text in config.ranges:
            bits, first, last = _configured(config, text)
            builder.add(bits, [first << bits | last])
        for path in config.paths:
            self.files.append(FileFacts(path, self._read(Path(path), builder)))
        self._ranges_left -= len(builder)
        return AddressSet(config.name, config.rule, builder.build(self._stand_back))

    def _read(self, path: Path, builder: RangeBuilder) -> ListFacts:
        try:
            with path.open("rb") as file:
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
            self._stand_back()
        return ListFacts() if reader is None else reader.close()


def _configured(config: AddressClass, text: str) -> tuple[int, int, int]:
    try:
        return parse_range(text)
    except IpFilterError as error:
        raise ConfigError(f"class {config.name!r} of the IP filter: {error}") from error
