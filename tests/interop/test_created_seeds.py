"""Folders of over forty kinds, made into torrents and seeded: to libtorrent, by it, and to us."""

import os
import warnings
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import libtorrent
import pytest

from tests.interop.test_created_folders import MAKERS, NO_UTF8
from tests.support.odd_folders import NAMES, SHAPES, make_folders
from tests.support.processes import free_port
from tests.support.swarm import LOOPBACK, resources, until
from torrent_engine.base.config import SessionConfig
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

pytestmark = [pytest.mark.interop, pytest.mark.anyio]

PATIENCE_S = 240.0
ALL_KINDS = {*NAMES, *SHAPES}
_LEFT_OUT = "it leaves out what joins or directs letters, and byte order marks"
_REPLACED = "it puts an underscore for control characters"
_CUT = "it cuts names at 240 bytes"
RENAMED_BY_LIBTORRENT = {
    **dict.fromkeys(("emoji_zwj", "persian_zwnj", "direction_mark", "override"), _LEFT_OUT),
    "byte_order_mark": _LEFT_OUT,
    **dict.fromkeys(("newline", "tab", "escape", "delete"), _REPLACED),
    **dict.fromkeys(("longest", "longest_in_utf8"), _CUT),
    "backslash": "it leaves out backslashes",
    "case": "it numbers names that differ in case only",
}
"""Kinds whose files libtorrent does not find, since it changes their names while it loads."""


@dataclass(frozen=True)
class Made:
    """A folder of one kind, and its torrent."""

    folder: Path
    torrent: Path
    metainfo: Metainfo

    def contents(self) -> list[bytes]:
        """Return the bytes of each file of the torrent, in its order."""
        top = self.folder.parent
        raw = (Path(*map(os.fsdecode, entry.raw_path)) for entry in self.metainfo.files)
        return [(top / path).read_bytes() for path in raw]


def make_all(root: Path, maker: str, without: set[str] | frozenset[str]) -> dict[str, Made]:
    """Make a torrent of a folder of each kind."""
    (root / "kinds").mkdir()
    made = {}
    for number, (kind, folder) in enumerate(make_folders(root / "kinds").items()):
        if kind not in without:
            torrent = root / f"{number}.torrent"
            MAKERS[maker](folder, torrent)
            made[kind] = Made(folder, torrent, Metainfo.read(torrent))
    return made


def saved_by_us(made: Made, save_path: Path) -> list[bytes]:
    return [save_path.joinpath(*entry.path).read_bytes() for entry in made.metainfo.files]


