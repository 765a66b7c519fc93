"""Owns what the search for peers knows of one torrent: whom to tell, and who was named already."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from torrent_engine.base.ids import PeerAddress
from torrent_engine.policy.candidate import Source

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class DiscoveryMember:
    """One torrent that wants peers. An error of its callbacks stays here, in the log."""

    listen_port: int
    """Where it accepts peers."""
    is_seed: Callable[[], bool]
    """Whether it has everything: it announces itself so, and is in no need of peers."""
    on_peers: Callable[[list[PeerAddress], Source], None]
    """Takes addresses, each once a round, and who named them."""
    on_round: Callable[[Source, int], None]
    """Hears that a round has ended, and how many addresses it named."""
    has_left: bool = False
    """From then on nobody is told anything."""
    _named: dict[Source, set[PeerAddress]] = field(default_factory=dict)

    @property
    def in_need(self) -> bool:
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
        """Hand on who was not named in this round, up to ``max_addresses`` a round.

        ``share`` of each call are taken all the same: many lies keep no later truth out (C2).
        """
        named = self._named.setdefault(source, set())
        fresh = [address for address in dict.fromkeys(addresses) if address not in named]
        fresh = fresh[: max(max_addresses - len(named), share)]
        if fresh and not self.has_left:
            named.update(fresh)
            self._tell(self.on_peers, fresh, source)

    def end_round(self, source: Source) -> int:
        """Begin the next round of a source; return how many addresses the last one named."""
        count = len(self._named.pop(source, ()))
        if not self.has_left:
            self._tell(self.on_round, source, count)
        return count

    @staticmethod
    def _tell(callback: Callable[..., None], *arguments: object) -> None:
        try:
            callback(*arguments)
        except Exception:
            logger.exception("a torrent failed to take what was found for it")
