"""Opens files below a folder without following a link that was planted on the way (rows A6, A8).

Every component is opened relative to its parent's descriptor with O_NOFOLLOW, so a link that
somebody plants between a check and the use is refused, not followed. Where the system has no
such calls (Windows) each component is looked at before it is used.

Symbolic links that are there at a first look are the user's and are followed: device and inode of
what each leads to are remembered then, and what is opened through it later must be just that. On
the way to the folder itself, links are followed too, but for those that somebody else put where
everybody may write.
"""

import errno
import os
import stat
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from torrent_engine.base.errors import FileExistsStorageError, StorageError
from torrent_engine.codec.paths import long_windows_path, windows_path
from torrent_engine.disk.birth_times import born_after
from torrent_engine.disk.system import WINDOWS_NAMES

HAS_DIR_FD = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")
_FILE_FLAGS: Final = (
    getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a planted FIFO must not hold us up
    | getattr(os, "O_BINARY", 0)
)
_LINK_ERRORS: Final = frozenset({errno.ELOOP, errno.ENOTDIR})  # what O_NOFOLLOW gives for a link
_FOLDER_FLAGS: Final = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_DIRECTORY", 0)
)
_PASSING: Final = getattr(os, "O_PATH", 0)
"""Opens folders that may be passed, but not listed; 0 where the system cannot do that."""
_MAX_LINKS: Final = 40  # Linux, path_resolution(7)

Look = Callable[[Sequence[str]], os.stat_result | None]
"""A :meth:`Folder.stat`."""


def check_parts(parts: Sequence[str], *, windows: bool = WINDOWS_NAMES) -> tuple[str, ...]:
    """Return ``parts`` if each is a plain name; raise StorageError if one could lead elsewhere.

    If ``windows``, so could a drive, a stream of another file, and what Windows reads otherwise.
    """
    for part in parts:
        if part in {"", ".", ".."} or "\0" in part or "/" in part or (os.sep in part):
            raise StorageError("/".join(parts), "is not a path below the save path")
    if windows and windows_path(tuple(parts)) != tuple(parts):
        raise StorageError("/".join(parts), "has a name that Windows reads otherwise")
    if not parts:
        raise StorageError("", "is not a path below the save path")
    return tuple(parts)


