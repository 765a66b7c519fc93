"""One torrent of a state folder in detail: its facts, files, peers and trackers."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from torrent_engine.cli.output import sizes
from torrent_engine.cli.output.render import print_lines
from torrent_engine.cli.output.text import safe
from torrent_engine.cli.output.text_table import Column, print_table, table
from torrent_engine.service.torrents import TorrentDetail, TorrentRow

if TYPE_CHECKING:
    from rich.text import Text

DetailEntry = Mapping[str, Any]
_LABEL_CHARS: Final = 12
_ENCRYPTION: Final = {"none": "plain", "plaintext": "MSE", "rc4": "RC4"}


def fact_lines(row: TorrentRow) -> list[str]:
    """Return what is known of a torrent, a line each."""
    done = sizes.format_progress(row.completed_bytes, row.wanted_bytes)
    facts = {
        "name": row.name,
        "info-hash": row.info_hash,
        "state": f"{row.state}: {row.error}" if row.error else row.state,
        "done": f"{sizes.format_percent(row.completed_bytes, row.wanted_bytes)}, {done}"
        if row.total_bytes
        else "-",
        "folder": row.save_path,
        "priority": str(row.priority),
        "peers": str(row.peers),
        "download": _rate_and_total(row.download_bytes_per_s, row.downloaded_bytes),
        "upload": _rate_and_total(row.upload_bytes_per_s, row.uploaded_bytes),
        "time left": sizes.format_duration(row.eta_s),
        "labels": ", ".join(row.labels),
        "category": row.category,
    }
    return [f"{name:{_LABEL_CHARS}}{safe(text)}" for name, text in facts.items() if text]


def stats_lines(stats: DetailEntry) -> list[str]:
    """Return the numbers of all torrents, a line each."""
    ever = stats["ever"]
    down, up = stats["download_bytes_per_s"], stats["upload_bytes_per_s"]
    facts = {
        "torrents": f"{stats['torrents']:,}",
        "peers": f"{stats['peers']:,}",
        "download": _rate_and_total(down, ever["downloaded_bytes"]),
        "upload": _rate_and_total(up, ever["uploaded_bytes"]),
    }
    return [f"{name:{_LABEL_CHARS}}{text}" for name, text in facts.items()]


def _rate_and_total(bytes_per_s: float, total_bytes: int) -> str:
    return f"{sizes.format_rate(bytes_per_s)}, {sizes.format_size(total_bytes)} in all"


def print_details(detail: TorrentDetail, entries: Sequence[DetailEntry], *, no_color: bool) -> None:
    """Print a line for each entry, as wide as the terminal."""
    if not entries:
        print_lines([f"no {detail}"])
        return
    make: Callable[..., Text] = _TABLES[detail]
    print_table(lambda width: make(entries, width=width), no_color=no_color)


def files_table(files: Sequence[DetailEntry], *, width: int) -> "Text":
    """Return a line for each file; its number is that which `priority --files` takes."""
    columns = (
        _right("#", (str(each["index"] + 1) for each in files)),
        _right("DONE", (_done(each) for each in files)),
        _right("SIZE", (sizes.format_short(each["size_bytes"]) for each in files)),
        _right("PRIORITY", (_priority(each["priority"]) for each in files)),
    )
    names = [safe(each["path"]) for each in files]
    return table(columns, names, width=width, first_to_go=("SIZE", "DONE"))


def peers_table(peers: Sequence[DetailEntry], *, width: int) -> "Text":
    """Return a line for each peer, the fastest first."""
    peers = sorted(peers, key=_total_rate, reverse=True)
    columns = (
        Column("ADDRESS", [_address(each) for each in peers]),
        Column("BY", ["us" if not each["is_incoming"] else "peer" for each in peers]),
        Column("CARRIER", [f"{each['transport']} {_encryption(each)}" for each in peers]),
        _right("DONE", (sizes.format_percent(each["progress"], 1.0) for each in peers)),
        _right("DOWN/S", (sizes.format_short(each["download_bytes_per_s"]) for each in peers)),
        _right("UP/S", (sizes.format_short(each["upload_bytes_per_s"]) for each in peers)),
    )
    names = [safe(each["client"]) for each in peers]
    go = ("CARRIER", "BY", "DONE", "UP/S", "DOWN/S")
    return table(columns, names, width=width, first_to_go=go)


def trackers_table(trackers: Sequence[DetailEntry], *, width: int) -> "Text":
    """Return a line for each tracker, with what it says."""
    columns = (
        _right("TIER", (str(each["tier"] + 1) for each in trackers)),
        Column("STATE", [str(each["state"]) for each in trackers]),
        _right("SEEDS", (_count(each["seeds"]) for each in trackers)),
        _right("LEECHES", (_count(each["leeches"]) for each in trackers)),
    )
    names = [_tracker_name(each) for each in trackers]
    return table(columns, names, width=width, first_to_go=("LEECHES", "SEEDS", "TIER"))


_TABLES: Final = {
    TorrentDetail.FILES: partial(files_table),
    TorrentDetail.PEERS: partial(peers_table),
    TorrentDetail.TRACKERS: partial(trackers_table),
}


def _right(head: str, cells: Iterable[str]) -> Column:
    return Column(head, list(cells), is_right=True)


def _done(file: DetailEntry) -> str:
    return sizes.format_percent(file["completed_bytes"], file["size_bytes"])


def _priority(number: int) -> str:
    return "skip" if number == 0 else str(number)


def _address(peer: DetailEntry) -> str:
    host = f"[{peer['host']}]" if ":" in peer["host"] else peer["host"]
    return safe(f"{host}:{peer['port']}")


def _encryption(peer: DetailEntry) -> str:
    return _ENCRYPTION.get(peer["encryption"], str(peer["encryption"]))


def _total_rate(peer: DetailEntry) -> float:
    return float(peer["download_bytes_per_s"] + peer["upload_bytes_per_s"])


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _tracker_name(tracker: DetailEntry) -> str:
    message = f" ({tracker['message']})" if tracker["message"] else ""
    return safe(f"{tracker['url']}{message}")
