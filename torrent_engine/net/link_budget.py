"""What all links of a process share: the time for messages beside payload."""

from torrent_engine.base.config import WireLimits
from torrent_engine.policy.control_budget import ControlAllowance, shared_bucket


class LinkBudget:
    """Gives each link its part."""

    def __init__(self, limits: WireLimits) -> None:
        self._limits = limits
        self._control = shared_bucket(limits)

    def allowance(self) -> ControlAllowance:
        """Return what a new link may cost beside payload."""
        return ControlAllowance(self._limits, self._control)