class Folder:
    """The descriptor of one folder; all names are looked up from there."""

    def __init__(self, path: Path, *, create: bool, follow_links: bool = False) -> None:
        """Open ``path``, following links in it that are the user's; OSError if that fails.

        Files behind accepted links that are not at the top are written only if ``follow_links``.
        """
        if create:
            with suppress(FileNotFoundError):
                _check_way(path)
            _make_durably(path)
        self.path = path
        self._links: dict[tuple[str, ...], tuple[int, int]] = {}
        """Accepted links, and the device and inode of what each leads to."""
        self._is_accepting = False
        self._follow_links = follow_links
        self._descriptor = -1
        if HAS_DIR_FD:
            self._descriptor = _open_top(path)
        elif not path.is_dir():
            raise NotADirectoryError(f"{path} is no folder")

    @property
    def links(self) -> frozenset[tuple[str, ...]]:
        """The paths of the accepted symbolic links."""
        return frozenset(self._links)

    def is_link(self, parts: Sequence[str]) -> bool:
        """Return whether a path is an accepted symbolic link itself."""
        return tuple(parts) in self._links

    @contextmanager
    def accepting_links(self) -> Iterator[None]:
        """Accept the symbolic links that are met in the block as the user's.

        Not those that somebody else put into a folder in which everybody may write.
        """
        self._is_accepting = True
        try:
            yield
        finally:
            self._is_accepting = False

    def close(self) -> None:
        """Close the descriptor; twice does no harm."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def open_file(self, parts: Sequence[str], flags: int, mode: int = 0o666) -> int:
        """Open a regular file below the folder and return its descriptor.

        With O_CREAT in ``flags`` missing folders are made too. Raises OSError, and
        FileExistsStorageError if what is there is no regular file, or is to be written and has
        other names (hard links) through which somebody else's file would be changed.
        """
        creates, writes = bool(flags & os.O_CREAT), bool(flags & (os.O_RDWR | os.O_WRONLY))
        with self.parent_of(parts, create=creates, writes=writes) as (folder, name):
            if self.is_link(parts) and not flags & os.O_EXCL:
                descriptor = self._open_link(tuple(parts), name, _at(folder), flags, writes=writes)
            else:
                if not HAS_DIR_FD:
                    _refuse_link(name)
                descriptor = os.open(name, flags | _FILE_FLAGS, mode, dir_fd=_at(folder))
        try:
            self._check_file(descriptor, parts, writable=writes)
        except BaseException:
            os.close(descriptor)
            if flags & os.O_EXCL:  # it is ours, and nobody will know
                with suppress(OSError):
                    self.unlink(parts)
            raise
        return descriptor

    def stat(self, parts: Sequence[str]) -> os.stat_result | None:
        """Return what stands at a path; None if nothing.

        Of a symbolic link itself, unless it is accepted: then of what it leads to.
        """
        try:
            with self.parent_of(parts, create=False, writes=False) as (folder, name):
                return self._look(parts, name, folder)
        except FileNotFoundError:
            return None

    def _look(self, parts: Sequence[str], name: str, folder: int) -> os.stat_result:
        found = os.stat(name, dir_fd=_at(folder), follow_symlinks=False)
        if not stat.S_ISLNK(found.st_mode):
            return found
        return self._target(tuple(parts), name, _at(folder)) or found

    @contextmanager
    def looking(self) -> Iterator[Look]:
        """Yield a :meth:`stat` for very many paths, which keeps the folder of the last one open.

        It is several times as fast for files that follow one another in their folders.
        """
        if not HAS_DIR_FD:
            yield self.stat
            return
        with ExitStack() as kept:
            parents: Sequence[str] = ()
            folder: int | None = None

            def look(parts: Sequence[str]) -> os.stat_result | None:
                nonlocal parents, folder
                if len(parts) == 1:
                    return self.stat(parts)  # the folder itself may be closed meanwhile
                try:
                    if parts[:-1] != parents:
                        kept.close()
                        parents, folder = (), None
                        way = self.parent_of(parts, create=False, writes=False)
                        with suppress(FileNotFoundError):
                            folder, _ = kept.enter_context(way)
                        parents = parts[:-1]
                    return None if folder is None else self._look(parts, parts[-1], folder)
                except FileNotFoundError:
                    return None

            yield look

    def is_born_after(self, parts: Sequence[str], time_ns: int) -> bool:
        """Return whether what stands at a path was made after a time; False if not known."""
        if not HAS_DIR_FD:
            return False
        with (
            suppress(OSError, FileExistsStorageError),
            self.parent_of(parts, create=False, writes=False) as (folder, name),
        ):
            return born_after(folder, time_ns, name=name)
        return False

    def unlink(self, parts: Sequence[str]) -> None:
        """Remove a file; nothing happens if it is not there."""
        with (
            suppress(FileNotFoundError),
            self.parent_of(parts, create=False) as (folder, name),
        ):
            if HAS_DIR_FD:
                os.unlink(name, dir_fd=folder)
            else:
                Path(name).unlink()

    def rmdir_if_empty(self, parts: Sequence[str]) -> None:
        """Remove a folder below this one if nothing is in it."""
        with (
            suppress(OSError, FileExistsStorageError),
            self.parent_of(parts, create=False) as (folder, name),
        ):
            if HAS_DIR_FD:
                os.rmdir(name, dir_fd=folder)
            else:
                Path(name).rmdir()

    def rename(self, old: Sequence[str], new: Sequence[str]) -> None:
        """Give a file another name in the same folder, replacing what has it."""
        with self.parent_of(old, create=False) as (folder, name):
            if HAS_DIR_FD:
                os.replace(name, new[-1], src_dir_fd=folder, dst_dir_fd=folder)
            else:
                Path(name).replace(Path(name).with_name(new[-1]))

    def link(self, old: Sequence[str], target: "Folder", new: Sequence[str]) -> None:
        """Give a file a second name, below another folder; missing folders there are made.

        Raises OSError: EEXIST if something has that name, EXDEV on another file system.
        """
        with (
            self.parent_of(old, create=False) as (folder, name),
            target.parent_of(new, create=True) as (new_folder, new_name),
        ):
            if HAS_DIR_FD:
                os.link(
                    name,
                    new_name,
                    src_dir_fd=folder,
                    dst_dir_fd=new_folder,
                    follow_symlinks=False,
                )
            else:
                Path(new_name).hardlink_to(name)

    def move(self, old: Sequence[str], target: "Folder", new: Sequence[str]) -> None:
        """Give a file another name, below another folder, replacing what has it; OSError."""
        with (
            self.parent_of(old, create=False) as (folder, name),
            target.parent_of(new, create=True) as (new_folder, new_name),
        ):
            if HAS_DIR_FD:
                os.replace(name, new_name, src_dir_fd=folder, dst_dir_fd=new_folder)
            else:
                Path(name).replace(new_name)

    def set_times(self, parts: Sequence[str], accessed_ns: int, changed_ns: int) -> None:
        """Set when a file was read and changed last; OSError if that fails."""
        with self.parent_of(parts, create=False) as (folder, name):
            times = (accessed_ns, changed_ns)
            if HAS_DIR_FD:
                os.utime(name, ns=times, dir_fd=folder, follow_symlinks=False)
            else:
                os.utime(name, ns=times)

    def sync_folder(self, parts: Sequence[str]) -> None:
        """Make the names in a folder below this one durable; does nothing where that is unknown."""
        if not HAS_DIR_FD:
            return
        with self.parent_of((*parts, "x"), create=False, writes=False) as (folder, _):
            os.fsync(int(folder))

    @contextmanager
    def parent_of(
        self, parts: Sequence[str], *, create: bool, writes: bool = True
    ) -> Iterator[tuple[int, str]]:
        """Yield the folder of the last component and its name (a whole path without dir_fd).

        OSError if there is none, or a link is on the way that is not accepted;
        FileExistsStorageError for one that may not be written through.
        """
        if not HAS_DIR_FD:
            parts = check_parts(parts)
            path = str(self._walk_by_name(parts[:-1], create=create, writes=writes) / parts[-1])
            yield -1, long_windows_path(path) if WINDOWS_NAMES else path
            return
        top = self._descriptor  # another thread may close it meanwhile, which is not for us to do
        folder = self._walk(top, parts[:-1], create=create, writes=writes)
        try:
            yield folder, parts[-1]
        finally:
            if folder != top:
                os.close(folder)

    def _walk(self, top: int, parts: Sequence[str], *, create: bool, writes: bool) -> int:
        if top < 0:
            raise FileNotFoundError(2, "No such file or directory", str(self.path))
        folder = top
        for depth, part in enumerate(parts, 1):
            try:
                inner = _open_folder(part, folder, create=create)
            except OSError as error:
                if error.errno not in _LINK_ERRORS:
                    raise
                found = self._open_linked_folder(tuple(parts[:depth]), folder, writes=writes)
                if found < 0:
                    raise
                inner = found
            finally:
                if folder != top:
                    os.close(folder)
            folder = inner
        return folder

    def _walk_by_name(self, parts: Sequence[str], *, create: bool, writes: bool) -> Path:
        path = Path(long_windows_path(str(self.path))) if WINDOWS_NAMES else self.path
        for depth, part in enumerate(parts, 1):
            path /= part
            if self._target(tuple(parts[:depth]), str(path), None) is not None:
                self._check_writable(parts[:depth], writes=writes)
                continue
            _refuse_link(str(path))
            if create:
                path.mkdir(exist_ok=True)
        return path

    def _target(
        self, parts: tuple[str, ...], name: str, parent: int | None
    ) -> os.stat_result | None:
        """Return what an accepted link leads to, if it is what it led to; None for all else."""
        if not self._is_accepting and parts not in self._links:
            return None
        try:
            found = os.stat(name, dir_fd=parent)
            if self._is_accepting and parts not in self._links and _is_users(name, parent):
                self._links[parts] = (found.st_dev, found.st_ino)
        except OSError:
            return None
        return found if self._links.get(parts) == (found.st_dev, found.st_ino) else None

    def _open_linked_folder(self, parts: tuple[str, ...], parent: int, *, writes: bool) -> int:
        """Return a descriptor of the folder that an accepted link leads to; -1 if it is none."""
        if self._target(parts, parts[-1], parent) is None:
            return -1
        self._check_writable(parts, writes=writes)
        descriptor = os.open(parts[-1], _FOLDER_FLAGS & ~os.O_NOFOLLOW, dir_fd=parent)
        return self._same(parts, descriptor)

    def _open_link(
        self, parts: tuple[str, ...], name: str, parent: int | None, flags: int, *, writes: bool
    ) -> int:
        """Return a descriptor of the file that an accepted link leads to; nothing is made."""
        self._check_writable(parts, writes=writes)
        flags = (flags | _FILE_FLAGS) & ~(getattr(os, "O_NOFOLLOW", 0) | os.O_CREAT)
        return self._same(parts, os.open(name, flags, dir_fd=parent))

    def _same(self, parts: tuple[str, ...], descriptor: int) -> int:
        """Return a descriptor if it is of what a link led to at first; else close it and raise."""
        try:
            self._check_same(parts, os.fstat(descriptor))
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _check_same(self, parts: tuple[str, ...], found: os.stat_result) -> None:
        if self._links[parts] != (found.st_dev, found.st_ino):
            reason = "is a symbolic link that leads elsewhere than at the start"
            raise FileExistsStorageError(self.path.joinpath(*parts), reason)

    def _check_writable(self, parts: Sequence[str], *, writes: bool) -> None:
        if writes and len(parts) > 1 and not self._follow_links:
            reason = "is a symbolic link; not written through without follow_links"
            raise FileExistsStorageError(self.path.joinpath(*parts), reason)

    def _check_file(self, descriptor: int, parts: Sequence[str], *, writable: bool) -> None:
        found = os.fstat(descriptor)
        path = self.path.joinpath(*parts)
        if not stat.S_ISREG(found.st_mode):
            raise FileExistsStorageError(path, "is not a regular file")
        if writable and found.st_nlink > 1:
            raise FileExistsStorageError(path, "has hard links and is not written to")


def _check_way(path: Path) -> None:
    """Raise FileExistsStorageError if a link on the way to a folder is not the user's."""
    if HAS_DIR_FD and _PASSING:
        os.close(_open_in_steps(path))


