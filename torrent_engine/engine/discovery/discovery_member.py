"""Discovery state of one torrent: its callbacks, and the addresses of the present round."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from torrent_engine.base.ids import PeerAddress
from torrent_engine.policy.peers.candidate import Source

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class DiscoveryMember:
    """One torrent that wants peers. An error of its callbacks stays here, in the log."""

    listen_port: int
    """Where it accepts peers."""
    is_seed: Callable[[], bool]
    """Whether it has everything: it announces itself so, and is in no need of peers."""
    on_peers: Callable[[list[PeerAddress], Source], None]
    """Called with new addresses of a round and their source."""
    on_round: Callable[[Source, int], None]
    """Called at the end of a round with its number of addresses."""
    is_claim: bool = False
    """Whether the info-hash is the second one of a hybrid, as its link says it, perhaps wrongly."""
    has_left: bool = False
    """Whether the torrent has left: its callbacks are not called any more."""
    _named: dict[Source, set[PeerAddress]] = field(default_factory=dict)

    @property
    def needs_peers(self) -> bool:
        """Whether it wants peers to download from."""
        return not self.is_seed()

    def take(
        self,
        addresses: Iterable[PeerAddress],
        source: Source,
        max_addresses: int,
        *,
        share: int = 0,
    ) -> None:
        """Deliver addresses that are new in this round, up to ``max_addresses`` a round.

        ``share`` of each call are taken all the same: many lies keep no later truth out (C2).
        """
        named = self._named.setdefault(source, set())
        fresh = [address for address in dict.fromkeys(addresses) if address not in named]
        fresh = fresh[: max(max_addresses - len(named), share)]
        if fresh and not self.has_left:
            named.update(fresh)
            self._call(self.on_peers, fresh, source)

    def end_round(self, source: Source) -> int:
        """Begin the next round of a source; return how many addresses the last one named."""
        count = len(self._named.pop(source, ()))
        if not self.has_left:
            self._call(self.on_round, source, count)
        return count

    @staticmethod
    def _call(callback: Callable[..., None], *arguments: object) -> None:
        try:
            callback(*arguments)
        except Exception:
            logger.exception("internal error in a torrent's discovery callback")
