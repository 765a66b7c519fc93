"""The numbers that `list` printed last: a file in the state folder."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from torrent_engine.service.regular_files import read_regular

LIST_NAME: Final = "last_list.json"
MAX_BYTES: Final = 16 * 1024 * 1024  # ours: 300,000 torrents


def save_list(folder: Path, info_hashes: Sequence[str]) -> None:
    """Remember the order of a list; what cannot be written is not remembered."""
    with suppress(OSError):
        whole = folder / f"{LIST_NAME}.new"
        whole.write_text(json.dumps(list(info_hashes)), "ascii")
        whole.replace(folder / LIST_NAME)


def read_list(folder: Path) -> list[str]:
    """Return the info-hashes of the last list; none if there was none."""
    try:
        found = json.loads(read_regular(folder / LIST_NAME, MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return []
    if not isinstance(found, list):
        return []
    return [each for each in found if isinstance(each, str)]
