"""Table of the modules of this folder: the targets in each, and what they test."""

from collections.abc import Mapping
from typing import Final, NamedTuple


class Subject(NamedTuple):
    """Targets of one module of this folder, and what they test.

    ``watched`` are prefixes of module names below ``torrent_engine``: only these are watched for
    coverage. What they stand on (bencode under the DHT, say) has targets of its own, and costs half
    of the time when it is watched too.
    """

    names: tuple[str, ...]
    watched: tuple[str, ...]


SUBJECTS: Final[Mapping[str, Subject]] = {
    "addresses": Subject(
        ("compact", "ip-filter", "ip-filter-p2b"), ("codec.compact", "policy.ip_filter")
    ),
    "codec": Subject(("bencode", "metainfo", "tolerant"), ("codec",)),
    "dht": Subject(("dht",), ("protocol.dht",)),
    "encryption": Subject(("encryption",), ("protocol.wire.encryption",)),
    "exchange": Subject(
        ("exchange",), ("engine.extensions.pex", "policy.peers", "protocol.wire.exchange")
    ),
    "hash_trees": Subject(
        ("hash-trees",), ("codec.hash_trees", "codec.merkle", "policy.metadata", "protocol.wire")
    ),
    "holepunch": Subject(
        ("holepunch",), ("engine.extensions.holepunch", "protocol.wire.holepunch")
    ),
    "lsd": Subject(("lsd",), ("net.lsd", "protocol.lsd")),
    "magnet": Subject(("magnet",), ("codec.magnet",)),
    "metadata": Subject(
        ("metadata",),
        ("engine.extensions.metadata", "policy.metadata", "protocol.wire.metadata"),
    ),
    "models": Subject(
        (
            "model-availability",
            "model-bandwidth",
            "model-discovery",
            "model-partial",
            "model-picker",
        ),
        ("policy.peers.discovery_schedule", "policy.pieces", "policy.transfer.bandwidth"),
    ),
    "names": Subject(("names",), ("codec.paths",)),
    "nat": Subject(("nat",), ("protocol.nat",)),
    "proxies": Subject(("connect", "socks"), ("protocol.http_connect", "protocol.socks_udp")),
    "rows": Subject(("rows",), ("disk.state", "disk.moves.plan")),
    "tracker": Subject(
        (
            "tracker-http-answer",
            "tracker-http-request",
            "tracker-udp-answer",
            "tracker-udp-request",
            "tracker-url",
        ),
        ("protocol.tracker",),
    ),
    "utp": Subject(("utp",), ("protocol.utp",)),
    "web": Subject(("body", "web-seed"), ("net.http.decompress", "protocol.web_seed")),
    "wire": Subject(("wire",), ("protocol.wire",)),
}
"""Modules of this folder, the targets in each, and what they test."""
MODULES: Final = {name: module for module, subject in SUBJECTS.items() for name in subject.names}
