"""How qbittorrent-nox is told to seed or download a torrent, or to run a node of the DHT."""

from collections.abc import Sequence
from typing import Final

from torrent_engine.conformance.adapters.launch import LaunchCommand, LaunchOrder, found_program
from torrent_engine.conformance.adapters.process import free_port
from torrent_engine.conformance.bencoding import Bencodable, bencode

_SETTINGS: Final = r"""[LegalNotice]
Accepted=true

[Preferences]
WebUI\Address=127.0.0.1
WebUI\Port={web_port}
WebUI\UseUPnP=false

[Network]
PortForwardingEnabled=false

[BitTorrent]
Session\AddExtensionToIncompleteFiles=false
Session\DefaultSavePath={data}
Session\DHTEnabled={dht}
Session\Encryption={encryption}
Session\InterfaceAddress={host}
Session\LSDEnabled={lsd}
Session\MaxConnections=-1
Session\MaxConnectionsPerTorrent=-1
Session\MaxUploads=-1
Session\MaxUploadsPerTorrent=-1
Session\BTProtocol={transport}
Session\PeXEnabled=true
Session\Port={port}
Session\Preallocation=false
Session\QueueingSystemEnabled=false
"""


def qbittorrent(order: LaunchOrder) -> LaunchCommand:
    """Return the command for qbittorrent-nox; nobody uses its web interface."""
    return _command(order, order.what)


def qbittorrent_node(order: LaunchOrder, nodes: Sequence[str]) -> LaunchCommand:
    """Return the command for qbittorrent-nox with its DHT.

    The nodes are in the torrent: the program has no option for them, and the limits on nodes of
    one network are those that it has.
    """
    path = order.home / "nodes.torrent"
    listed: list[Bencodable] = []
    for node in nodes:
        host, _, port = node.rpartition(":")
        listed.append([host.encode(), int(port)])
    torrent = order.torrent.read_bytes()[:-1] + b"5:nodes" + bencode(listed) + b"e"
    command = _command(order, str(path), has_dht=True)
    files = {**command.files, path.name: torrent}
    return LaunchCommand(command.argv, command.environment, files, command.version_argv)


def _command(order: LaunchOrder, what: str, *, has_dht: bool = False) -> LaunchCommand:
    program = found_program("qbittorrent-nox", "qBittorrent")
    text = _SETTINGS.format(
        data=order.data,
        dht=str(has_dht).lower(),
        encryption=2 if order.downloads and not order.has_encryption else 0,
        host="" if order.has_ipv6 else order.host,
        lsd=str(order.has_lsd).lower(),
        port=order.port,
        web_port=free_port(),
        transport="Both" if order.over_utp else "TCP",
    )
    profile = order.home / "profile"
    files = {
        "profile/qBittorrent/config/qBittorrent.conf": text.encode(),
        "temporary/.keep": b"-",
    }
    argv = (
        program,
        f"--profile={profile}",
        f"--save-path={order.data}",
        "--add-paused=false",
        what,
    )
    environment = {"HOME": str(order.home), "TMPDIR": str(order.home / "temporary")}
    return LaunchCommand(argv, environment, files, (program, "--version"))
