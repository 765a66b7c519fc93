"""Limits of bencoded data and peer messages, and configuration of encryption."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from torrent_engine.base.checks import Checked
from torrent_engine.base.config.units import KIB, MIB
from torrent_engine.base.errors import ConfigError


@dataclass(frozen=True, slots=True, repr=False)
class BencodeLimits(Checked):
    """Limits of the bencode decoder (fault model, rows A1 to A4).

    Input beyond them raises BencodeError.
    """

    max_depth: int = 100
    """Nesting depth of lists and dictionaries."""
    max_tokens: int = 3_000_000
    """Integers, strings, lists and dictionaries together."""
    max_bytes: int = 100 * MIB
    """Length of the input. The hashes of 2,097,152 pieces take 40 MiB; the rest is for file names.
    """


@dataclass(frozen=True, slots=True, repr=False)
class WireLimits(Checked):
    """Limits of one peer connection (BEP 3, 6, 10; fault model, rows B1, B4, B5 and B8)."""

    max_message_bytes: int = MIB + 9
    """Length of a message, a valid bitfield excepted; a peer that sends a longer one is
    disconnected."""
    max_queued_requests: int = 2_000
    """Block requests of a peer in the queue; more are rejected."""
    max_choked_requests: int = 300
    """Block requests of a choked peer after which it is disconnected."""
    max_unrequested_blocks: int = 50
    """Unrequested blocks after which a peer is disconnected."""
    max_extension_message_bytes: int = 512 * KIB
    """Length of an extension message (BEP 10); a peer that sends a longer one is disconnected."""
    max_pre_metadata_pieces: int = 0x200000
    """Piece indices that are accepted from peers before the metadata of a magnet link is known."""
    max_pre_metadata_bytes: int = 16 * MIB
    """Memory of all connections for these piece indices. Beyond it the connection that uses most is
    closed."""
    handshake_timeout_s: float = 10.0
    """Time after which a connection without a complete handshake is closed."""
    idle_timeout_s: float = 120.0
    """Time without a message after which a connection is closed."""
    unread_timeout_s: float = 60.0
    """Time after which a peer is disconnected that has read less than :attr:`min_read_bytes` of the
    data waiting for it."""
    min_read_bytes: int = 8 * KIB
    """Bytes that a peer must read within :attr:`unread_timeout_s`, and send of a block within
    :attr:`message_timeout_s`: 137 bytes per second."""
    max_unsent_bytes: int = 500 * KIB
    """Messages other than payload that may wait to be sent to a peer; beyond it the connection is
    closed."""
    message_timeout_s: float = 60.0
    """Time in which a message must be received completely once it has begun. Of a block
    :attr:`min_read_bytes` are enough."""
    max_unfinished_bytes: int = 8 * MIB
    """Memory of all connections for incomplete messages, normal receive buffers not counted. Beyond
    it the connection that used most for longest is closed."""
    inactivity_timeout_s: float = 600.0
    """Time after which a connection is closed on which neither side was interested and no payload
    was transferred."""
    max_control_units_per_s: float = 50.0
    """Average rate of messages other than payload that are processed for one connection; above it
    nothing is read from the connection for a while. Expensive messages count as several units;
    transferred payload raises the limit. 0 is unlimited."""
    control_burst_units: int = 2_000
    """Units that a connection may use at once."""
    max_shared_control_units_per_s: int = 10_000
    """Units beyond these limits, over all connections: about 4 % of a processor."""
    keep_alive_s: float = 110.0
    """Time without sending after which a keep-alive is sent (BEP 3: about two minutes)."""
    reqq: int = 2_000
    """Length of our request queue that is announced in the extension handshake (BEP 10)."""


class EncryptionPolicy(StrEnum):
    """Whether peer connections of one direction are encrypted."""

    DISABLED = "disabled"
    """Encrypted connections are neither made nor accepted."""
    ALLOWED = "allowed"
    """Plaintext is tried first, then encryption; both are accepted."""
    PREFERRED = "preferred"
    """Encryption is tried first, then plaintext; both are accepted."""
    REQUIRED = "required"
    """Plaintext connections are neither made nor accepted."""


class EncryptionLevel(StrEnum):
    """Methods that an encrypted handshake may select."""

    RC4 = "rc4"
    """RC4 for the whole stream."""
    PLAINTEXT = "plaintext"
    """An obfuscated handshake, then plaintext."""
    EITHER = "either"
    """Either of them."""


class ConnectionEncryption(StrEnum):
    """Encryption of a peer connection (Message Stream Encryption, MSE/PE)."""

    NONE = "none"
    """No MSE handshake."""
    PLAINTEXT = "plaintext"
    """An MSE handshake, then plaintext."""
    RC4 = "rc4"
    """An MSE handshake, then RC4."""


@dataclass(frozen=True, slots=True, repr=False)
class EncryptionConfig(Checked):
    """Message Stream Encryption, MSE/PE (fault model, row B11)."""

    incoming: EncryptionPolicy = EncryptionPolicy.ALLOWED
    """Policy for incoming connections."""
    outgoing: EncryptionPolicy = EncryptionPolicy.ALLOWED
    """Policy for outgoing connections."""
    level: EncryptionLevel = EncryptionLevel.EITHER
    """Methods that may be selected."""
    max_handshakes_per_s: int = 100
    """Incoming encrypted handshakes that may start per second; each takes about 1 ms of CPU time.
    """

    @property
    def is_preferred(self) -> bool:
        """Whether encryption is preferred or required in either direction."""
        preferring = {EncryptionPolicy.PREFERRED, EncryptionPolicy.REQUIRED}
        return not preferring.isdisjoint((self.incoming, self.outgoing))


FILE_BENCODE_LIMITS: Final = BencodeLimits()


METADATA_BENCODE_LIMITS: Final = FILE_BENCODE_LIMITS
"""Peers can send less than that: see :attr:`MetadataConfig.max_bytes`."""


MAX_TORRENT_BYTES: Final = 512 * MIB
"""Upper bound of :attr:`SharedConfig.max_torrent_bytes`; larger files do not fit the database."""


STORED_BENCODE_LIMITS: Final = BencodeLimits(
    max_tokens=3_100_000, max_bytes=MAX_TORRENT_BYTES + 16 * MIB
)
"""For the resume database: whatever was accepted and saved, trackers added, can be read again."""


METADATA_MESSAGE_BENCODE_LIMITS: Final = BencodeLimits(
    max_depth=10, max_tokens=24, max_bytes=17 * KIB
)
"""BEP 9 has three keys, which are 7 tokens; behind them is up to 16 KiB of metadata."""


TRACKER_BENCODE_LIMITS: Final = BencodeLimits(max_depth=10, max_tokens=20_000, max_bytes=MIB)


EXTENSION_BENCODE_LIMITS: Final = BencodeLimits(max_depth=10, max_tokens=2_000, max_bytes=64 * KIB)


PEX_BENCODE_LIMITS: Final = BencodeLimits(max_depth=10, max_tokens=2_000, max_bytes=500 * KIB)


DHT_BENCODE_LIMITS: Final = BencodeLimits(max_depth=10, max_tokens=500, max_bytes=4 * KIB)


def torrent_limits(max_bytes: int) -> BencodeLimits:
    """Return the limits for .torrent files of at most ``max_bytes`` bytes. Raises ConfigError."""
    if not 0 < max_bytes <= MAX_TORRENT_BYTES:
        raise ConfigError(f"a .torrent of {max_bytes} bytes: not within 1 to {MAX_TORRENT_BYTES}")
    return BencodeLimits(max_bytes=max_bytes)
