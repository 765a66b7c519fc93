"""One web seed of one torrent: its requests, its outstanding blocks, its failures.

Source: BEP 17, BEP 19; fault model, row B6. Its blocks go the way of a peer's blocks.
"""

import logging
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

import anyio

from torrent_engine.base.config import WebSeedConfig
from torrent_engine.base.errors import HttpError
from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.engine.events import WebSeedBanned, WebSeedFailed
from torrent_engine.engine.resources.bandwidth_manager import TorrentBandwidth
from torrent_engine.engine.stats import WebSeedState, WebSeedStats
from torrent_engine.engine.swarm.context import Torrent
from torrent_engine.engine.swarm.peer import WebSeedIdentity
from torrent_engine.engine.transfer.deadline_requests import expected_of
from torrent_engine.engine.transfer.download_manager import DownloadManager
from torrent_engine.engine.transfer.web_seed_fetch import (
    BEP_OF_FILES,
    FileMissingError,
    PaidReads,
    WebSeedFetch,
)
from torrent_engine.net.http.address_policy import AddressPolicy, AddressRefusedError
from torrent_engine.net.http.client import HttpClient
from torrent_engine.net.http.stream import HttpStreams
from torrent_engine.net.http.web_seed import FileNotServedError, WebSeedBusyError, WebSeedServer
from torrent_engine.net.peers.peer_link import Gate, Throttle
from torrent_engine.net.sockets.name_resolver import resolving_for
from torrent_engine.policy.pieces.piece_table import Block
from torrent_engine.policy.pieces.web_seed_plan import (
    ServedPieces,
    Views,
    contiguous_runs,
    range_blocks,
)
from torrent_engine.policy.rate import RateMeter
from torrent_engine.protocol.tracker.urls import redact_url
from torrent_engine.protocol.wire.messages import BlockReceived

IDLE_ROUNDS: Final = 2  # ours: in vain, before another web seed has its turn
MAX_DOUBLINGS: Final = 32  # ours: beyond any wait, and far from the largest float
_USELESS: Final = (FileNotServedError, AddressRefusedError)

logger = logging.getLogger(__name__)


def idle_stats_of(url: str, bep: int, *, secrets: bool = False) -> WebSeedStats:
    """Return the statistics of a web seed whose torrent does not run."""
    return WebSeedStats(url if secrets else redact_url(url), bep, WebSeedState.IDLE, 0, 0.0, 0, "")


@dataclass(frozen=True, slots=True)
class WebSeedParts:
    """What the web seeds of one torrent work with."""

    torrent: Torrent
    downloads: DownloadManager
    http: HttpClient
    gate: Gate
    bandwidth: TorrentBandwidth
    has_others: Callable[[], bool]
    """Whether another web seed waits for its turn."""

    @property
    def config(self) -> WebSeedConfig:
        """The limits of web seeds."""
        return self.torrent.shared_config.web_seed


