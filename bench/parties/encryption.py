"""Encryption settings of the benchmarked programs: RC4 only where BENCH_MSE=1 is set."""

import os

from bench.parties.place import IS_UTP
from torrent_engine.base.config import (
    EncryptionConfig,
    EncryptionLevel,
    EncryptionPolicy,
    NetworkConfig,
    UtpConfig,
)

IS_ASKED_FOR = os.environ.get("BENCH_MSE") == "1"
FORCED, RC4 = 0, 2  # libtorrent's enc_policy and enc_level
LIBTORRENT_SETTINGS = {
    "in_enc_policy": FORCED,
    "out_enc_policy": FORCED,
    "allowed_enc_level": RC4,
    "prefer_rc4": True,
}


def our_network() -> NetworkConfig:
    """Return our way to reach peers: plain TCP unless something else is asked for."""
    policy = EncryptionPolicy.REQUIRED if IS_ASKED_FOR else EncryptionPolicy.DISABLED
    return NetworkConfig(
        tcp=not IS_UTP,
        utp=UtpConfig(incoming=IS_UTP, outgoing=IS_UTP),
        encryption=EncryptionConfig(incoming=policy, outgoing=policy, level=EncryptionLevel.RC4),
    )
