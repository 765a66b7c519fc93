"""Magnet links that name a public key: whoever has the private one says which torrent it is now.

Source: BEP 46, ``magnet:?xs=urn:btpk:KEY&s=SALT``, both in hexadecimal.
"""

import re
from dataclasses import dataclass
from typing import Final

from torrent_engine.base.config import MagnetLimits
from torrent_engine.base.errors import ConfigError, MagnetError
from torrent_engine.codec._magnet_fields import SCHEME, LinkFields, fields_of, unquoted

PUBLIC_KEY_BYTES: Final = 32
MAX_SALT_BYTES: Final = 64
_BTPK: Final = b"urn:btpk:"
_PUBLIC_KEY: Final = re.compile(rb"[0-9a-f]{64}", re.IGNORECASE)
_SALT: Final = re.compile(rb"(?:[0-9a-f]{2}){0,64}", re.IGNORECASE)
_LIMITS: Final = MagnetLimits()


@dataclass(frozen=True, slots=True)
class MutableKey:
    """Where the versions of a torrent are published in the DHT (BEP 46)."""

    public_key: bytes
    """Ed25519, 32 bytes."""
    salt: bytes = b""
    """Up to 64 bytes that distinguish the torrents of one key."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a key or a salt of another length."""
        if len(self.public_key) != PUBLIC_KEY_BYTES:
            raise ConfigError(
                f"public_key: {len(self.public_key)} bytes; there are {PUBLIC_KEY_BYTES}"
            )
        if len(self.salt) > MAX_SALT_BYTES:
            raise ConfigError(f"salt: {len(self.salt)} bytes; at most {MAX_SALT_BYTES} are allowed")

    @property
    def fields(self) -> str:
        """The fields of a link that name it."""
        salt = f"&s={self.salt.hex()}" if self.salt else ""
        return f"xs={_BTPK.decode()}{self.public_key.hex()}{salt}"

    def __str__(self) -> str:
        """Return the link that names it and nothing else."""
        return f"{SCHEME}?{self.fields}"


@dataclass(frozen=True, slots=True)
class MutableLink:
    """A link that names a key and no torrent."""

    key: MutableKey
    text: str
    """The whole link, with trackers and peers that it may name."""

    @classmethod
    def parse(cls, text: str, *, limits: MagnetLimits = _LIMITS) -> "MutableLink":
        """Read a link. Raises MagnetError for one that is too long or without a right key."""
        text = text.strip()
        data = text.encode("utf-8", "surrogatepass")
        if len(data) > limits.max_uri_bytes:
            raise MagnetError(f"a link of {len(data)} bytes, more than {limits.max_uri_bytes}")
        if data[: len(SCHEME)].lower() != SCHEME.encode():
            raise MagnetError('no magnet link: it begins with "magnet:?"')
        fields = fields_of(data[len(SCHEME) :])
        if not names_key_only(fields):
            raise MagnetError('no link to a public key ("xs=urn:btpk:...", BEP 46)')
        if (key := key_of(fields)) is None:
            raise MagnetError(
                f"the public key (BEP 46) is not {2 * PUBLIC_KEY_BYTES} hexadecimal digits, or the"
                f" salt not up to {2 * MAX_SALT_BYTES}"
            )
        return cls(key, text)

    @staticmethod
    def is_link(text: str) -> bool:
        """Return whether a text is a link that names a key and no torrent; the key may be wrong."""
        data = text.strip().encode("utf-8", "surrogatepass")
        is_magnet = data[: len(SCHEME)].lower() == SCHEME.encode()
        is_short = len(data) <= _LIMITS.max_uri_bytes
        return is_magnet and is_short and names_key_only(fields_of(data[len(SCHEME) :]))


def names_key_only(fields: LinkFields) -> bool:
    """Return whether the fields of a link name a public key and no torrent."""
    return not any(map(_is_torrent, unquoted(fields, b"xt"))) and bool(_keys(fields))


def key_of(fields: LinkFields) -> MutableKey | None:
    """Return the key that the fields of a link name; None if there is none, or a wrong one."""
    keys, salts = _keys(fields), list(unquoted(fields, b"s"))
    salt = salts[0] if salts else b""
    if not keys or _PUBLIC_KEY.fullmatch(keys[0]) is None or _SALT.fullmatch(salt) is None:
        return None
    return MutableKey(bytes.fromhex(keys[0].decode()), bytes.fromhex(salt.decode()))


def _keys(fields: LinkFields) -> list[bytes]:
    """Return what the link calls public keys, in hexadecimal if they are right."""
    sources = unquoted(fields, b"xs")
    return [each[len(_BTPK) :] for each in sources if each[: len(_BTPK)].lower() == _BTPK]


def _is_torrent(topic: bytes) -> bool:
    return topic[:9].lower() in {b"urn:btih:", b"urn:btmh:"}
