"""The daemon as a process that follows a public key (BEP 46): it moves to what is published."""

from pathlib import Path
from urllib.parse import quote

from tests.support.dht_client import EngineNode, ask_engine
from tests.support.engine_client import EngineSeed, format_peer
from tests.support.fixed_tracker import naming
from tests.support.netns import LOOPBACK
from tests.support.own_daemon import OwnDaemon
from tests.support.payload import Payload, make_payload
from tests.support.processes import free_port, wait_until

HERE = "127.0.0.1"
PATIENCE_S = 180.0
QUIET = ("--no-lsd", "--no-port-mapping", "--no-dht", "--listen", HERE)


def publish(node: EngineNode, payload: Payload, key: Path) -> str:
    """Publish a torrent by the command line; return the link."""
    words = ("publish", str(payload.torrent), "--key-file", str(key), "--once")
    told = ask_engine(LOOPBACK, *words, by=[node.address], address=HERE)
    assert told["code"] == 0, told
    return str(told["link"])


def hashes(daemon: OwnDaemon) -> list[str]:
    """Return the info-hashes of its torrents."""
    return [each["hash"] for each in daemon.ask("GET", "/api/v1/torrents")["items"]]


def wait_complete(payload: Payload, daemon: OwnDaemon) -> None:
    """Wait until the daemon has all files of a torrent, and no other torrent."""

    def is_there() -> bool:
        is_alone = hashes(daemon) == [payload.info_hash.hex()]
        return is_alone and payload.is_complete_in(daemon.folder / "d")

    wait_until(is_there, timeout_s=PATIENCE_S, what=f"{payload.torrent.stem} is there alone")


def test_bep46_the_daemon_moves_to_the_version_that_is_published(tmp_path: Path) -> None:
    first = make_payload(tmp_path, "news-1", {"page": 100_000, "old": 1_000})
    second = make_payload(tmp_path, "news-2", {"page": 120_000, "new": 1_000})
    port = free_port()
    with (
        EngineNode(LOOPBACK, tmp_path / "node") as node,
        EngineSeed(LOOPBACK, tmp_path / "seed", [first, second], port=port, extra=QUIET),
        naming(LOOPBACK, (HERE, port), address=HERE) as tracker,
    ):
        settings = (
            "network.loopback_only=false",
            f"network.listen_hosts={HERE}",
            f"network.dht_bootstrap={format_peer(node.address)}",
            "network.lsd=false",
            "network.port_mapping=false",
        )
        link = publish(node, first, tmp_path / "key")
        with OwnDaemon(tmp_path, *settings) as daemon:
            source = {"source": f"{link}&tr={quote(tracker, safe='')}"}
            daemon.ask("POST", "/api/v1/torrents", source)
            wait_complete(first, daemon)
            assert publish(node, second, tmp_path / "key") == link
            daemon.ask("POST", "/api/v1/shutdown")
            assert daemon.wait() == 0
            daemon.start()  # it looks for a newer version at once
            wait_complete(second, daemon)
    assert first.is_complete_in(tmp_path / "d"), "what only the older one had stays"
