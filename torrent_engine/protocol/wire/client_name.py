"""The client name and version in a peer id.

Source: BEP 20, and peer ids in use. Peer ids are not authenticated.
"""

import re
from typing import Final

_AZUREUS: Final = re.compile(rb"-([A-Za-z0-9~]{2})([A-Za-z0-9.]{4})-")
_MAINLINE: Final = re.compile(rb"(M|Q|A2-)(\d{1,3})-(\d{1,3})-(\d{1,3})-")
_MAINLINE_NAMES: Final = {b"M": "BitTorrent", b"Q": "Queen Bee", b"A2-": "aria2"}
_NAMES: Final = {
    "7T": "aTorrent",
    "AZ": "Vuze",
    "BC": "BitComet",
    "BI": "BiglyBT",
    "BT": "BitTorrent",
    "DE": "Deluge",
    "FD": "Free Download Manager",
    "FW": "FrostWire",
    "GT": "anacrolix/torrent",
    "KT": "KTorrent",
    "LT": "libtorrent",
    "TE": "torrent_engine",
    "TR": "Transmission",
    "TX": "Tixati",
    "UM": "uTorrent Mac",
    "UT": "uTorrent",
    "UW": "uTorrent Web",
    "WD": "WebTorrent Desktop",
    "WW": "WebTorrent",
    "XL": "Xunlei",
    "lt": "libTorrent (rakshasa)",
    "qB": "qBittorrent",
}


def client_name(peer_id: bytes) -> str:
    """Return client name and version of a peer id, such as "Transmission 3.0.0.0".

    ``peer_id`` is the 20 bytes of the handshake. Unknown clients are given by their two letters,
    as in "ZZ 1.2.0.0"; ids of another form are "". The result is printable ASCII.
    """
    if found := _AZUREUS.match(peer_id):
        code, version = found[1].decode(), found[2].decode()
        return f"{_NAMES.get(code, code)} {_dotted(version)}"
    if found := _MAINLINE.match(peer_id):
        version = ".".join(str(int(number)) for number in found.groups()[1:])
        return f"{_MAINLINE_NAMES[found[1]]} {version}"
    return ""


def _dotted(version: str) -> str:
    """Return four characters as four numbers; letters continue after 9, so B is 11."""
    return ".".join(str(int(digit, 36)) if digit.isalnum() else "0" for digit in version)
