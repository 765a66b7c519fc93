"""Announces of hybrid torrents, which have a swarm for each of their info-hashes.

Source: BEP 52 (upgrade path): such a torrent is announced with both. A tracker may know one of
them alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import anyio

from torrent_engine.base.errors import TrackerError
from torrent_engine.base.ids import InfoHash, PeerAddress
from torrent_engine.engine.discovery.peer_parts import deliver_in_parts
from torrent_engine.engine.discovery.tracker_coordinator import AnnounceClient
from torrent_engine.protocol.tracker.announce import (
    AnnounceRequest,
    AnnounceResponse,
    ScrapeCounts,
    merge_responses,
)


class BothSwarmsClient:
    """A tracker client whose announces are made with both info-hashes of a hybrid."""

    def __init__(
        self,
        client: AnnounceClient,
        other_hash: Callable[[], InfoHash | None],
        on_other_peers: Callable[[list[PeerAddress]], None],
    ) -> None:
        """``other_hash`` returns the second info-hash, of 20 bytes; None: there is one only.

        ``on_other_peers`` gets the peers of its swarm.
        """
        self._client = client
        self._other_hash = other_hash
        self._on_other_peers = on_other_peers

    async def announce(
        self, url: str, request: AnnounceRequest, *, patience_s: float | None = None
    ) -> AnnounceResponse:
        """Announce once with each info-hash; only TrackerError escapes, if both fail."""
        other_hash = self._other_hash()
        if other_hash is None:
            return await self._client.announce(url, request, patience_s=patience_s)
        outcomes: dict[InfoHash, AnnounceResponse | TrackerError] = {}
        async with anyio.create_task_group() as tasks:
            for each in (request, replace(request, info_hash=other_hash)):
                tasks.start_soon(self._announce, url, each, patience_s, outcomes)
        first, second = outcomes[request.info_hash], outcomes[other_hash]
        if isinstance(second, AnnounceResponse):
            await deliver_in_parts(second.peers, self._on_other_peers)
        answers = [each for each in (first, second) if isinstance(each, AnnounceResponse)]
        if not answers and isinstance(first, TrackerError):
            raise first
        return merge_responses(answers)

    async def scrape(
        self, url: str, info_hashes: Sequence[InfoHash]
    ) -> dict[InfoHash, ScrapeCounts]:
        """Scrape as the tracker client does."""
        return await self._client.scrape(url, info_hashes)

    async def _announce(
        self,
        url: str,
        request: AnnounceRequest,
        patience_s: float | None,
        outcomes: dict[InfoHash, AnnounceResponse | TrackerError],
    ) -> None:
        try:
            outcomes[request.info_hash] = await self._client.announce(
                url, request, patience_s=patience_s
            )
        except TrackerError as error:
            outcomes[request.info_hash] = error
