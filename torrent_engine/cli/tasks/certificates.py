"""Certificates in files that users name."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torrent_engine.codec.certificates import Certificate


def certificates_of(path: Path | None) -> "tuple[Certificate, ...]":
    """Return the certificates of a file, none for None. Raises OSError or SignatureError."""
    if path is None:
        return ()
    from torrent_engine.codec.certificates import read_certificates

    return read_certificates(file_content(path))


def file_content(path: Path) -> bytes:
    """Return what is in a file, but not much more than a key or certificates have."""
    from torrent_engine.codec.certificates import MAX_FILE_BYTES

    with path.open("rb") as file:
        return file.read(MAX_FILE_BYTES + 1)
