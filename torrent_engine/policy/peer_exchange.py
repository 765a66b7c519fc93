"""Owns one fact: which of our contacts each peer was told of.

Source: BEP 11.
"""

import random
from collections.abc import Callable, Collection, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from torrent_engine.base.config import PexConfig
from torrent_engine.base.ids import PeerAddress
from torrent_engine.policy.addresses import is_in_reach

Key = TypeVar("Key", bound=Hashable)


class Contact(NamedTuple, Generic[Key]):
    """A peer that we have a link with."""

    key: Key
    address: PeerAddress
    """Where it accepts connections."""
    is_dialled: bool
    """We know that it can be reached; who only says so is named after those."""


class Change(NamedTuple, Generic[Key]):
    """What one peer is to be told."""

    added: list[Contact[Key]]
    dropped: list[PeerAddress]


@dataclass(slots=True)
class _Listener:
    """One peer that wants to hear of contacts."""

    host: str
    told: set[PeerAddress] = field(default_factory=set)
    next_at: float = float("-inf")
    version: int = -1
    """Of the contacts when it had been told all of them."""


class ContactBook(Generic[Key]):
    """Peers are named by keys of any kind; ``now`` must not run backwards."""

    def __init__(self, config: PexConfig, rng: random.Random) -> None:
        self._config = config
        self._rng = rng
        self._addresses: dict[Key, PeerAddress] = {}
        self._contacts: dict[PeerAddress, Contact[Key]] = {}
        self._listeners: dict[Key, _Listener] = {}
        self._version = 0
        """Counts the changes of the contacts."""

    def __contains__(self, address: object) -> bool:
        """Tell whether an address is that of a contact."""
        return address in self._contacts

    def connected(self, key: Key, address: PeerAddress, *, is_dialled: bool) -> None:
        """Name a peer to the others from now on; a further address takes the place of the first."""
        if self._addresses.get(key) != address:
            self._forget_contact(key)
            self._addresses[key] = address
            self._contacts[address] = Contact(key, address, is_dialled)
            self._version += 1

    def listens(self, key: Key, host: str) -> None:
        """Tell a peer at an IP address of our contacts from now on."""
        self._listeners.setdefault(key, _Listener(host))

    def left(self, key: Key) -> None:
        """Forget a peer; the others hear of it."""
        self._forget_contact(key)
        self._listeners.pop(key, None)

    def changes(
        self, now: float, known_to: Callable[[Key], Collection[PeerAddress]]
    ) -> Iterator[tuple[Key, Change[Key]]]:
        """Take what is to be sent now: at most one message a peer and interval, none if empty.

        ``known_to`` gives the addresses that a peer itself named to us.
        """
        for key, listener in self._listeners.items():
            if now >= listener.next_at and listener.version != self._version:
                change = self._change(key, listener, known_to(key))
                if change.added or change.dropped:
                    listener.next_at = now + self._config.interval_s
                    yield key, change

    def _change(self, key: Key, listener: _Listener, known: Collection[PeerAddress]) -> Change[Key]:
        """Note as told what one message has room for; the rest waits for the next."""
        added = [
            contact
            for address, contact in self._contacts.items()
            if contact.key != key
            and address not in listener.told
            and address not in known
            and is_in_reach(address.host, listener.host)
        ]
        dropped = [address for address in listener.told if address not in self._contacts]
        count = self._config.max_contacts
        if max(len(added), len(dropped)) <= count:
            listener.version = self._version
        self._rng.shuffle(added)
        added.sort(key=lambda contact: not contact.is_dialled)
        change = Change(added[:count], dropped[:count])
        listener.told.update(contact.address for contact in change.added)
        listener.told.difference_update(change.dropped)
        return change

    def _forget_contact(self, key: Key) -> None:
        address = self._addresses.pop(key, None)
        contact = self._contacts.get(address) if address is not None else None
        if address is not None and contact is not None and contact.key == key:
            del self._contacts[address]
            self._version += 1
