"""Our own addresses, which a torrent must not dial.

Source: BEP 10 ("yourip"), BEP 24 ("external ip"), BEP 40 (the public one decides on priorities).
"""

from collections.abc import Sequence

from torrent_engine.base.ids import PeerAddress
from torrent_engine.policy.peers.candidates import CandidateList
from torrent_engine.policy.peers.external_address import ExternalAddresses, listens_at, own_hosts


class OwnAddresses:
    """Keeps a CandidateList from dialling ourselves; knows nothing before :meth:`begin`."""

    def __init__(
        self, candidates: CandidateList, listen_hosts: Sequence[str], public: ExternalAddresses
    ) -> None:
        self.public = public
        """What is known of our public address; all torrents share it."""
        self._candidates = candidates
        self._listen_hosts = listen_hosts
        self._port: int | None = None
        self._told: tuple[PeerAddress, ...] = ()
        self._hosts: set[str] = set()

    def is_own(self, address: PeerAddress) -> bool:
        """Return whether we listen at an address, as far as we know."""
        return address in self._told or (address.port == self._port and address.host in self._hosts)

    @property
    def is_begun(self) -> bool:
        """Whether :meth:`begin` has set the port."""
        return self._port is not None

    def begin(self, port: int | None) -> None:
        """Set the port on which we listen."""
        self._port = port
        for host in own_hosts(self._listen_hosts):
            self.exclude(host)
        self.update()

    def exclude(self, host: str) -> None:
        """Never dial an address at which we listen."""
        if self._port is not None:
            self._hosts.add(host)
            self._candidates.exclude(PeerAddress(host, self._port))

    def exclude_local(self, host: str) -> None:
        """Record one of our addresses from the local end of a connection; empty: unknown."""
        if host and listens_at(host, self._listen_hosts):
            self.exclude(host)

    def update(self) -> None:
        """Update the candidate list with our public address; to be called once a second."""
        if self._port is None:
            return
        public, port = self.public, self._port
        self._told = tuple(
            PeerAddress(host, public.port_seen_by(host, port)) for host in public.hosts
        )
        for address in self._told:
            self._candidates.set_external_address(address)

    def port_seen_by(self, host: str) -> int | None:
        """Return at which port a peer finds us; None before it is known where we listen."""
        return None if self._port is None else self.public.port_seen_by(host, self._port)
