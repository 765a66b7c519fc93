"""Download of one torrent in one call, blocking or awaitable."""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel

from torrent_engine.base.checks import check_path
from torrent_engine.base.config import SessionConfig, SharedConfig
from torrent_engine.base.errors import SessionError
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.files.file_paths import path_in_use
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.engine.stats import SessionStats

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
    """Download a torrent, and return its path: the file, or the folder of several.

    ``source`` is a path, an http(s) URL, a magnet link, an info-hash, the bytes of a .torrent, a
    Metainfo or a Magnet. Blocks until all that is wanted is verified and written; seeds only if
    ``config`` has a seeding rule. ``on_progress`` is called about twice a second. ``overwrite`` and
    ``allow_hidden`` are as in SessionConfig. Raises OSError, BencodeError, MetainfoError,
    MagnetError or HttpError if the torrent cannot be read, SessionError if the download fails, and
    RuntimeError where an event loop runs: await :func:`download_async` there.
    """
    if _is_in_event_loop():
        raise RuntimeError("download() blocks; in an event loop use: await download_async(...)")
    options: dict[str, Any] = {"use_uvloop": True} if has_uvloop() else {}
    call = partial(
        download_async,
        source,
        save_path,
        config=config,
        shared_config=shared_config,
        on_progress=on_progress,
        overwrite=overwrite,
        allow_hidden=allow_hidden,
    )
    return anyio.run(call, backend_options=options)


async def download_async(  # noqa: PLR0913 - as download
    source: str | os.PathLike[str] | bytes | Metainfo | Magnet,
    save_path: str | os.PathLike[str] = ".",
    *,
    config: SessionConfig | None = None,
    shared_config: SharedConfig | None = None,
    on_progress: Callable[[SessionStats], None] | None = None,
    overwrite: bool = False,
    allow_hidden: bool = False,
) -> Path:
    """Download a torrent as :func:`download` does, without blocking the event loop.

    A download that is cancelled ends in order; the next one continues it.
    """
    check_path("save_path", save_path)
    chosen = _chosen(config, overwrite=overwrite, allow_hidden=allow_hidden)
    async with SharedResources(shared_config) as shared:
        session = await Session.create(source, shared, save_path=save_path, config=chosen)
        async with session:
            if on_progress is not None:
                await _report(session, on_progress)
            await session.wait_stopped()
        if on_progress is not None:
            on_progress(session.stats())
    return Path(save_path) / _top(session)


def _is_in_event_loop() -> bool:
    try:
        anyio.lowlevel.current_token()
    except anyio.NoEventLoopError:
        return False
    return True


def _chosen(config: SessionConfig | None, *, overwrite: bool, allow_hidden: bool) -> SessionConfig:
    chosen = config or SessionConfig()
    if overwrite or allow_hidden:
        chosen = replace(
            chosen,
            overwrite=overwrite or chosen.overwrite,
            allow_hidden=allow_hidden or chosen.allow_hidden,
        )
    chosen = replace(chosen, fetch_missing=True)  # that is what was asked for
    if chosen.seed_ratio is chosen.seed_time_s is chosen.seed_idle_s is None:
        chosen = replace(chosen, seed_time_s=0.0)
    return chosen


def has_uvloop() -> bool:
    """Return whether the faster event loop can be used here."""
    try:
        import uvloop
    except ImportError:
        return False
    return uvloop is not None


def _top(session: Session) -> Path:
    """Return the file, or the folder of several, below the save path."""
    metainfo = session.metainfo
    if metainfo is None:
        raise SessionError("stopped before its metadata came")
    if not metainfo.is_multi_file:
        return Path(*path_in_use(metainfo, 0, session.admin.file_names.in_use()))
    return Path(path_in_use(metainfo, 0, {})[0])


async def _report(session: Session, on_progress: Callable[[SessionStats], None]) -> None:
    """Call ``on_progress`` now and then until the Session has ended."""
    while session.state not in {State.STOPPED, State.ERROR}:
        on_progress(session.stats())
        with anyio.move_on_after(REPORT_INTERVAL_S):
            await session.wait(State.STOPPED, State.ERROR)