def _open_top(path: Path) -> int:
    """Return the descriptor of a folder; its path may have links that are the user's."""
    if not _PASSING:
        return os.open(path, _FOLDER_FLAGS & ~os.O_NOFOLLOW)
    folder = _open_in_steps(path)
    try:
        return os.open(os.curdir, _FOLDER_FLAGS, dir_fd=folder)
    finally:
        os.close(folder)


def _open_in_steps(path: Path) -> int:
    """Open each folder of a path from the one above it, which a planted link cannot change."""
    left = deque(path.absolute().parts)
    flags, links = _FOLDER_FLAGS | _PASSING, 0
    folder = os.open(left.popleft(), flags)
    try:
        while left:
            name = left.popleft()
            target = _followed(path, name, folder)
            if target is None:
                above, folder = folder, os.open(name, flags, dir_fd=folder)
                os.close(above)
                continue
            links += 1
            _check_count(path, links)
            left.extendleft(reversed(Path(target).parts))
    except BaseException:
        os.close(folder)
        raise
    return folder


def _check_count(path: Path, links: int) -> None:
    if links > _MAX_LINKS:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def _followed(path: Path, name: str, folder: int) -> str | None:
    """Return where a link leads that may be followed; None for what is no link."""
    if not stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        return None
    if not _is_users(name, folder):
        reason = f"{name!r} is a symbolic link that somebody else put where everybody may write"
        raise FileExistsStorageError(path, reason)
    return os.readlink(name, dir_fd=folder)


