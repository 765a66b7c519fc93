"""Torrents with a feed: it is asked at intervals, and each newer version replaces the older one.

Source: BEP 39. What the originator has not signed does not count, and a feed cannot go back to a
version that there was. How torrents are replaced: :class:`Replacing`.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from torrent_engine.base.config import FeedConfig
from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.codec.feed import has_feed
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.manager.followed_feed import FollowedFeed
from torrent_engine.engine.manager.replacing import IDLE, Replacing
from torrent_engine.engine.session.session import Session
from torrent_engine.net.http.torrent_feed import NO_VALIDATORS, FeedAnswer, FeedValidators

if TYPE_CHECKING:
    from torrent_engine.base.ids import InfoHash

logger = logging.getLogger(__name__)

MAX_ROUND_S: Final = 60.0  # ours: how soon a torrent that was added is noticed
AskFeed = Callable[[Metainfo, FeedValidators], Awaitable[FeedAnswer]]
"""Asks a torrent's feed. Raises TorrentEngineError."""


@dataclass(slots=True)
class _Plan:
    """When the feed of a torrent is asked next."""

    due_s: float
    failures: int = 0
    """In a row."""
    validators: FeedValidators = NO_VALIDATORS


class FeedFollower:
    """Asks the feeds of running torrents, one after the other."""

    def __init__(
        self,
        config: FeedConfig,
        replacing: Replacing,
        ask: AskFeed,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._config = config
        self._replacing = replacing
        self._ask = ask
        self._clock = clock
        self._sleep = sleep
        self._plans: dict[InfoHash, _Plan | None] = {}
        """None: the torrent has no feed."""

    async def run(self) -> None:
        """Ask feeds when they are due, until cancelled; nothing if that is switched off."""
        if not self._config.enabled:
            return
        while True:
            await self._sleep(min(MAX_ROUND_S, self._config.interval_s))
            await self.ask_due()

    async def ask_due(self) -> None:
        """Ask each feed whose time has come."""
        sessions = self._replacing.torrents.ordered
        known = {session.info_hash for session in sessions}
        for gone in self._plans.keys() - known:
            del self._plans[gone]
        for session in sessions:
            if session.state in IDLE or self._replacing.is_replaced_or_waits(session):
                continue
            plan = self._plans.setdefault(session.info_hash, _Plan(self._clock()))
            if plan is not None and plan.due_s <= self._clock():
                await self._ask_one(session, plan)

    async def _ask_one(self, session: Session, plan: _Plan) -> None:
        try:
            metainfo = await anyio.to_thread.run_sync(lambda: session.metainfo)  # it may be read
        except (TorrentEngineError, RuntimeError, MemoryError) as error:  # or no thread is left
            logger.warning("the feed of %s is not asked: %s", session.name, error)
            return
        if metainfo is None:  # a link: looked at again
            return
        if not has_feed(metainfo):
            self._plans[session.info_hash] = None
            return
        try:
            answer = await self._ask(metainfo, plan.validators)
            is_settled = answer.newer is None or await self._take(session, answer.newer)
        except TorrentEngineError as error:
            self._failed(plan)
            logger.info("the feed of %s: %s", session.name, error)
        except Exception:
            self._failed(plan)
            logger.exception("internal error: the feed of %s", session.name)
        else:
            plan.failures = 0
            plan.due_s = self._clock() + self._config.interval_s
            if is_settled:  # else the feed is to send that version again
                plan.validators = answer.validators

    def _failed(self, plan: _Plan) -> None:
        """Try again later, and ever later while it fails."""
        doubled_s = self._config.first_retry_s * 2.0 ** min(plan.failures, 32)
        plan.failures += 1
        plan.due_s = self._clock() + min(doubled_s, self._config.max_retry_s)
        plan.validators = NO_VALIDATORS  # it may be those that the server does not like

    async def _take(self, session: Session, newer: Metainfo) -> bool:
        """Begin with a version that was not there before; return whether it was looked at."""
        record = FollowedFeed.read(session.user_data) or FollowedFeed()
        if self._replacing.torrents.find(newer) is session:
            return True
        if not self._replacing.is_wanted(session):
            return False
        other = newer.v2_swarm or newer.info_hash
        if record.has_seen(newer.info_hash) or record.has_seen(other):
            logger.info("the feed of %s goes back to an older version", session.name)
            return True
        logger.info("%s: its feed has %s", session.name, newer.info_hash.hex())
        await self._replacing.begin(session, newer, record.after(session.info_hash))
        await self._replacing.advance()
        return True
