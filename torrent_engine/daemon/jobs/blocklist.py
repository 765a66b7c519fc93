"""Block lists that are fetched again and again; a list that cannot be had leaves the old one."""

import gzip
import hashlib
import json
import logging
import os
import random
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Final, Protocol

import anyio
import anyio.to_thread

from torrent_engine.base.config import IpFilterConfig
from torrent_engine.base.errors import HttpError, IpFilterError, TorrentEngineError
from torrent_engine.disk.ip_filter_files import load_filter
from torrent_engine.disk.regular_files import read_regular
from torrent_engine.net.http.client import HttpResponse
from torrent_engine.protocol.tracker.urls import redact_text, redact_url
from torrent_engine.service.pauses import Alarm

MAX_BYTES: Final = 64 * 1024 * 1024  # ours, also decompressed
JITTER: Final = 0.1  # ours: of the interval, so that not all of us ask at the same time
RETRY_S: Final = 900.0  # ours: after a failure, unless the interval is shorter
STAND_BACK_S: Final = 1e-4  # ours: long enough for the event loop to take over
OK: Final = 200
NOT_MODIFIED: Final = 304
_ZIP: Final = b"PK\x03\x04"
_GZIP: Final = b"\x1f\x8b"
logger = logging.getLogger(__name__)


class ListEngine(Protocol):
    """What is needed of the engine."""

    async def fetch_list(
        self, url: str, *, max_bytes: int, headers: Mapping[str, str] | None = None
    ) -> HttpResponse:
        """Fetch a URL. Raises HttpError."""

    async def reload_ip_filter(self) -> None:
        """Let the files of the filter hold as they are now. Raises TorrentEngineError."""


@dataclass(frozen=True, slots=True)
class ListSource:
    """One list by its URL."""

    url: str
    """https only: who could change a list could cut off peers."""
    every_s: float = 86_400.0

    @property
    def file_name(self) -> str:
        """The name of its file, which has no secret of the URL."""
        return hashlib.sha256(self.url.encode()).hexdigest()[:16] + ".list"


@dataclass(slots=True)
class ListStatus:
    """What is known of one list; kept beside its file."""

    etag: str = ""
    modified: str = ""
    checked_at: float = 0.0
    """Seconds since 1970: the last answer, also "not modified"."""
    changed_at: float = 0.0
    ranges: int = 0
    error: str = ""
    """Of the last attempt; without secrets."""


@dataclass(slots=True)
class _Kept:
    source: ListSource
    status: ListStatus = field(default_factory=ListStatus)
    due_at: float = 0.0


