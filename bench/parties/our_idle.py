"""our_idle.py MODE FOLDER PORT REST_S SETTLE_S: many torrents without peers in a TorrentManager."""

import anyio

from bench.parties.idle import Arguments, Clock, collected_rss_kib, rss_kib, tell
from torrent_engine.base.config import DhtConfig, LsdConfig, ManagerConfig, SharedConfig
from torrent_engine.engine.manager.torrent_manager import TorrentManager


def config_of(arguments: Arguments) -> ManagerConfig:
    shared = SharedConfig(
        listen_port=arguments.port,
        listen_hosts=("127.0.0.1",),
        state_dir=str(arguments.folder / "our-state"),
        dht=DhtConfig(enabled=False),
        lsd=LsdConfig(enabled=False),
    )
    return ManagerConfig(shared=shared, save_path=arguments.save_path)


class Announces:
    """Counts the answers of trackers."""

    def __init__(self, manager: TorrentManager) -> None:
        self.count = 0
        manager.events.subscribe("tracker.success", self.add)

    def add(self, _event: object) -> None:
        self.count += 1


async def main() -> None:
    arguments = Arguments()
    clock = Clock()
    async with TorrentManager(config_of(arguments)) as manager:
        announces = Announces(manager)
        if arguments.restores:
            tell("restored", count=len(manager.sessions), rss_kib=rss_kib(), **clock.figures())
        else:
            await warm_up(manager, announces, arguments)
            tell("empty", rss_kib=collected_rss_kib(), **clock.figures())
            await add_all(manager, arguments)
        await settle(manager, announces, arguments)
        resting = Clock()
        heard = announces.count
        await anyio.sleep(arguments.rest_s)
        announced = announces.count - heard
        tell("rested", announces=announced, rss_kib=collected_rss_kib(), **resting.figures())
        clock = Clock()
    tell("end", **clock.figures())


async def warm_up(manager: TorrentManager, announces: Announces, arguments: Arguments) -> None:
    """Add and announce one torrent: what is loaded once is not counted for each."""
    await manager.add_torrent(arguments.torrents[0])
    await manager.flush()
    with anyio.fail_after(30):
        while not announces.count:  # noqa: ASYNC110 - as any user would look
            await anyio.sleep(0.1)


async def add_all(manager: TorrentManager, arguments: Arguments) -> None:
    clock = Clock()
    for torrent in arguments.torrents[1:]:
        await manager.add_torrent(torrent)
    tell("added", count=len(manager.sessions), rss_kib=rss_kib(), **clock.figures())
    await manager.flush()
    tell("saved", rss_kib=rss_kib(), **clock.figures())


async def settle(manager: TorrentManager, announces: Announces, arguments: Arguments) -> None:
    """Wait until each was announced once and rests; tell how many did in time."""
    clock, count = Clock(), len(manager.sessions)
    with anyio.move_on_after(arguments.settle_s):
        while not (  # noqa: ASYNC110 - nothing tells that all do
            announces.count >= count and all(each.is_resting for each in manager.sessions)
        ):
            await anyio.sleep(1.0)
    tell(
        "settled",
        announced=announces.count,
        resting=sum(each.is_resting for each in manager.sessions),
        rss_kib=collected_rss_kib(),
        **clock.figures(),
    )


if __name__ == "__main__":
    anyio.run(main, backend_options={"use_uvloop": True})
