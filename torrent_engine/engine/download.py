"""The blocking convenience for scripts: one call, one torrent, one path back."""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio

from torrent_engine.base.config import SessionConfig, SharedConfig
from torrent_engine.base.errors import SessionError
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.session import Session
from torrent_engine.engine.session_stats import SessionStats
from torrent_engine.engine.shared_resources import SharedResources
from torrent_engine.engine.states import State
from torrent_engine.engine.torrent_source import load_torrent

REPORT_INTERVAL_S = 0.5


def download(  # noqa: PLR0913 - what scripts say in one call
    source: str | os.PathLike[str] | bytes | Metainfo | Magnet,
    save_path: str | os.PathLike[str] = ".",
    *,
    config: SessionConfig | None = None,
    shared_config: SharedConfig | None = None,
    on_progress: Callable[[SessionStats], None] | None = None,
    overwrite: bool = False,
    allow_hidden: bool = False,
) -> Path:
    """Download a torrent, and return where it lies: the file, or the folder of several.

    ``source`` is a path, an http(s) URL, a magnet link, an info-hash, the bytes of a .torrent, a
    Metainfo or a Magnet. Blocks until all that is wanted is verified and written; seeds only if
    ``config`` has a seeding rule. ``on_progress`` is called about twice a second. ``overwrite`` and
    ``allow_hidden`` are as in SessionConfig. Raises OSError,
    BencodeError, MetainfoError, MagnetError or HttpError if the torrent cannot be read,
    SessionError if the download fails.
    """
    chosen = config or SessionConfig()
    if overwrite or allow_hidden:
        chosen = replace(
            chosen,
            overwrite=overwrite or chosen.overwrite,
            allow_hidden=allow_hidden or chosen.allow_hidden,
        )
    if chosen.seed_ratio is None and chosen.seed_time_s is None:
        chosen = replace(chosen, seed_time_s=0.0)
    options: dict[str, Any] = {"use_uvloop": True} if has_uvloop() else {}

    async def main() -> Path:
        return await _download(source, Path(save_path), chosen, shared_config, on_progress)

    return anyio.run(main, backend_options=options)


def has_uvloop() -> bool:
    """Return whether the faster event loop can be used here."""
    if sys.platform == "win32":
        return False
    try:
        import uvloop
    except ImportError:
        return False
    return uvloop is not None


async def _download(
    source: str | os.PathLike[str] | bytes | Metainfo | Magnet,
    save_path: Path,
    config: SessionConfig,
    shared_config: SharedConfig | None,
    on_progress: Callable[[SessionStats], None] | None,
) -> Path:
    async with SharedResources(shared_config) as shared:
        torrent = await load_torrent(source, shared.http)
        session = await Session.create(torrent, shared, save_path=save_path, config=config)
        async with session:
            if on_progress is not None:
                await _report(session, on_progress)
            await session.wait_stopped()
        if on_progress is not None:
            on_progress(session.stats())
    return save_path / _top(session)


def _top(session: Session) -> Path:
    """Return the file, or the folder of several, below the save path."""
    metainfo, renamed = session.metainfo, dict(session.config.renamed_files)
    if metainfo is None:
        raise SessionError("stopped before its metadata came")
    if not metainfo.is_multi_file and 0 in renamed:
        return Path(renamed[0])
    return Path(metainfo.files[0].path[0])


async def _report(session: Session, on_progress: Callable[[SessionStats], None]) -> None:
    """Call ``on_progress`` now and then until the Session has ended."""
    while session.state not in {State.STOPPED, State.ERROR}:
        on_progress(session.stats())
        with anyio.move_on_after(REPORT_INTERVAL_S):
            await session.wait(State.STOPPED, State.ERROR)