def paths_of_libtorrent(made: Made) -> list[Path]:
    """Return where libtorrent looks for each file, below the save path."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        files = libtorrent.torrent_info(str(made.torrent)).files()
        return [Path(files.file_path(index)) for index in range(files.num_files())]


def saved_by_libtorrent(made: Made, save_path: Path) -> list[bytes]:
    return [(save_path / path).read_bytes() for path in paths_of_libtorrent(made)]


def renamed(all_made: Mapping[str, Made]) -> set[str]:
    """Return the kinds with a file that libtorrent looks for where it is not."""
    return {
        kind
        for kind, made in all_made.items()
        if not all((made.folder.parent / path).exists() for path in paths_of_libtorrent(made))
    }


@asynccontextmanager
async def sessions(
    root: Path, all_made: Mapping[str, Made], *, peer: tuple[str, int] | None = None
) -> AsyncIterator[tuple[dict[str, Session], tuple[str, int]]]:
    """Run a Session of each torrent: seeds, or leeches of one peer with a folder for each."""
    peers = (peer,) if peer else ()
    async with resources(root) as shared, AsyncExitStack() as stack:
        running = {}
        for kind, made in all_made.items():
            save_path = root / kind if peer else made.folder.parent
            config = SessionConfig(peers=peers)
            session = await Session.create(
                made.metainfo, shared, save_path=save_path, config=config
            )
            running[kind] = await stack.enter_async_context(session)
        yield running, (LOOPBACK, shared.listen_port)


async def all_seed(running: Mapping[str, Session]) -> None:
    def waiting() -> list[str]:
        return [kind for kind, each in running.items() if each.state is not State.SEEDING]

    await until(lambda: not waiting(), timeout_s=PATIENCE_S)


@contextmanager
def libtorrent_session() -> Iterator[tuple[libtorrent.session, tuple[str, int]]]:
    port = free_port()
    off = ("dht", "lsd", "upnp", "natpmp", "incoming_utp", "outgoing_utp")
    settings = {
        **{f"enable_{name}": False for name in off},
        "allow_multiple_connections_per_ip": True,
        "listen_interfaces": f"{LOOPBACK}:{port}",
        "alert_mask": 0,
    }
    session = libtorrent.session(settings)  # type: ignore[call-overload]
    yield session, (LOOPBACK, port)
    session.pause()


def added(
    session: libtorrent.session, all_made: Mapping[str, Made], root: Path | None
) -> dict[str, libtorrent.torrent_handle]:
    """Add each torrent, with its own folder or with one below ``root``."""
    handles = {}
    for kind, made in all_made.items():
        parameters = libtorrent.add_torrent_params()
        parameters.ti = libtorrent.torrent_info(str(made.torrent))
        parameters.save_path = str(root / kind) if root else os.fspath(made.folder.parent)
        managed = libtorrent.torrent_flags.auto_managed | libtorrent.torrent_flags.paused
        parameters.flags &= ~managed
        handles[kind] = session.add_torrent(parameters)
    return handles


CHECKS = {
    libtorrent.torrent_status.states.checking_files,
    libtorrent.torrent_status.states.checking_resume_data,
}


async def checked(handles: Mapping[str, libtorrent.torrent_handle]) -> set[str]:
    """Wait until libtorrent checked what is there; return the kinds that it has whole."""
    await until(
        lambda: all(each.status().state not in CHECKS for each in handles.values()),
        timeout_s=PATIENCE_S,
    )
    return {kind for kind, each in handles.items() if each.status().is_seeding}


async def test_what_we_make_of_a_folder_of_any_kind_is_seeded_to_us(tmp_path: Path) -> None:
    all_made = make_all(tmp_path, "ours", frozenset())
    assert set(all_made) == ALL_KINDS
    async with (
        sessions(tmp_path / "seed", all_made) as (seeds, address),
        sessions(tmp_path / "leech", all_made, peer=address) as (leeches, _),
    ):
        await all_seed(seeds)
        await all_seed(leeches)
    for kind, made in all_made.items():
        assert saved_by_us(made, tmp_path / "leech" / kind) == made.contents(), kind


async def test_what_we_make_of_a_folder_of_any_kind_is_seeded_to_libtorrent(
    tmp_path: Path,
) -> None:
    all_made = make_all(tmp_path, "ours", frozenset())
    async with sessions(tmp_path / "seed", all_made) as (seeds, address):
        await all_seed(seeds)
        with libtorrent_session() as (session, _):
            handles = added(session, all_made, tmp_path / "leech")
            await checked(handles)
            for handle in handles.values():
                handle.connect_peer(address)
            await until(
                lambda: all(each.status().is_seeding for each in handles.values()),
                timeout_s=PATIENCE_S,
            )
            for handle in handles.values():
                handle.flush_cache()
    for kind, made in all_made.items():
        assert saved_by_libtorrent(made, tmp_path / "leech" / kind) == made.contents(), kind


async def test_what_libtorrent_makes_of_a_folder_and_seeds_is_downloaded_by_us(
    tmp_path: Path,
) -> None:
    all_made = make_all(tmp_path, "libtorrent", NO_UTF8)
    with libtorrent_session() as (session, address):
        whole = await checked(added(session, all_made, None))
        assert all_made.keys() - whole == RENAMED_BY_LIBTORRENT.keys() == renamed(all_made)
        ours = {kind: all_made[kind] for kind in whole}
        async with sessions(tmp_path / "leech", ours, peer=address) as (leeches, _):
            await all_seed(leeches)
    for kind, made in ours.items():
        assert saved_by_us(made, tmp_path / "leech" / kind) == made.contents(), kind
