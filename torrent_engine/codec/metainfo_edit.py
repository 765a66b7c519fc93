"""Changes to the keys of a .torrent around its info dictionary, which stays byte for byte.

Source: BEP 3, 5 (nodes), 12 (tiers), 17 (httpseeds), 19 (url-list), 35 (signatures).
"""

import os
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final, Protocol

from torrent_engine.base.checks import check_number, check_port, check_text
from torrent_engine.base.config import STORED_BENCODE_LIMITS
from torrent_engine.base.errors import BencodeError, ConfigError
from torrent_engine.codec._sources import clean_tiers, parse_web_urls
from torrent_engine.codec.bencode import Encodable, decode_with_spans, encode

_INFO: Final = b"info"
_SIGNATURES: Final = b"signatures"
NO_INFO: Final = b"de"  # stands for the info dictionary while the rest is taken apart


class EditedTorrent(Protocol):
    """A torrent that is written anew; has the fields that are named in ``EDITABLE``, too."""

    @property
    def info_bytes(self) -> bytes:
        """The info dictionary, byte for byte."""

    @property
    def signatures(self) -> Mapping[bytes, bytes]:
        """The signatures by name, each byte for byte (BEP 35)."""


def edited(metainfo: EditedTorrent, bare: bytes, changes: Mapping[str, Any]) -> bytes:
    """Return the .torrent with these fields of Metainfo changed; None removes one.

    ``bare`` is the .torrent with ``NO_INFO`` where its info dictionary stands. Keys that are not
    known here stay as they are. Raises TypeError or ConfigError, naming the field, for a value that
    cannot be written.
    """
    values = _values_around(metainfo, bare)
    for name, value in changes.items():
        for key, encoded in _WRITERS[name](name, value).items():
            if encoded is None:
                values.pop(key, None)
            else:
                values[key] = encode(encoded)
    return _written(metainfo, values)


def with_signatures(
    metainfo: EditedTorrent, bare: bytes, signatures: Mapping[bytes, bytes]
) -> bytes:
    """Return the .torrent with exactly these signatures, each already encoded (BEP 35).

    ``bare`` is as for :func:`edited`.
    """
    values = _values_around(metainfo, bare)
    values.pop(_SIGNATURES, None)
    if signatures:
        values[_SIGNATURES] = _joined(signatures)
    return _written(metainfo, values)


def _written(metainfo: EditedTorrent, values: dict[bytes, bytes]) -> bytes:
    return _joined({**values, _INFO: metainfo.info_bytes})


def _joined(values: Mapping[bytes, bytes]) -> bytes:
    """Return a dictionary of values that are encoded already."""
    pairs = (part for key in sorted(values) for part in (encode(key), values[key]))
    return b"".join((b"d", *pairs, b"e"))


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file that is whole or not there; what it replaces stays until then. OSError."""
    folder, name = os.path.split(os.path.abspath(os.fspath(path)))  # noqa: PTH100 - no pathlib here
    part = os.path.join(folder, f".{secrets.token_hex(8)}.part")  # noqa: PTH118
    try:
        with open(part, "xb") as file:  # noqa: PTH123
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, os.path.join(folder, name))  # noqa: PTH105, PTH118
    except BaseException:
        with suppress(OSError):
            os.unlink(part)  # noqa: PTH108
        raise


def _values_around(metainfo: EditedTorrent, data: bytes) -> dict[bytes, bytes]:
    """Return the encoded value of each key but "info"."""
    try:
        _, spans = decode_with_spans(data, limits=STORED_BENCODE_LIMITS)
    except BencodeError:  # read although it is badly written: what was understood of it stays
        return _values_understood(metainfo)
    return {key: data[start:end] for key, (start, end) in spans.items() if key != _INFO}


def _values_understood(metainfo: EditedTorrent) -> dict[bytes, bytes]:
    values: dict[bytes, bytes] = {}
    if signatures := metainfo.signatures:
        values[_SIGNATURES] = _joined(signatures)
    for name, write in _WRITERS.items():
        field = "tiers" if name == "trackers" else name
        for key, value in write(name, getattr(metainfo, field)).items():
            if value is not None:
                values[key] = encode(value)
    return values


# -- fields as what stands in the file ----------------------------------------------------------

_Written = dict[bytes, Encodable | None]


def _trackers(name: str, value: Any) -> _Written:  # noqa: ANN401 - whatever a caller gives
    tiers = [[each] if isinstance(each, str) else _texts(name, each) for each in _list(name, value)]
    given = [url for tier in tiers for url in _texts(name, tier)]
    clean = clean_tiers([url.encode() for url in tier] for tier in tiers)
    _check_kept(name, given, {url for tier in clean for url in tier})
    if not clean:
        return {b"announce": None, b"announce-list": None}
    is_single = len(clean) == 1 and len(clean[0]) == 1
    return {b"announce": clean[0][0], b"announce-list": None if is_single else clean}


def _web_seeds(name: str, value: Any) -> _Written:  # noqa: ANN401 - whatever a caller gives
    key = b"url-list" if name == "web_seeds" else b"httpseeds"
    given = _texts(name, _list(name, value))
    clean = parse_web_urls([url.encode() for url in given])
    _check_kept(name, given, set(clean))
    return {key: list(clean) or None}


def _nodes(name: str, value: Any) -> _Written:  # noqa: ANN401 - whatever a caller gives
    found: list[Encodable] = []
    for each in _list(name, value):
        if not isinstance(each, tuple | list) or len(each) != 2:
            raise TypeError(f"{name}: must be pairs of a host and a port, not {each!r:.80}")
        check_text(name, each[0])
        check_port(name, each[1])
        found.append([each[0], each[1]])
    return {b"nodes": found or None}


def _text(name: str, value: Any) -> _Written:  # noqa: ANN401 - whatever a caller gives
    if value is not None:
        check_text(name, value)
    return {b"comment" if name == "comment" else b"created by": value}


def _time(name: str, value: Any) -> _Written:  # noqa: ANN401 - whatever a caller gives
    if value is not None:
        check_number(name, value)
    return {b"creation date": value}


_WRITERS: Final = {
    "trackers": _trackers,
    "web_seeds": _web_seeds,
    "http_seeds": _web_seeds,
    "nodes": _nodes,
    "comment": _text,
    "created_by": _text,
    "creation_time_s": _time,
}
EDITABLE: Final = frozenset(_WRITERS)


def _list(name: str, value: object) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise TypeError(f"{name}: must be a list, not {value!r:.80}")
    return list(value)


def _texts(name: str, value: object) -> list[str]:
    found = _list(name, value)
    for each in found:
        check_text(name, each)
    return found


def _check_kept(name: str, given: list[str], kept: set[str]) -> None:
    """Raise ConfigError for a URL that no program could use."""
    for url in given:
        if url.strip() not in kept:
            raise ConfigError(f"{name}: {url!r:.200} is no URL that can be used here")
