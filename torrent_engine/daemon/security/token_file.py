"""The token that is made at the first start: ``daemon.token`` in the state folder, mode 0600."""

import os
import secrets
import stat
from pathlib import Path
from typing import Final

from torrent_engine.base.errors import ConfigError

TOKEN_NAME: Final = "daemon.token"  # noqa: S105 - a name of a file
TOKEN_BYTES: Final = 32
MIN_CHARACTERS: Final = 16
MAX_CHARACTERS: Final = 512


def read_or_make_token(folder: Path, credentials: Path | None = None) -> tuple[str, bool]:
    """Return the token and whether it was made now; ``credentials`` is systemd's folder.

    Raises ConfigError for a file that others can read or that has no token, and OSError.
    """
    if credentials is not None and (credentials / "token").is_file():
        return _checked((credentials / "token").read_text("utf-8"), credentials / "token"), False
    path = folder / TOKEN_NAME
    try:
        return read_token(path), False
    except FileNotFoundError:
        return make_token(path), True


def read_token(path: Path) -> str:
    """Return the token of a file. Raises ConfigError or OSError."""
    no_wait = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # nor a link, nor a pipe
    descriptor = os.open(path, os.O_RDONLY | no_wait)
    with os.fdopen(descriptor, encoding="utf-8", errors="replace") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError(f"{path}: is no regular file")
        if found.st_uid not in {os.geteuid(), 0}:
            raise ConfigError(f"{path}: the token is in a file of another user")
        if found.st_mode & 0o077:
            raise ConfigError(f"{path}: others can read the token; chmod 600, or delete it")
        return _checked(file.read(MAX_CHARACTERS + 2), path)


def make_token(path: Path) -> str:
    """Write a new token in the place of any old one, and return it."""
    token = secrets.token_hex(TOKEN_BYTES)  # no "-", which makes an option of it
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{token}\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    return token


def _checked(text: str, path: Path) -> str:
    token = text.strip()
    is_text = token.isascii() and token.isprintable() and " " not in token
    if not is_text or not MIN_CHARACTERS <= len(token) <= MAX_CHARACTERS:
        raise ConfigError(f"{path}: has no token; delete it, and the next start makes one")
    return token
