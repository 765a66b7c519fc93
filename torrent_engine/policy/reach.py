"""Owns in which ways a peer is dialled, the most hopeful first, and what is known of each.

Source: BEP 29 (uTP), Message Stream Encryption.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple

from torrent_engine.base.ids import PeerAddress
from torrent_engine.base.network_config import EncryptionPolicy, LinkProtocol

MAX_REMEMBERED: Final = 10_000  # ours: addresses, some MiB

KINDS: Final[dict[EncryptionPolicy, tuple[bool, ...]]] = {
    EncryptionPolicy.DISABLED: (False,),
    EncryptionPolicy.ALLOWED: (False, True),
    EncryptionPolicy.PREFERRED: (True, False),
    EncryptionPolicy.REQUIRED: (True,),
}
"""Whether the handshake is encrypted, what is tried first in front."""


class Attempt(NamedTuple):
    """One way to dial."""

    is_encrypted: bool
    protocols: tuple[LinkProtocol, ...]
    """What may carry it; the first has a head start."""

    @property
    def only_protocol(self) -> LinkProtocol | None:
        """What alone may carry it; None: one of several."""
        return self.protocols[0] if len(self.protocols) == 1 else None


class _Known(NamedTuple):
    """What to begin with; None: nothing is known."""

    is_encrypted: bool | None = None
    protocol: LinkProtocol | None = None


class Reach:
    """Plans dials from the choice of the user and from how earlier ones went, of any torrent."""

    def __init__(self, policy: EncryptionPolicy, limit: int = MAX_REMEMBERED) -> None:
        self._kinds = KINDS[policy]
        self._limit = limit
        self._known: OrderedDict[PeerAddress, _Known] = OrderedDict()

    def __len__(self) -> int:
        """Return of how many addresses anything is known."""
        return len(self._known)

    def plan(self, address: PeerAddress, protocols: Sequence[LinkProtocol]) -> list[Attempt]:
        """Return the ways to dial a peer, to be tried one after the other.

        ``protocols`` are those that we have, the preferred first.
        """
        known = self._known.get(address, _Known())
        ordered = tuple(sorted(protocols, key=lambda each: each != known.protocol))
        kinds = sorted(self._kinds, key=lambda each: each != known.is_encrypted)
        return [Attempt(is_encrypted, ordered) for is_encrypted in kinds] if ordered else []

    def plan_without(
        self, closed: LinkProtocol | None, address: PeerAddress, others: Sequence[LinkProtocol]
    ) -> list[Attempt]:
        """Return the ways that are left where a peer closes at once what comes over one protocol.

        Some accept TCP though they are told to do without it. None is left if that protocol is how
        the peer was met before: then it does not close for that.
        """
        is_known = self._known.get(address, _Known()).protocol is closed
        return [] if is_known else self.plan(address, others)

    def worked(self, address: PeerAddress, protocol: LinkProtocol, *, is_encrypted: bool) -> None:
        """Note in which way a handshake with a peer came to its end."""
        self._note(address, _Known(is_encrypted, protocol))

    def not_tried(self, address: PeerAddress, attempt: Attempt) -> None:
        """Note that others failed and this one could not be tried: it comes first next."""
        known = self._known.get(address, _Known())
        protocol = attempt.only_protocol or known.protocol
        self._note(address, _Known(attempt.is_encrypted, protocol))

    def told_to_encrypt(self, address: PeerAddress) -> None:
        """Take it that a peer prefers encryption, as others say (BEP 11), unless we know better.

        Hearsay takes half of the places at most.
        """
        if address not in self._known and len(self._known) < self._limit // 2:
            self._note(address, _Known(is_encrypted=True))

    def _note(self, address: PeerAddress, known: _Known) -> None:
        self._known[address] = known
        self._known.move_to_end(address)
        if len(self._known) > self._limit:
            self._known.popitem(last=False)
