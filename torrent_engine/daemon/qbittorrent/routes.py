"""The routes below ``/api/v2``."""

from typing import TYPE_CHECKING

from fastapi import APIRouter

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext


def router(context: "DaemonContext") -> APIRouter:
    """Return the routes; none unless the interface is switched on, and then nothing is imported."""
    if not context.settings().qbittorrent.enabled:
        return APIRouter()
    from torrent_engine.daemon.qbittorrent.web_api import make_router

    return make_router(context)
