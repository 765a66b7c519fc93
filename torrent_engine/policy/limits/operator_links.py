"""Count of the links with each operator of public addresses, over all torrents (row B5)."""

from collections import Counter
from collections.abc import Set as AbstractSet

from torrent_engine.base.config import PoolConfig
from torrent_engine.base.operators import operator_of
from torrent_engine.policy.addresses import is_private_or_shared


class OperatorLinks:
    """Links with each IPv4 address or IPv6 /64, those apart that many peers may share."""

    def __init__(self, config: PoolConfig) -> None:
        self._config = config
        self._links: Counter[str] = Counter()
        self._crowded: dict[str, None] = {}

    @property
    def crowded(self) -> AbstractSet[str]:
        """The operators that have as many links as they may."""
        return self._crowded.keys()

    def joined(self, host: str) -> None:
        """Count one link more."""
        if self._is_limited(host):
            self._set(operator_of(host), 1)

    def left(self, host: str) -> None:
        """Count one link less."""
        if self._is_limited(host):
            self._set(operator_of(host), -1)

    def _set(self, operator: str, change: int) -> None:
        count, most = self._links[operator] + change, self._config.max_connections_per_ip_in_all
        if count > 0:
            self._links[operator] = count
        else:
            del self._links[operator]
        if count >= most:
            self._crowded[operator] = None
        else:
            self._crowded.pop(operator, None)

    def _is_limited(self, host: str) -> bool:
        is_limited = bool(self._config.max_connections_per_ip_in_all)
        return is_limited and not is_private_or_shared(host, self._config)