class Blocklists:
    """Keeps the files of all lists up to date; a part of the daemon."""

    name = "blocklist"

    def __init__(
        self,
        folder: Path,
        sources: Sequence[ListSource],
        engine: ListEngine,
        *,
        wall_clock: Callable[[], float] = time.time,
        rng: random.Random | None = None,
        alert: Callable[[str, str], None] = lambda _list, _text: None,
    ) -> None:
        """``alert`` takes a list without its secrets and a text, at the first of some failures."""
        self._alert = alert
        self._folder = folder
        self._engine = engine
        self._wall_clock = wall_clock
        self._rng = rng or random.Random()  # noqa: S311 - spreads load
        self._alarm = Alarm()
        self._turn = anyio.Lock()
        self._lists = [_Kept(each) for each in sources]

    @property
    def paths(self) -> tuple[str, ...]:
        """The files, which are there after :meth:`prepare`."""
        return tuple(str(self._folder / each.source.file_name) for each in self._lists)

    @property
    def statuses(self) -> dict[str, ListStatus]:
        """What is known of each list, by its URL."""
        return {each.source.url: each.status for each in self._lists}

    def prepare(self) -> None:
        """Make the folder and an empty file for each list that was never fetched; blocking.

        Raises OSError.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for each in self._lists:
            (self._folder / each.source.file_name).touch(mode=0o600)
            each.status = _read_status(self._status_path(each))
            each.due_at = each.status.checked_at + each.source.every_s

    def update_now(self) -> None:
        """Fetch all lists soon, at a user's request."""
        for each in self._lists:
            each.due_at = 0.0
        self._alarm.ring()

    async def run(self) -> None:
        """Fetch lists when they are due, until cancelled."""
        while self._lists:
            await self.update()
            await self._alarm.wait(self.due_in_s())

    def due_in_s(self) -> float:
        """Return the time until a list is due."""
        return max(min(each.due_at for each in self._lists) - self._wall_clock(), 0.0)

    async def update(self, *, is_forced: bool = False) -> bool:
        """Fetch the lists that are due, or all; return whether any changed and holds now."""
        async with self._turn:
            now = self._wall_clock()
            due = [each for each in self._lists if is_forced or each.due_at <= now]
            changed = [await self._update_one(each) for each in due]
            if not any(changed):
                return False
            try:
                await self._engine.reload_ip_filter()
            except TorrentEngineError as error:
                logger.warning("block lists: not loaded: %s", error)
                self._alert("", f"not loaded: {error}")
                return False
            return True

    async def _update_one(self, each: _Kept) -> bool:
        try:
            is_changed = await self._fetch(each)
        except (TorrentEngineError, OSError) as error:
            is_changed = False
            told = redact_text(str(error), each.source.url)
            if not each.status.error:
                self._alert(redact_url(each.source.url), f"the old list stays: {told}")
            each.status.error = told
            each.due_at = self._next(min(RETRY_S, each.source.every_s))
            logger.warning("block list: the old one stays: %s", each.status.error)
        else:
            each.status.error = ""
            each.status.checked_at = self._wall_clock()
            each.due_at = self._next(each.source.every_s)
        await anyio.to_thread.run_sync(_write_status, self._status_path(each), each.status)
        return is_changed

    def _next(self, delay_s: float) -> float:
        return self._wall_clock() + delay_s * (1.0 + self._rng.uniform(-JITTER, JITTER))

    async def _fetch(self, each: _Kept) -> bool:
        """Return whether there is a new list, which lies in its place now."""
        url, status = each.source.url, each.status
        if not url.lower().startswith("https://"):
            raise HttpError("a block list is fetched by https only")
        response = await self._engine.fetch_list(
            url, max_bytes=MAX_BYTES, headers=_conditions(status)
        )
        if response.status == NOT_MODIFIED:
            return False
        if response.status != OK:
            raise HttpError(f"HTTP status {response.status}", status=response.status)
        path = self._folder / each.source.file_name
        status.ranges = await anyio.to_thread.run_sync(partial(_store, response.body, path))
        status.etag = response.headers.get("etag", "")
        status.modified = response.headers.get("last-modified", "")
        status.changed_at = self._wall_clock()
        return True

    def _status_path(self, each: _Kept) -> Path:
        return (self._folder / each.source.file_name).with_suffix(".json")


def _conditions(status: ListStatus) -> dict[str, str]:
    given = {"If-None-Match": status.etag, "If-Modified-Since": status.modified}
    return {name: value for name, value in given.items() if value}


def _store(data: bytes, path: Path) -> int:
    """Put a list in its place if it is one; return its ranges. Raises IpFilterError, OSError."""
    beside = path.with_suffix(".new")
    try:
        _write(beside, unpacked(data))
        loaded = load_filter(IpFilterConfig(paths=(str(beside),)), _stand_back)
        ranges = sum(each.facts.ranges for each in loaded.files)
        if not ranges:
            raise IpFilterError("has no address range: no block list")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return ranges


def _stand_back() -> None:
    time.sleep(STAND_BACK_S)


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def unpacked(data: bytes) -> bytes:
    """Return a list without gzip or zip around it; of several files in a zip all, one by one.

    Raises IpFilterError if it is damaged or too long.
    """
    try:
        if data.startswith(_ZIP):
            return _unzipped(data)
        if data.startswith(_GZIP):
            with gzip.open(BytesIO(data)) as file:
                return _checked(file.read(MAX_BYTES + 1))
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, ValueError) as error:
        raise IpFilterError(f"damaged: {error}") from error
    return data


def _unzipped(data: bytes) -> bytes:
    found = bytearray()
    with zipfile.ZipFile(BytesIO(data)) as archive:
        for member in archive.infolist():
            if not member.is_dir():
                with archive.open(member) as file:
                    found += file.read(MAX_BYTES + 1 - len(found)) + b"\n"
                _checked(found)
    return bytes(found)


def _checked(data: bytes | bytearray) -> bytes:
    if len(data) > MAX_BYTES:
        raise IpFilterError(f"is longer than {MAX_BYTES >> 20} MiB")
    return bytes(data)


def _read_status(path: Path) -> ListStatus:
    try:
        return ListStatus(**json.loads(read_regular(path)))
    except (OSError, ValueError, TypeError):
        return ListStatus()


def _write_status(path: Path, status: ListStatus) -> None:
    beside = path.with_suffix(".json.new")
    try:
        _write(beside, json.dumps(asdict(status)).encode())
        beside.replace(path)
    except OSError as error:  # it is fetched once more than needed
        logger.warning("block list: %s", error)
