"""Writing a file that is whole or not there, and replaces another only if it may."""

import secrets
from pathlib import Path

from torrent_engine.cli.output.exit_codes import CliError, ExitCode


def refuse_existing(path: Path) -> None:
    """Raise CliError if there is something at ``path``."""
    if path.exists():
        raise CliError(f"{path}: exists already; -f replaces it", ExitCode.FILE_EXISTS)


def write_new(path: Path, data: bytes, *, replace: bool) -> None:
    """Write the file; what it replaces stays until the new one is whole. Raises OSError."""
    part = path.with_name(f".{secrets.token_hex(8)}.part") if replace else path
    with part.open("xb") as file:
        try:
            file.write(data)
        except OSError:
            part.unlink()
            raise
    if replace:
        part.replace(path)
