"""A libtorrent whose DHT is on, made to believe in nodes of private networks."""

import hashlib
from pathlib import Path

from tests.support.engine_client import format_peer
from tests.support.libtorrent_client import Address, LibtorrentClient
from tests.support.netns import Host
from tests.support.processes import free_port, wait_until

DHT_SETTINGS = {
    "enable_dht": True,
    "dht_restrict_routing_ips": False,
    "dht_restrict_search_ips": False,
    "dht_prefer_verified_node_ids": False,
    "dht_enforce_node_id": False,
    "dht_block_ratelimit": 1_000,
    "alert_mask": 0x400 | 0x800 | 0x40000,  # DHT, statistics, what DHT operations find
}


class LibtorrentNode(LibtorrentClient):
    """Answers what its DHT is asked."""

    def __init__(
        self, host: Host, folder: Path, *bootstrap: Address, address: str | None = None
    ) -> None:
        nodes = ",".join(map(format_peer, bootstrap))
        super().__init__(
            host,
            folder,
            port=free_port(),
            address=address,
            **{**DHT_SETTINGS, "dht_bootstrap_nodes": nodes},
        )

    @property
    def node_count(self) -> int:
        """How many nodes are in its table; those that it bootstraps from are not."""
        return int(self._ask(do="dht_nodes"))

    def wait_nodes(self, count: int, timeout_s: float = 20.0) -> None:
        """Wait until it knows so many nodes."""
        wait_until(
            lambda: self.node_count >= count,
            timeout_s=timeout_s,
            what=f"libtorrent knows {count} nodes",
        )

    def announce(self, info_hash: str, port: int) -> None:
        """Announce a peer at its address."""
        self._ask(do="dht_announce", info_hash=info_hash, port=port)

    def ask_for_torrents(self) -> None:
        """Look for the peers of all its torrents now, and announce them; by itself it waits."""
        self._ask(do="dht_force")

    def find_peers(self, info_hash: str) -> set[str]:
        """Look for peers for a second; ``host:port`` of each."""
        found = self._ask(do="dht_get_peers", info_hash=info_hash)
        return {format_peer((host, port)) for host, port in found}

    def put(self, value: str) -> str:
        """Put an immutable value; return its target."""
        return str(self._ask(do="dht_put", value=value)["target"])

    def put_signed(self, value: str, seed: bytes, salt: str) -> None:
        """Put the next version of a mutable value."""
        private, public = expanded_key(seed), public_key(seed)
        self._ask(do="dht_put", value=value, private=private.hex(), key=public.hex(), salt=salt)

    def get(self, target: str) -> list[str]:
        """Look for an immutable value for a second."""
        return list(self._ask(do="dht_get", target=target))

    def get_signed(self, public: bytes, salt: str) -> list[object]:
        """Look for a mutable value for a second; the newest is the last.

        A dictionary has its values in hexadecimal.
        """
        return list(self._ask(do="dht_get", key=public.hex(), salt=salt))


def public_key(seed: bytes) -> bytes:
    """Return the public key of a seed."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def expanded_key(seed: bytes) -> bytes:
    """Return the 64 bytes that libtorrent calls the private key (RFC 8032, 5.1.5)."""
    digest = bytearray(hashlib.sha512(seed).digest())
    digest[0] &= 248
    digest[31] = digest[31] & 63 | 64
    return bytes(digest)
