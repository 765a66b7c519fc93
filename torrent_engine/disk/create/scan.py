"""The sorted list of files of a new torrent.

Names are the raw bytes of the file system, also if they are not UTF-8. Symbolic links are followed.
Empty folders are not part of a torrent.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import translate
from pathlib import Path
from stat import S_ISDIR, S_ISREG, S_IXUSR
from typing import Final

from torrent_engine.base.errors import ConfigError, StorageError
from torrent_engine.codec.paths import MAX_DEPTH
from torrent_engine.disk.os_errors import storage_error, storage_errors

_Identity = tuple[int, int]
_LOOP: Final = "a link that leads back into a folder that it is in"
Note = Callable[[str, str], None]
"""Called with a path on disk and a remark about it."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file to be put into a torrent."""

    disk_path: str
    parts: tuple[bytes, ...]
    """Path inside the torrent, below its name; empty for the file of a single-file torrent."""
    length_bytes: int
    is_executable: bool = False
    """Whether its owner may execute it."""

    @property
    def attributes(self) -> dict[str, str]:
        """Return what a torrent says of it besides its name and length (BEP 47)."""
        return {"attr": "x"} if self.is_executable else {}


@dataclass(frozen=True, slots=True)
class Payload:
    """The files, in the order of the torrent."""

    name: bytes
    files: tuple[SourceFile, ...]
    is_multi_file: bool

    @property
    def total_bytes(self) -> int:
        """Return the length of all files together."""
        return sum(file.length_bytes for file in self.files)

    def without_attributes(self) -> "Payload":
        """Return the same files, none of them executable."""
        files = tuple(replace(file, is_executable=False) for file in self.files)
        return replace(self, files=files)


def _ignore(_path: str, _text: str) -> None:
    """Ignore what is reported."""


@dataclass(frozen=True, slots=True)
class ScanRules:
    """Which of the files below a folder belong to a torrent."""

    include: tuple[str, ...] = ()
    """Globs; only files that match one are included. Empty: all files."""
    exclude: tuple[str, ...] = ()
    """Globs; files and folders that match one are excluded, with precedence over ``include``."""
    follow_links: bool = True
    """Whether symbolic links are followed; else they are excluded."""
    output: str | os.PathLike[str] | None = None
    """The .torrent being created, which is excluded."""
    on_left_out: Note = field(default=_ignore, compare=False)
    """Called with the path of an excluded entry and the reason."""
    on_link_out: Note = field(default=_ignore, compare=False)
    """Called with path and target of each followed link that leads out of the folder."""


