"""How rtorrent is told to seed or download a torrent, or to run a node of the DHT."""

from collections.abc import Sequence
from typing import Final

from torrent_engine.conformance.adapters.launch import LaunchCommand, LaunchOrder, found_program
from torrent_engine.conformance.errors import NotOfferedError

NO_TRACKER: Final = b"8:announce25:http://127.0.0.1:9/nobody"
"""It refuses a torrent without a tracker while its DHT is off; nobody listens there."""
_CONFIGURATION: Final = """
system.daemon.set = true
directory.default.set = "{data}"
session.path.set = "{home}/session"
network.bind_address.set = {host}
network.port_range.set = {port}-{port}
network.port_random.set = no
network.max_open_files.set = 256
throttle.max_uploads.set = 100
throttle.max_peers.normal.set = 200
throttle.max_peers.seed.set = 200
trackers.use_udp.set = yes
protocol.pex.set = yes
protocol.encryption.set = {encryption}
pieces.hash.on_completion.set = no
dht.mode.set = {dht}
{more}
load.start = "{what}"
"""


def rtorrent(order: LaunchOrder) -> LaunchCommand:
    """Return the command for rtorrent. Raises NotOfferedError for uTP."""
    if order.over_utp:
        raise NotOfferedError("rtorrent has no uTP")
    if order.has_lsd:
        raise NotOfferedError("rtorrent has no local service discovery")
    if order.has_ipv6:
        raise NotOfferedError("rtorrent uses one address")
    return _command(order)


def rtorrent_node(order: LaunchOrder, nodes: Sequence[str]) -> LaunchCommand:
    """Return the command for rtorrent with its DHT, which listens at the same number."""
    lines = [f"dht.port.set = {order.port}"]
    for number, node in enumerate(nodes):
        host, _, port = node.rpartition(":")
        lines.append(f'schedule2 = node{number},1,0,"dht.add_node={host}:{port}"')
    return _command(order, dht="on", more="\n".join(lines))


def _command(order: LaunchOrder, *, dht: str = "disable", more: str = "") -> LaunchCommand:
    program = found_program("rtorrent", "rtorrent")
    files = {"session/.keep": b"-"}
    what = order.magnet
    if not order.magnet:
        what = str(order.home / "sample.torrent")
        files["sample.torrent"] = _with_tracker(order.torrent.read_bytes())
    text = _CONFIGURATION.format(
        data=order.data,
        home=order.home,
        host=order.host,
        port=order.port,
        encryption=_encryption(order),
        dht=dht,
        more=more,
        what=what,
    )
    files["rtorrent.rc"] = text.encode()
    argv = (program, "-n", "-o", f"import={order.home / 'rtorrent.rc'}")
    environment = {"HOME": str(order.home), "TERM": "xterm"}
    return LaunchCommand(argv, environment, files, (program, "-h"))


def _encryption(order: LaunchOrder) -> str:
    if order.has_encryption:
        return "allow_incoming,try_outgoing,enable_retry"
    return "none" if order.downloads else "allow_incoming"


def _with_tracker(torrent: bytes) -> bytes:
    """Return a torrent with a tracker that nobody runs, if it has none."""
    return torrent if torrent.startswith(b"d8:announce") else b"d" + NO_TRACKER + torrent[1:]