class WebSeed:
    """Requests ranges of the payload from one server, several at a time."""

    def __init__(self, url: str, bep: int, parts: WebSeedParts) -> None:
        metainfo, self._config = parts.torrent.metainfo, parts.config
        self.identity = WebSeedIdentity(url)
        self.shown_url = redact_url(url)
        self.bep = bep
        self.quiet_until_s = 0.0
        """It is not asked before; infinity: never again (it is banned, or was removed)."""
        self.received_blocks = self.downloaded_now_bytes = 0  # DownloadManager counts in them
        self.downloaded_bytes = 0
        self.download_rate = RateMeter()
        self._parts = parts
        self._metainfo = metainfo
        self._served = ServedPieces(
            metainfo.layout,
            metainfo.geometry,
            metainfo.files.is_stored,
            forget_after_s=self._config.backoff_max_s,
        )
        self._owed: dict[Block, None] = {}
        self._last_piece: int | None = None
        self._is_banned = self._is_useless = self._is_proved = False
        """It has nothing that is needed, by its last answer; it answered, and may be asked more."""
        self._busy = self._to_end = 0
        """Requests under way, and those that end early to make room for what is due."""
        self._busy_until_s = self._heard_s = 0.0
        """When the last one ended; when it was asked after a pause, or sent something."""
        self._idle_rounds = 0
        """How often it was looked in vain for something to ask."""
        self._is_leaving = False
        """All requests end: none runs, and none may begin. They leave together or not at all."""
        self._reads = PaidReads()
        parts.bandwidth.add_web_seed(self)
        self._failures = self._misses = 0
        """Requests in a row that failed, and those for a file that is not there."""
        self._error = ""
        policy = AddressPolicy(allow_non_global=self._config.allow_local)
        self._streams = HttpStreams(parts.http, self._config, policy)
        server = WebSeedServer(self._streams, self._config)
        self._fetch = WebSeedFetch(metainfo, url, bep, server)
        self._wake = anyio.Event()
        self._scope = anyio.CancelScope()

    @property
    def download_throttle(self) -> Throttle | None:
        """What limits its rate; set by the bandwidth of its torrent."""
        return self._reads.throttle

    @download_throttle.setter
    def download_throttle(self, throttle: Throttle | None) -> None:
        self._reads.throttle = throttle

    @property
    def is_over(self) -> bool:
        """Whether it is not asked for anything any more."""
        return self.quiet_until_s == math.inf

    @property
    def bits(self) -> int:
        """The pieces that it may be asked for now, as bits; none while it rests."""
        return self._served.bits if self.quiet_until_s <= self._parts.torrent.clock() else 0

    @property
    def is_open(self) -> bool:
        """Whether there may be connections."""
        return self._streams.is_open

    def stats(self, now: float, *, secrets: bool = False) -> WebSeedStats:
        """Return its present statistics."""
        return WebSeedStats(
            url=self.identity.url if secrets else self.shown_url,
            bep=self.bep,
            state=self._state(now),
            downloaded_bytes=self.downloaded_bytes,
            download_bytes_per_s=self.download_rate.rate(now),
            active_requests=self._busy,
            error=self._error,
        )

    def _state(self, now: float) -> WebSeedState:
        if self.is_over:
            return WebSeedState.BANNED if self._is_banned else WebSeedState.FAILED
        if self._busy:
            return WebSeedState.ACTIVE
        if self._is_useless:
            return WebSeedState.FAILED
        return WebSeedState.WAITING if now < self.quiet_until_s else WebSeedState.IDLE

    def wake(self) -> None:
        """Look again whether there is something to ask for."""
        self._wake.set()
        self._wake = anyio.Event()

    def expected(self, pieces: Collection[int], now: float) -> dict[Block, float]:
        """Return in how many seconds each block of these pieces comes that it owes us."""
        rate = self.download_rate.rate(now)
        return expected_of(self._owed, pieces, rate, now - self._heard_s)

    def hurry(self, soon: int) -> None:
        """Request at once what is due, of pieces ``soon``; half of its other requests make room."""
        most = self._config.max_requests if self._is_proved else 1
        if self._busy >= most and self._parts.torrent.picker.has_due(self._served.bits & soon):
            self._to_end = max(1, self._busy // 2)
        self.wake()

    def retire(self) -> None:
        """Stop requests, and release its outstanding blocks for other senders."""
        self.quiet_until_s = math.inf
        self._scope.cancel()
        self._give_up(tuple(self._owed))

    def sent_bad_data(self, piece: int) -> None:
        """Ask no more for a file of which it sent bad data; ban it if there are several.

        A server may have an older version of some file, and the right one of all others.
        """
        is_one_of_many = self.bep == BEP_OF_FILES and self._metainfo.is_multi_file
        if self._served.was_wrong(piece) or not is_one_of_many:
            self.ban()

    def ban(self) -> None:
        """Stop requests for good: it sent bad data."""
        if self._is_banned:
            return
        self._is_banned, self._error = True, "sent bad data"
        self.retire()
        torrent = self._parts.torrent
        torrent.bus.publish(WebSeedBanned(self._metainfo.info_hash, self.shown_url, self._error))

    async def run(self) -> None:
        """Request until it is over or has to pause; its outstanding blocks are then released.

        Never raises for what a server does.
        """
        self._scope, self._idle_rounds, self._is_leaving = anyio.CancelScope(), 0, False
        try:
            with self._scope, resolving_for(self._metainfo.info_hash):
                async with anyio.create_task_group() as tasks:
                    for number in range(self._config.max_requests):
                        tasks.start_soon(self._work, number)
        finally:
            self._give_up(())
            await self._streams.aclose()

    # -- one of several requests ------------------------------------------------------------

    async def _work(self, number: int) -> None:
        while not self._is_leaving:
            if blocks := self._pick() if self._may_ask(number) else []:
                await self._ask(blocks)
            elif self._has_to_rest() and not self._busy:
                self._is_leaving = True
            else:
                await self._rest(number)
        self.wake()

    def _may_ask(self, number: int) -> bool:
        return (self._is_proved or not number) and not self._has_to_rest()

    def _has_to_rest(self) -> bool:
        """Return whether it is paused: it failed, or others may have what it lacks."""
        if self._idle_rounds >= IDLE_ROUNDS and self._parts.has_others():
            return True
        return self._parts.torrent.clock() < self.quiet_until_s

    def _pick(self) -> list[Block]:
        torrent, downloads = self._parts.torrent, self._parts.downloads
        if not downloads.is_active:
            return []
        now = torrent.clock()
        self._served.forget(now)
        picker, rate = torrent.picker, self.download_rate.rate(now)
        missing = (torrent.table.missing & picker.wanted).bit_count()
        left_bytes = missing * self._metainfo.geometry.piece_bytes
        left_bytes += sum(partial.left for partial in picker.partials.values()) * BLOCK_BYTES
        count = range_blocks(self._config, rate, left_bytes)
        bits, is_asked, self._to_end = self._served.bits, self._owed.__contains__, 0
        if picker.deadlines.bits:
            bits ^= bits & downloads.urgent.left_to_faster(rate, len(self._owed))
            if late := downloads.urgent.pick_duplicates(bits, count, rate, is_asked):
                return late
        blocks = downloads.pick_range(self.identity, bits, count, self._last_piece, is_asked)
        if blocks:
            self._last_piece = blocks[-1][0]
        return blocks

    async def _rest(self, number: int) -> None:
        wake, now = self._wake, self._parts.torrent.clock()
        is_idle = not number and not self._busy and self._streams.is_open
        if is_idle and now - self._busy_until_s > self._config.idle_close_s:
            await self._streams.aclose()
        await wake.wait()
        if not number and not self._busy and self._parts.downloads.is_active:
            self._idle_rounds += 1

    async def _ask(self, blocks: Sequence[Block]) -> None:
        if not self._busy:
            self._heard_s = self._parts.torrent.clock()
        self._busy += 1
        self._idle_rounds = 0
        self._owed.update(dict.fromkeys(blocks))
        try:
            for run in contiguous_runs(blocks, self._metainfo.geometry.piece_bytes):
                await self._fetch.fetch(run, self)
        except FileMissingError as error:
            self._served.lacks(error.file_index, self._parts.torrent.clock())
            self._failed(error)
        except HttpError as error:
            self._failed(error)
        except Exception as error:
            logger.exception("internal error: the web seed %s", self.shown_url)
            self._failed(HttpError(f"internal error: {error!r}"))
        else:
            self._went_well()
        finally:
            self._busy -= 1
            self._busy_until_s = self._parts.torrent.clock()
            if left := [block for block in blocks if block in self._owed]:
                self._give_up(left)

    def _went_well(self) -> None:
        if not self.is_over:
            self._failures, self._misses, self._error = 0, 0, ""
            self._is_useless = False
        if not self._is_proved:
            self._is_proved = True
            self.wake()

    def _give_up(self, blocks: Sequence[Block]) -> None:
        """Release blocks for other senders, and the pieces reserved for it."""
        for block in blocks:
            del self._owed[block]
        self._parts.downloads.give_up(self.identity, blocks)

    def _failed(self, error: HttpError) -> None:
        """Decide when it is asked again; requests that fail at the same time count once."""
        torrent = self._parts.torrent
        now = torrent.clock()
        if now < self.quiet_until_s:
            return
        self._error = str(error)
        wait_s = self._wait_s(error)
        if not self._served.bits:
            wait_s = self._config.backoff_max_s
        self._is_useless = not self._served.bits or isinstance(error, _USELESS)
        self.quiet_until_s = now + wait_s
        info_hash = self._metainfo.info_hash
        torrent.bus.publish(WebSeedFailed(info_hash, self.shown_url, self._error, wait_s))
        self.wake()

    def _wait_s(self, error: HttpError) -> float:
        config = self._config
        if isinstance(error, FileMissingError):
            return self._wait_after_miss_s()
        if isinstance(error, WebSeedBusyError) and error.retry_in_s is not None:
            self._failures = self._misses = 0  # it is there, and says what it wants
            return min(max(error.retry_in_s, 1.0), config.max_retry_after_s)
        self._failures += 1
        return self._backoff_s(self._failures)

    def _wait_after_miss_s(self) -> float:
        """Return 0 (another file may be there), but after some in a row a wait that grows."""
        self._misses += 1
        rounds, more = divmod(self._misses, self._config.max_missing_files)
        return 0.0 if more else self._backoff_s(rounds)

    def _backoff_s(self, times: int) -> float:
        doubled = self._config.backoff_first_s * 2.0 ** min(times - 1, MAX_DOUBLINGS)
        return min(doubled, self._config.backoff_max_s)

    # -- what comes ---------------------------------------------------------------------------

    async def has_room(self) -> None:
        """Return when the disk keeps up."""
        gate = self._parts.gate
        if gate.full:
            await gate.wait_for_room()

    async def ready(self) -> None:
        """Return when more may be read: the disk keeps up, and so does the rate limit."""
        await self.has_room()
        await self._reads.pay()

    def was_read(self, count_bytes: int) -> None:
        """Account for what was read after :meth:`ready`."""
        self._reads.end(count_bytes)

    def received(self, count_bytes: int) -> None:
        """Account for payload."""
        parts = self._parts
        self._heard_s = now = parts.torrent.clock()
        self.downloaded_bytes += count_bytes
        self.download_rate.add(count_bytes, now)
        parts.torrent.totals.downloaded_bytes += count_bytes
        parts.downloads.count_held(count_bytes)

    def deliver(self, block: Block, views: Views) -> None:
        """Deliver a block to the download manager, as the blocks of peers."""
        self._owed.pop(block, None)
        self._failures = self._misses = 0  # an answer that breaks off later brought something
        self._parts.downloads.on_block(self, BlockReceived(*block, views))

    def needs_any(self, blocks: Sequence[Block]) -> bool:
        """Return whether any of these is still to come from it; cheap before the end game."""
        downloads = self._parts.downloads
        if self._to_end and blocks and not downloads.urgent.is_due(blocks[0][0]):
            self._to_end -= 1
            return False
        return not downloads.has_duplicates or downloads.needs_any(blocks)
