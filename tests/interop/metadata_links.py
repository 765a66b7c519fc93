"""What the transfers from links with other programs have in common: the torrent, the programs."""

from pathlib import Path

from tests.interop.scenarios import OtherClient
from tests.support.aria2_client import Aria2Client
from tests.support.libtorrent_client import LibtorrentClient
from tests.support.netns import Host
from tests.support.payload import Payload, make_payload
from tests.support.processes import free_port
from tests.support.transmission_client import TransmissionClient

CLIENTS = {each.label: each for each in (LibtorrentClient, TransmissionClient, Aria2Client)}
METADATA_PIECE_BYTES = 16 * 1024
WAIT_S = 180.0  # Transmission thinks of whom to unchoke each ten seconds only
Hosts = tuple[Host, Host]


def many_files(folder: Path) -> Payload:
    """Return a torrent whose metadata has three pieces, for it names many files."""
    names = [f"a rather long name of a very short file, number {n:04}.txt" for n in range(420)]
    made = make_payload(folder, "many", dict.fromkeys(names, 11) | {"big.bin": 300_000})
    info_bytes = len(made.torrent.read_bytes())
    assert 2 * METADATA_PIECE_BYTES < info_bytes < 3 * METADATA_PIECE_BYTES
    return made


def other(kind: str, host: Host, folder: Path, *, address: str | None = None) -> OtherClient:
    """Return another program, seen from us as number 2 of its host."""
    client: OtherClient = CLIENTS[kind](
        host, folder / kind, port=free_port(), address=address or host.address(2)
    )
    return client
