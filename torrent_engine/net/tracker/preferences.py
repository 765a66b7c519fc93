"""Lookups of what hosts say in the DNS of their trackers (BEP 34), by dnspython."""

import importlib.util
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import anyio
import anyio.to_thread

from torrent_engine.base.errors import ConfigError
from torrent_engine.net.sockets.fair_slots import FairSlots, SlotLimits
from torrent_engine.net.sockets.name_resolver import current_client
from torrent_engine.net.sockets.resolver import is_literal
from torrent_engine.protocol.tracker.preferences import TrackerPreferences, parse_preferences

logger = logging.getLogger(__name__)

LOOKUP_TIMEOUT_S: Final = 5.0  # ours: an announce waits for it
MIN_KEPT_S: Final = 60.0
MAX_KEPT_S: Final = 86_400.0
FAILED_S: Final = 300.0  # ours: for so long it is as if there was no record
ABSENT_S: Final = 3_600.0  # ours: most hosts have none
MAX_NAMES: Final = 1_000
LOOKUP_SLOTS: Final = SlotLimits(total=8, per_key=4, reserved=4)  # ours


@dataclass(frozen=True, slots=True)
class TxtRecords:
    """The TXT records of a name, the strings of each joined; none if there are none."""

    records: Sequence[bytes] = ()
    kept_s: float = ABSENT_S
    """How long they may be kept."""


LookUpTxt = Callable[[str], TxtRecords]
"""A blocking lookup of TXT records; raises OSError for a failure."""


class PreferencesOfHosts:
    """What hosts say of their trackers, kept as long as they say; a failure is no record.

    Each torrent has a share of the lookups, as of those of addresses.
    """

    def __init__(
        self,
        look_up: LookUpTxt | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raise ConfigError if lookups need dnspython, and it is not installed."""
        if look_up is None:
            check_dns_installed()
        self._look_up = look_up or look_up_txt
        self._clock = clock
        self._slots = FairSlots(LOOKUP_SLOTS)
        self._threads = anyio.CapacityLimiter(LOOKUP_SLOTS.total)
        self._known: OrderedDict[str, tuple[float, TrackerPreferences | None]] = OrderedDict()

    async def of(self, host: str) -> TrackerPreferences | None:
        """Return the preferences of a host; None for an address, and if there is no record."""
        name = host.lower().rstrip(".")
        if is_literal(host) or "." not in name:
            return None
        if (known := self._fresh(name)) is not None:
            return known[1]
        async with self._slots.turn(current_client().key):
            if (known := self._fresh(name)) is not None:
                return known[1]
            found, kept_s = await self._ask(name)
            self._known[name] = (self._clock() + kept_s, found)
            self._known.move_to_end(name)
            if len(self._known) > MAX_NAMES:
                self._known.popitem(last=False)
            return found

    def _fresh(self, name: str) -> tuple[float, TrackerPreferences | None] | None:
        known = self._known.get(name)
        return known if known is not None and self._clock() < known[0] else None

    async def _ask(self, name: str) -> tuple[TrackerPreferences | None, float]:
        """Return the preferences of a name, and for how long they count."""
        try:
            with anyio.fail_after(LOOKUP_TIMEOUT_S):
                answer = await anyio.to_thread.run_sync(
                    self._look_up, name, limiter=self._threads, abandon_on_cancel=True
                )
        except (OSError, TimeoutError, RuntimeError, MemoryError) as error:  # or no thread is left
            logger.info("trackers of %s: no answer of the DNS: %s", name, error)
            return None, FAILED_S
        kept_s = min(max(answer.kept_s, MIN_KEPT_S), MAX_KEPT_S)
        return parse_preferences(answer.records), kept_s


def check_dns_installed() -> None:
    """Raise ConfigError unless dnspython is installed."""
    if importlib.util.find_spec("dns") is None:
        raise ConfigError(
            "tracker preferences of the DNS need dnspython: pip install 'torrent-engine[dns]'"
        )


def look_up_txt(name: str) -> TxtRecords:
    """Return the TXT records of a name, by the servers that the system uses; see LookUpTxt."""
    import dns.exception
    import dns.name
    import dns.resolver

    try:
        resolver = dns.resolver.Resolver()
        answer = resolver.resolve(
            dns.name.from_text(name), "TXT", lifetime=LOOKUP_TIMEOUT_S, search=False
        )
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return TxtRecords()
    except dns.exception.DNSException as error:
        raise OSError(str(error)) from error
    records = [b"".join(each.strings) for each in answer]
    return TxtRecords(records, float(answer.rrset.ttl if answer.rrset is not None else ABSENT_S))
