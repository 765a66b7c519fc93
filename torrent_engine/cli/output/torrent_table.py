"""The torrents of a state folder as a table, and how a user names one of them."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from torrent_engine.cli.output.exit_codes import CliError, ExitCode
from torrent_engine.cli.output.render import print_lines
from torrent_engine.cli.output.sizes import format_percent, format_short
from torrent_engine.cli.output.text import safe
from torrent_engine.cli.output.text_table import Column, print_table, table
from torrent_engine.service.torrents import TorrentRow

if TYPE_CHECKING:
    from rich.text import Text

ID_CHARS: Final = 8  # ours: more where torrents would share them
SHOWN: Final = 3  # ours: how many torrents an ambiguous name lists
FIRST_TO_GO: Final = ("UP/S", "SIZE", "DOWN/S", "DONE", "STATE")
_STYLES: Final = {"downloading": "cyan", "seeding": "green", "error": "red", "paused": "yellow"}
_SHORT_WORDS: Final = {
    "fetching_metadata": "metadata",
    "check_queued": "queued",
    "download_queued": "queued",
    "seed_queued": "queued",
}
"""Words of the column for states with a long name."""


def find_torrent(rows: Sequence[TorrentRow], name: str, numbered: Sequence[str] = ()) -> TorrentRow:
    """Return the torrent of a name, a number, the first digits of an id or a part of a name.

    ``numbered`` has the ids that the last list numbered from 1. Raises CliError.
    """
    wanted = name.strip()
    found = [row for row in rows if row.name == wanted]
    found = found or _by_number(rows, wanted, numbered)
    found = found or [row for row in rows if wanted and row.info_hash.startswith(wanted.lower())]
    part = wanted.casefold()
    found = found or [row for row in rows if part and part in row.name.casefold()]
    if not found:
        raise CliError(f"{safe(name)}: no such torrent", ExitCode.NOT_FOUND)
    if len(found) > 1:
        chars = id_chars(row.info_hash for row in rows)
        named = ", ".join(f"{row.info_hash[:chars]} {safe(row.name)}" for row in found[:SHOWN])
        more = ", ..." if len(found) > SHOWN else ""
        raise CliError(f"{safe(name)}: names {len(found)} torrents: {named}{more}")
    return found[0]


def _by_number(rows: Sequence[TorrentRow], text: str, numbered: Sequence[str]) -> list[TorrentRow]:
    """Return the torrent of a number in the last list; none for another text."""
    if not (text.isascii() and text.isdecimal() and len(text) < ID_CHARS):
        return []
    place = int(text) - 1
    if not 0 <= place < len(numbered):
        return []
    found = [row for row in rows if row.info_hash == numbered[place]]
    if not found:
        raise CliError(f"{text}: this torrent of the last list is gone", ExitCode.NOT_FOUND)
    return found


def id_chars(ids: Iterable[str]) -> int:
    """Return how many digits tell all torrents apart."""
    ordered = sorted(ids)
    needed = (_shared(a, b) + 1 for a, b in pairwise(ordered))
    return max([ID_CHARS, *needed])


def print_torrents(rows: Sequence[TorrentRow], *, no_color: bool) -> None:
    """Print a line for each torrent, as wide as the terminal."""
    if not rows:
        print_lines(["no torrents"])
        return
    print_table(lambda width: torrents_table(rows, width=width), no_color=no_color)


def torrents_table(rows: Sequence[TorrentRow], *, width: int) -> "Text":
    """Return a head and a line for each torrent, at most ``width`` wide; only names are cut."""
    chars = id_chars(row.info_hash for row in rows)
    columns = (
        _numbers("#", map(str, range(1, len(rows) + 1))),
        Column("ID", [row.info_hash[:chars] for row in rows]),
        Column("STATE", [_word(row) for row in rows], styles=[_style(row) for row in rows]),
        _numbers("DONE", (done_of(row) for row in rows)),
        _numbers("SIZE", (format_short(row.total_bytes) for row in rows)),
        _numbers("DOWN/S", (format_short(row.download_bytes_per_s) for row in rows)),
        _numbers("UP/S", (format_short(row.upload_bytes_per_s) for row in rows)),
    )
    names = [safe(f"{row.name} ({row.error})" if row.error else row.name) for row in rows]
    return table(columns, names, width=width, first_to_go=FIRST_TO_GO)


def _numbers(head: str, cells: Iterable[str]) -> Column:
    return Column(head, list(cells), is_right=True)


def done_of(row: TorrentRow) -> str:
    """Return the share of what is wanted that is here."""
    return format_percent(row.completed_bytes, row.wanted_bytes) if row.total_bytes else "-"


def _word(row: TorrentRow) -> str:
    return _SHORT_WORDS.get(row.state, row.state)


def _style(row: TorrentRow) -> str:
    return _STYLES.get(row.state, "")


def _shared(one: str, other: str) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))