def _make_durably(path: Path) -> None:
    """Make a folder with those above it, so that a loss of power leaves it there."""
    if path.is_dir():
        return
    if not path.parent.is_dir():
        _make_durably(path.parent)
    path.mkdir(exist_ok=True)
    with suppress(OSError):  # not every folder can be opened or synced
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _open_folder(name: str, parent: int, *, create: bool) -> int:
    try:
        return os.open(name, _FOLDER_FLAGS, dir_fd=parent)
    except FileNotFoundError:
        if not create:
            raise
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=parent)
    return os.open(name, _FOLDER_FLAGS, dir_fd=parent)


def _at(folder: int) -> int | None:
    return folder if HAS_DIR_FD else None


def _is_users(name: str, parent: int | None) -> bool:
    """Return whether a link is ours, the folder's owner's, or where only few may write; OSError."""
    link = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if not stat.S_ISLNK(link.st_mode):
        return False
    around = os.fstat(parent) if parent is not None else Path(name).parent.stat()
    if not around.st_mode & stat.S_IWOTH or not hasattr(os, "geteuid"):
        return True
    return link.st_uid in {os.geteuid(), around.st_uid}


def _refuse_link(path: str) -> None:
    if os.path.islink(path):  # noqa: PTH114 - no Path object is needed for one look
        raise FileExistsStorageError(path, "is a symbolic link; links are not followed")
