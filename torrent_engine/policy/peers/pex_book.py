"""Outgoing peer exchange: the contacts sent to each peer, and the changes to send next.

Source: BEP 11.
"""

import random
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Generic, NamedTuple, TypeVar

from torrent_engine.base.config import PexConfig
from torrent_engine.base.ids import PeerAddress
from torrent_engine.policy.addresses import is_reachable_from

LOOK_AGAIN_S: Final = 5.0  # ours: until a peer is looked at again for which nothing had changed

Key = TypeVar("Key", bound=Hashable)


class Contact(NamedTuple, Generic[Key]):
    """A connected peer."""

    key: Key
    address: PeerAddress
    """Where it accepts connections."""
    is_dialled: bool
    """We dialled it, so it is reachable; such contacts are sent first."""


class PexChange(NamedTuple, Generic[Key]):
    """The contacts to add and to drop in the next message to one peer."""

    added: list[Contact[Key]]
    dropped: list[PeerAddress]


@dataclass(slots=True)
class _Receiver:
    """One peer that receives our PEX messages."""

    host: str
    sent: set[PeerAddress] = field(default_factory=set)
    next_at: float = float("-inf")
    version: int = -1
    """Version of the contacts at the last complete message."""


class PexBook(Generic[Key]):
    """Our contacts, and which of them each peer was sent; peers are identified by keys."""

    def __init__(self, config: PexConfig, rng: random.Random) -> None:
        self._config = config
        self._rng = rng
        self._addresses: dict[Key, PeerAddress] = {}
        self._contacts: dict[PeerAddress, Contact[Key]] = {}
        self._moves_at: dict[Key, float] = {}
        """When the address of a contact that has changed may change again."""
        self._receivers: dict[Key, _Receiver] = {}
        """Who was looked at last comes last."""
        self._version = 0
        """Incremented with each change of the contacts."""

    def __contains__(self, address: object) -> bool:
        """Return whether an address is that of a contact."""
        return address in self._contacts

    def connected(self, key: Key, address: PeerAddress, now: float, *, is_dialled: bool) -> None:
        """Add a contact; a further address replaces the first, once in an interval."""
        before = self._addresses.get(key)
        if before != address and now >= self._moves_at.get(key, now):
            if before is not None:
                self._moves_at[key] = now + self._config.interval_s
            self._forget_contact(key)
            self._addresses[key] = address
            self._contacts[address] = Contact(key, address, is_dialled)
            self._version += 1

    def add_receiver(self, key: Key, host: str) -> None:
        """Add a peer that receives our PEX messages, at an IP address."""
        self._receivers.setdefault(key, _Receiver(host))

    def left(self, key: Key) -> None:
        """Remove a peer; it is sent to the others as dropped."""
        self._forget_contact(key)
        self._moves_at.pop(key, None)
        self._receivers.pop(key, None)

    def changes(
        self, now: float, known_to: Callable[[Key], Collection[PeerAddress]], most: int
    ) -> list[tuple[Key, PexChange[Key]]]:
        """Return the messages to send now: at most one for each peer and interval, never empty.

        ``known_to`` returns the addresses that a peer sent to us. No more than ``most`` peers are
        looked at, those first that were not for the longest time.
        """
        due = (
            key
            for key, receiver in self._receivers.items()
            if now >= receiver.next_at and receiver.version != self._version
        )
        changes = list[tuple[Key, PexChange[Key]]]()
        for key in tuple(islice(due, most)):
            receiver = self._receivers[key] = self._receivers.pop(key)
            change = self._change(key, receiver, known_to(key))
            receiver.next_at = now + LOOK_AGAIN_S
            if change.added or change.dropped:
                receiver.next_at = now + self._config.interval_s
                changes.append((key, change))
        return changes

    def _change(
        self, key: Key, receiver: _Receiver, known: Collection[PeerAddress]
    ) -> PexChange[Key]:
        """Return up to one message of changes; the rest waits for the next one."""
        added = [
            contact
            for address, contact in self._contacts.items()
            if contact.key != key
            and address not in receiver.sent
            and address not in known
            and is_reachable_from(address.host, receiver.host)
        ]
        dropped = [address for address in receiver.sent if address not in self._contacts]
        count = self._config.max_contacts
        if max(len(added), len(dropped)) <= count:
            receiver.version = self._version
        change = PexChange(self._some_of(added, count), dropped[:count])
        receiver.sent.update(contact.address for contact in change.added)
        receiver.sent.difference_update(change.dropped)
        return change

    def _some_of(self, contacts: list[Contact[Key]], count: int) -> list[Contact[Key]]:
        """Return up to ``count`` contacts by chance, those first that we dialled."""
        dialled = [contact for contact in contacts if contact.is_dialled]
        others = [contact for contact in contacts if not contact.is_dialled]
        chosen = self._rng.sample(dialled, min(count, len(dialled)))
        return chosen + self._rng.sample(others, min(count - len(chosen), len(others)))

    def _forget_contact(self, key: Key) -> None:
        address = self._addresses.pop(key, None)
        contact = self._contacts.get(address) if address is not None else None
        if address is not None and contact is not None and contact.key == key:
            del self._contacts[address]
            self._version += 1
