"""The settings with their origins: ``/api/v1/settings``."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from torrent_engine.daemon.api.requests import Input, principal_in
from torrent_engine.daemon.problems import Problem, ProblemError
from torrent_engine.daemon.security.access import needs
from torrent_engine.daemon.security.principals import Scope
from torrent_engine.daemon.settings.schema import settings_schema
from torrent_engine.daemon.settings.store import SettingView

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext
    from torrent_engine.daemon.security.principals import Principal

_OF_ADMINISTRATORS: Final = ("listen.", "auth.", "stream.public_url")
_FOLDERS: Final = ("download", "incomplete", "torrents_copy")


class AltSpeedInput(Input):
    """Whether the alternative speeds hold; null: what they do not now."""

    enabled: bool | None = None


def router(context: "DaemonContext") -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api/v1/settings", tags=["settings"])

    @routes.get("")
    @needs(Scope.READ)
    async def show() -> Response:
        """Return each setting with its value, where it comes from, and when a change applies."""
        return JSONResponse(_shown(context))

    @routes.patch("")
    @needs(Scope.SETTINGS)
    async def change(values: dict[str, Any], request: Request) -> Response:
        """Change settings, all or none; null resets one that has no empty value.

        Those of who is let in (``listen``, ``auth``) need the scope ``admin``.
        """
        by = principal_in(request)
        await _check_allowed(context, by, values)
        changed = context.settings_store.change(values, by.name)
        report = {
            "live": sorted(changed.live),
            "restart": sorted(changed.restart),
            "process": sorted(changed.process),
        }
        return JSONResponse({**_shown(context), "changed": report})

    @routes.post("/alt_speed")
    @needs(Scope.SETTINGS)
    async def switch_alt_speed(request: Request, given: AltSpeedInput | None = None) -> Response:
        """Switch the alternative speeds on or off, or over; until the schedule changes next."""
        speeds = None if context.background is None else context.background.speeds
        is_on = context.settings().limits.alt_enabled if speeds is None else speeds.is_on
        wanted = not is_on if given is None or given.enabled is None else given.enabled
        values = {"limits.alt_enabled": wanted}
        context.settings_store.change(values, principal_in(request).name)
        if speeds is not None:
            speeds.switch(is_on=wanted)
        return JSONResponse({"enabled": wanted})

    @routes.delete("/{key}")
    @needs(Scope.SETTINGS)
    async def reset(key: str, request: Request) -> Response:
        """Return one setting to what files and defaults say."""
        await _check_allowed(context, principal_in(request), {key: None})
        context.settings_store.reset(key)
        return JSONResponse(_setting(context.settings_store.view(key)))

    @routes.get("/schema")
    @needs(Scope.READ)
    async def schema() -> Response:
        """Return the JSON Schema of the settings."""
        return JSONResponse(settings_schema())

    return routes


async def _check_allowed(
    context: "DaemonContext", by: "Principal", values: Mapping[str, object]
) -> None:
    """Raise ProblemError for settings of who is let in, and for folders of others."""
    guarded = sorted(key for key in values if key.startswith(_OF_ADMINISTRATORS))
    if guarded and not by.allows(Scope.ADMIN):
        detail = f"{guarded[0]:.80}: the scope 'admin' is needed"
        raise ProblemError(Problem("forbidden", detail, extra={"scope": Scope.ADMIN.value}))
    configured = context.settings_store.configured.paths
    for name in _FOLDERS:
        path = values.get(f"paths.{name}")
        is_same = path == getattr(configured, name)
        if not isinstance(path, str) or not path or is_same:
            continue
        if not await context.paths.allows(path):
            detail = f"paths.{name}: not below an allowed folder, see paths.allowed"
            raise ProblemError(Problem("path_not_allowed", detail))


def _shown(context: "DaemonContext") -> dict[str, Any]:
    views = context.settings_store.views()
    return {
        "settings": {view.key: _setting(view) for view in views},
        "rev": f"{context.life.epoch}.{context.settings_store.revision}",
    }


def _setting(view: SettingView) -> dict[str, Any]:
    return {
        "value": view.value,
        "default": view.default,
        "origin": view.origin,
        "pinned": view.is_pinned,
        "file_only": view.is_file_only,
        "applies": view.applies.value,
        "changed_by": view.changed_by,
        "changed_at": view.changed_at,
    }
