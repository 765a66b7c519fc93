"""Write one file of a torrent to standard output while it downloads, from any offset on.

python examples/stream_file.py debian.torrent video.mkv | mpv -
"""

import argparse
import sys
from dataclasses import replace

import anyio

from torrent_engine import Magnet, Metainfo, Session, SessionConfig, SharedResources
from torrent_engine.base.config import DhtConfig, LsdConfig, SharedConfig


def host_and_port(text: str) -> tuple[str, int]:
    """Split ``host:port``."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


async def stream(options: argparse.Namespace, config: SharedConfig) -> None:
    """Copy what is read; what lies ahead is fetched before anything else."""
    is_link = options.torrent.startswith("magnet:")
    source = Magnet.parse(options.torrent) if is_link else Metainfo.read(options.torrent)
    async with SharedResources(config) as shared:
        session = await Session.create(
            source,
            shared,
            save_path=options.folder,
            config=SessionConfig(peers=tuple(options.peer)),
        )
        async with session, session.open(options.file) as reader:
            reader.seek(options.offset)
            async for chunk in reader:
                sys.stdout.buffer.write(chunk)
            sys.stdout.flush()


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("torrent", help="path of a .torrent, or a magnet link in quotes")
    parser.add_argument("file", help="path of the file in the torrent")
    parser.add_argument("folder", nargs="?", default=".", help="where the payload goes")
    parser.add_argument("--offset", type=int, default=0, help="first byte to write")
    parser.add_argument("--peer", type=host_and_port, action="append", default=[])
    parser.add_argument("--alone", action="store_true", help="ask no DHT and no local network")
    options = parser.parse_args()
    config = SharedConfig(listen_port=0)
    if options.alone:
        config = replace(config, dht=DhtConfig(enabled=False), lsd=LsdConfig(enabled=False))
    anyio.run(stream, options, config)


if __name__ == "__main__":
    main()
