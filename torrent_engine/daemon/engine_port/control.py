"""The life of one torrent, its place in the queue, and its files, through the manager."""

from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.engine_port.opened import OpenManager
from torrent_engine.engine.states import State


class ManagerActions:
    """A :class:`TorrentActions` of the open manager."""

    def __init__(self, opened: OpenManager) -> None:
        self._opened = opened

    async def start(self, info_hash: InfoHash) -> None:
        """Let a stopped, paused or failed torrent go on, when the queue permits."""
        session = self._opened.session(info_hash)
        if session.state is State.STOPPED:
            await session.start()
        if session.is_paused_by_user or session.state is State.ERROR:
            await session.resume()

    async def start_now(self, info_hash: InfoHash) -> None:
        """Let a torrent run whatever the queue says, until it is paused."""
        await self._opened.session(info_hash).start_now()

    def set_forced(self, info_hash: InfoHash, *, is_forced: bool) -> None:
        """Take a torrent out of the queue, or back into it, without starting it."""
        self._opened.session(info_hash).set_forced(is_forced)

    async def pause(self, info_hash: InfoHash) -> None:
        """Let no payload move until :meth:`start`; a stopped or failed torrent stays as it is."""
        session = self._opened.session(info_hash)
        if session.can_pause:
            await session.pause()

    async def stop(self, info_hash: InfoHash) -> None:
        """End the run: trackers told, files closed."""
        await self._opened.session(info_hash).stop()

    async def recheck(self, info_hash: InfoHash) -> None:
        """Begin to hash all data that is there; a paused torrent stays so afterwards."""
        await self._opened.session(info_hash).recheck(while_paused=True)

    def reannounce(self, info_hash: InfoHash) -> float | None:
        """Ask the trackers for peers as soon as their minimum interval permits."""
        return self._opened.session(info_hash).reannounce()

    async def scrape(self, info_hash: InfoHash) -> None:
        """Ask the trackers for the size of the swarm."""
        await self._opened.session(info_hash).scrape()

    async def remove(self, info_hash: InfoHash, *, delete_files: bool = False) -> None:
        """Remove a torrent, with its files if asked for."""
        await self._opened.manager.remove_torrent(info_hash, delete_files=delete_files)

    async def move(self, info_hash: InfoHash, path: str) -> None:
        """Move the files to another save path; returns when they are there."""
        await self._opened.session(info_hash).move_storage(path)

    async def set_save_path(self, info_hash: InfoHash, path: str) -> None:
        """Look for the files in another folder, without moving any, and check what is there."""
        await self._opened.session(info_hash).set_save_path(path)

    async def rename_file(self, info_hash: InfoHash, index: int, path: str) -> None:
        """Give a file another path below the save path."""
        await self._opened.session(info_hash).rename_file(index, path)

    async def rename_folder(self, info_hash: InfoHash, old: str, new: str) -> None:
        """Give a folder of the torrent, or its root, another path below the save path."""
        await self._opened.session(info_hash).rename_folder(old, new)

    def cancel_move(self, info_hash: InfoHash) -> bool:
        """Undo the move that is under way; False if there is none."""
        return self._opened.session(info_hash).cancel_move()

    def set_priority(self, info_hash: InfoHash, priority: int) -> None:
        """Set the priority in the queue."""
        self._opened.manager.set_priority(info_hash, priority)

    def move_to(self, info_hash: InfoHash, position: int) -> None:
        """Put a torrent at a place in the queue, from 0."""
        self._opened.manager.move_to(info_hash, position)
