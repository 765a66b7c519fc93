"""The order in which ways of dialling a peer are tried: TCP or uTP, encrypted or plain.

Source: BEP 29 (uTP), Message Stream Encryption.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple

from torrent_engine.base.config import EncryptionPolicy, TransportProtocol
from torrent_engine.base.ids import PeerAddress

MAX_REMEMBERED: Final = 10_000  # ours: addresses, some MiB

KINDS: Final[dict[EncryptionPolicy, tuple[bool, ...]]] = {
    EncryptionPolicy.DISABLED: (False,),
    EncryptionPolicy.ALLOWED: (False, True),
    EncryptionPolicy.PREFERRED: (True, False),
    EncryptionPolicy.REQUIRED: (True,),
}
"""Whether the handshake is encrypted, in the order to try."""


class DialAttempt(NamedTuple):
    """One way to dial."""

    is_encrypted: bool
    protocols: tuple[TransportProtocol, ...]
    """The transports to race; the first has a head start."""

    @property
    def only_protocol(self) -> TransportProtocol | None:
        """The transport, if there is only one to use; else None."""
        return self.protocols[0] if len(self.protocols) == 1 else None


class _Known(NamedTuple):
    """What worked last; None: unknown."""

    is_encrypted: bool | None = None
    protocol: TransportProtocol | None = None


class DialStrategy:
    """Dial plans from the user's configuration and the results of earlier dials of any torrent."""

    def __init__(self, policy: EncryptionPolicy, limit: int = MAX_REMEMBERED) -> None:
        self._kinds = KINDS[policy]
        self._limit = limit
        self._known: OrderedDict[PeerAddress, _Known] = OrderedDict()

    def set_policy(self, policy: EncryptionPolicy) -> None:
        """Change which handshakes are tried from now on."""
        self._kinds = KINDS[policy]

    def __len__(self) -> int:
        """Return the number of remembered addresses."""
        return len(self._known)

    def plan(
        self, address: PeerAddress, protocols: Sequence[TransportProtocol]
    ) -> list[DialAttempt]:
        """Return the ways to dial a peer, in the order to try them.

        ``protocols`` are the available ones, the preferred first.
        """
        known = self._known.get(address, _Known())
        ordered = tuple(sorted(protocols, key=lambda each: each != known.protocol))
        kinds = sorted(self._kinds, key=lambda each: each != known.is_encrypted)
        return [DialAttempt(is_encrypted, ordered) for is_encrypted in kinds] if ordered else []

    def plan_without(
        self,
        closed: TransportProtocol | None,
        address: PeerAddress,
        others: Sequence[TransportProtocol],
    ) -> list[DialAttempt]:
        """Return the remaining ways for a peer that closes connections over one protocol at once.

        Some clients accept TCP connections though TCP is disabled. Nothing remains if that
        protocol worked before: then the peer closes for another reason.
        """
        is_known = self._known.get(address, _Known()).protocol is closed
        return [] if is_known else self.plan(address, others)

    def worked(
        self, address: PeerAddress, protocol: TransportProtocol, *, is_encrypted: bool
    ) -> None:
        """Record how a handshake with a peer succeeded."""
        self._note(address, _Known(is_encrypted, protocol))

    def not_tried(self, address: PeerAddress, attempt: DialAttempt) -> None:
        """Record a way that was not reached while others failed; it is tried first next time."""
        known = self._known.get(address, _Known())
        protocol = attempt.only_protocol or known.protocol
        self._note(address, _Known(attempt.is_encrypted, protocol))

    def note_encryption_preference(self, address: PeerAddress) -> None:
        """Record that a peer prefers encryption according to other peers (BEP 11).

        Our own results override it. Such entries take at most half of the table.
        """
        if address not in self._known and len(self._known) < self._limit // 2:
            self._note(address, _Known(is_encrypted=True))

    def _note(self, address: PeerAddress, known: _Known) -> None:
        self._known[address] = known
        self._known.move_to_end(address)
        if len(self._known) > self._limit:
            self._known.popitem(last=False)
