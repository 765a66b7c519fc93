"""Download one torrent in one blocking call and print how far it is.

python examples/download.py debian.torrent downloads
"""

import argparse
from dataclasses import replace

from torrent_engine import SessionConfig, SessionStats, SharedConfig, TorrentEngineError, download
from torrent_engine.base.config import DhtConfig, LsdConfig


def report(stats: SessionStats) -> None:
    """Print one line of progress; called about twice a second."""
    percent = 100 * stats.completed_bytes / max(stats.wanted_bytes, 1)
    mib_per_s = stats.download_bytes_per_s / 2**20
    print(f"{stats.state.value}: {percent:5.1f} %, {mib_per_s:.1f} MiB/s, {stats.peers} peers")


def host_and_port(text: str) -> tuple[str, int]:
    """Split ``host:port``."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def main() -> None:
    """Read the arguments, download, and say where the payload lies."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("torrent", help="path or http(s) URL of a .torrent, or a magnet link")
    parser.add_argument("folder", nargs="?", default=".", help="where the payload goes")
    parser.add_argument("--peer", type=host_and_port, action="append", default=[])
    parser.add_argument("--state-dir", help="folder of the resume database")
    parser.add_argument("--alone", action="store_true", help="ask no DHT and no local network")
    options = parser.parse_args()
    shared = SharedConfig(state_dir=options.state_dir)
    if options.alone:
        shared = replace(shared, dht=DhtConfig(enabled=False), lsd=LsdConfig(enabled=False))
    try:
        path = download(
            options.torrent,
            options.folder,
            config=SessionConfig(peers=tuple(options.peer)),
            shared_config=shared,
            on_progress=report,
        )
    except (TorrentEngineError, OSError) as error:
        raise SystemExit(f"failed: {error}") from error
    print(f"downloaded to {path}")


if __name__ == "__main__":
    main()