def scan_payload(
    paths: Sequence[str | os.PathLike[str]], name: str | None, rules: ScanRules | None = None
) -> Payload:
    """Find the files of one file, one folder, or several of either.

    ``name`` is the torrent's; None takes the name of the only path, or of the common parent folder.
    Below a folder only regular files are included; broken and circular links, sockets and the like
    are excluded, and so is everything that ``rules`` exclude. Raises StorageError for unreadable
    entries, and for given paths that are neither files nor folders; ConfigError without a path, a
    name, or files.
    """
    if not paths:
        raise ConfigError("no file or folder to make a torrent of")
    roots = [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100 - keeps links
    raw_name = _checked_name(name if name is not None else _default_name(roots))
    with storage_errors(roots[0]):
        is_multi_file = len(roots) > 1 or roots[0].is_dir()
    scan = _Scan(rules or ScanRules(), [str(root) for root in roots])
    if len(roots) == 1:
        found = list(scan.root(str(roots[0]), ()))
    else:
        _refuse_same_names(roots)
        found = [file for r in roots for file in scan.root(str(r), (os.fsencode(r.name),))]
    if not sum(file.length_bytes for file in found):
        raise ConfigError(f"{os.fsdecode(raw_name)}: no files, or all of them are empty")
    found.sort(key=lambda file: file.parts)
    return Payload(raw_name, tuple(found), is_multi_file)


def _default_name(roots: Sequence[Path]) -> str:
    if len(roots) == 1:
        return roots[0].name
    parents = {root.parent for root in roots}
    return parents.pop().name if len(parents) == 1 else ""


def _checked_name(name: str) -> bytes:
    if name in {"", ".", ".."} or "/" in name or "\0" in name:
        raise ConfigError(f"{name!r} is not a valid torrent name; give another one")
    return os.fsencode(name)


def _refuse_same_names(roots: Sequence[Path]) -> None:
    names = [root.name for root in roots]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{name!r} is given more than once")


class _Globs:
    """Matches paths inside a torrent: with a slash from the top, without one any last name."""

    def __init__(self, globs: Sequence[str]) -> None:
        names = [glob for glob in globs if "/" not in glob.strip("/")]
        paths = [glob.strip("/") for glob in globs if "/" in glob.strip("/")]
        self._names = [re.compile(translate(glob.strip("/"))) for glob in names]
        self._paths = [re.compile(translate(glob)) for glob in paths]

    def __bool__(self) -> bool:
        return bool(self._names or self._paths)

    def match(self, parts: Sequence[bytes]) -> bool:
        """Return whether a path, or one of the folders it is in, is matched."""
        names = [os.fsdecode(part) for part in parts]
        paths = ["/".join(names[:depth]) for depth in range(1, len(names) + 1)]
        return any(glob.match(name) for glob in self._names for name in names) or any(
            glob.match(path) for glob in self._paths for path in paths
        )


def _source_file(path: str, parts: tuple[bytes, ...], found: os.stat_result) -> SourceFile:
    return SourceFile(path, parts, found.st_size, bool(found.st_mode & S_IXUSR))


class _Scan:
    """One traversal of the given paths."""

    def __init__(self, rules: ScanRules, roots: Sequence[str]) -> None:
        self._rules = rules
        self._include, self._exclude = _Globs(rules.include), _Globs(rules.exclude)
        self._output = None if rules.output is None else os.path.realpath(rules.output)
        self._roots = [os.path.realpath(root) for root in roots]

    def root(self, path: str, parts: tuple[bytes, ...]) -> Iterator[SourceFile]:
        """Iterate over a given file, or over the files below a given folder."""
        try:
            found = os.stat(path)  # noqa: PTH116 - one per file of possibly very many
        except OSError as error:
            raise storage_error(path, error) from error
        if S_ISREG(found.st_mode):
            yield _source_file(path, parts, found)
        elif S_ISDIR(found.st_mode):
            yield from self._folder(path, parts, ((found.st_dev, found.st_ino),))
        else:
            raise StorageError(path, "neither a file nor a folder")

    def _folder(
        self, path: str, parts: tuple[bytes, ...], above: tuple[_Identity, ...]
    ) -> Iterator[SourceFile]:
        """Iterate over all files below a folder; ``above`` are it and the folders around."""
        if len(parts) >= MAX_DEPTH:
            raise StorageError(path, f"more than {MAX_DEPTH} folders inside each other")
        try:
            names = os.listdir(path)  # noqa: PTH208 - as above
        except OSError as error:
            raise storage_error(path, error) from error
        for name in sorted(names):
            below = os.path.join(path, name)  # noqa: PTH118 - as above
            yield from self._entry(below, (*parts, os.fsencode(name)), above)

    def _entry(
        self, path: str, parts: tuple[bytes, ...], above: tuple[_Identity, ...]
    ) -> Iterator[SourceFile]:
        try:
            reason, found = self._look(path, parts)
        except OSError as error:
            raise storage_error(path, error) from error
        identity = found and (found.st_dev, found.st_ino)
        if not reason and identity in above:
            reason = _LOOP
        if reason or found is None or identity is None:
            self._rules.on_left_out(path, reason)
        elif S_ISDIR(found.st_mode):
            yield from self._folder(path, parts, (*above, identity))
        elif self._include and not self._include.match(parts):
            self._rules.on_left_out(path, "not included")
        else:
            yield _source_file(path, parts, found)

    def _look(self, path: str, parts: tuple[bytes, ...]) -> tuple[str, os.stat_result | None]:
        """Return why an entry is excluded ("": it is not) and its status. Raises OSError."""
        if self._exclude.match(parts):
            return "excluded", None
        is_link = os.path.islink(path)  # noqa: PTH114 - as above
        if is_link and not self._rules.follow_links:
            return "a symbolic link", None
        try:
            found = os.stat(path)  # noqa: PTH116 - as above
        except OSError:
            if not is_link:
                raise
            return "a link that leads nowhere", None
        if not (S_ISREG(found.st_mode) or S_ISDIR(found.st_mode)):
            return "neither a file nor a folder", None
        if self._output is not None and os.path.realpath(path) == self._output:
            return "the torrent that is being made", None
        if is_link:
            self._note_link(path)
        return "", found

    def _note_link(self, path: str) -> None:
        target = os.path.realpath(path)
        if not any(target == root or target.startswith(f"{root}{os.sep}") for root in self._roots):
            self._rules.on_link_out(path, target)
