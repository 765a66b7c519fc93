"""Fetch the metadata of a magnet link, choose the largest file and download it.

python examples/magnet.py 'magnet:?xt=urn:btih:...' downloads
"""

import argparse
from dataclasses import replace

import anyio

from torrent_engine import Magnet, MagnetError, Metainfo, Session, SessionConfig, SharedResources
from torrent_engine.base.config import DhtConfig, LsdConfig, SharedConfig


def largest_file(metainfo: Metainfo) -> tuple[int, ...]:
    """Return a priority for each file: 4 for the largest, 0 for all others."""
    largest = max(metainfo.files, key=lambda entry: entry.length_bytes)
    return tuple(4 if entry is largest else 0 for entry in metainfo.files)


async def run(magnet: Magnet, folder: str, config: SharedConfig) -> None:
    """Download one file of what the link leads to, and say what happens."""
    print(f"looking for {magnet.display_name}")
    choice = SessionConfig(file_priorities_of=largest_file)
    async with SharedResources(config) as shared:
        session = await Session.create(magnet, shared, save_path=folder, config=choice)
        events = session.events.stream("metadata.received", "file.completed", "session.completed")
        async with session:
            async for event in events:
                print(event)
                if event.type == "session.completed":
                    break


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("link", help="a magnet link, in quotes, or an info-hash")
    parser.add_argument("folder", nargs="?", default=".", help="where the payload goes")
    parser.add_argument("--alone", action="store_true", help="ask no DHT and no local network")
    options = parser.parse_args()
    config = SharedConfig(listen_port=0)
    if options.alone:
        config = replace(config, dht=DhtConfig(enabled=False), lsd=LsdConfig(enabled=False))
    try:
        magnet = Magnet.parse(options.link)
    except MagnetError as error:
        raise SystemExit(f"failed: {error}") from error
    anyio.run(run, magnet, options.folder, config)


if __name__ == "__main__":
    main()
