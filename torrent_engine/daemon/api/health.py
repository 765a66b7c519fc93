"""The machine around the torrents: background parts, disks, folders and the network."""

import os
import shutil
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import anyio
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from torrent_engine.daemon.api.add_options import existing_parent
from torrent_engine.daemon.api.torrent_fields import timestamp
from torrent_engine.daemon.common.folder_entries import is_folder_entry
from torrent_engine.daemon.common.replies import json_bytes, json_reply
from torrent_engine.daemon.engine_port.facts import NetworkFacts
from torrent_engine.daemon.jobs.orphans import Orphan, OrphanFiles, OrphanPlaces
from torrent_engine.daemon.problems import Problem, ProblemError
from torrent_engine.daemon.security.access import needs
from torrent_engine.daemon.security.paths import PathRule
from torrent_engine.daemon.security.principals import Scope
from torrent_engine.daemon.settings.engine_config import download_folder
from torrent_engine.daemon.settings.store import SettingsStore

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext

MAX_FOLDERS: Final = 10_000  # ours: of one folder


def router(context: "DaemonContext") -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api/v1", tags=["health"])
    orphans = OrphanFiles(context.state, lambda: orphan_places(context.settings_store))

    @routes.get("/health")
    @needs(Scope.READ)
    async def get_health(request: Request) -> Response:
        """Return the state of each part, the space of each disk, and files without a torrent."""
        left = await orphan_values(orphans)
        disks = await disk_values(context.paths)
        parts = _parts(context)
        is_ok = all(not each["error"] for each in parts)
        told: dict[str, Any] = {
            "state": "ok" if is_ok else "degraded",
            "parts": parts,
            "disks": disks,
        }
        told["orphans"] = left
        return await json_reply(request, json_bytes(told))

    @routes.delete("/health/orphans")
    @needs(Scope.CONTROL)
    async def remove_orphans(
        request: Request, name: Annotated[list[str], Query(min_length=1, max_length=1_000)]
    ) -> Response:
        """Remove partial files without a torrent, by the names that are told of them."""
        try:
            removed = await orphans.remove(name)
        except OSError as error:
            raise ProblemError(Problem("io_error", f"not removed: {error.strerror}")) from None
        if not removed:
            raise ProblemError(Problem("file_not_found", "there is no such orphan"))
        return await json_reply(request, json_bytes({"removed": removed}))

    @routes.get("/network")
    @needs(Scope.READ)
    async def get_network(request: Request) -> Response:
        """Return how peers reach the daemon."""
        told = network_value(context.port.engine.network())
        return await json_reply(request, json_bytes(told))

    @routes.get("/paths")
    @needs(Scope.CONTROL)
    async def list_folders(
        request: Request, path: Annotated[str | None, Query(max_length=4_096)] = None
    ) -> Response:
        """Return the folders in a folder that may be named; without one, where they begin."""
        if path is None:
            told: dict[str, Any] = {"roots": [str(each) for each in context.paths.roots()]}
        else:
            folder = await context.paths.checked(path)
            told = await context.paths.look(path, folder_value, folder, context.paths)
        return await json_reply(request, json_bytes(told))

    return routes


def _parts(context: "DaemonContext") -> list[dict[str, Any]]:
    problem = context.state.store.problem
    parts = [
        {"name": "engine", "state": context.life.phase, "since": None, "error": "", "faults": 0},
        {
            "name": "database",
            "state": "running" if problem is None else "waiting",
            "since": None,
            "error": problem or "",
            "faults": int(problem is not None),
        },
    ]
    background = () if context.background is None else context.background.health()
    parts += [
        {
            "name": each.name,
            "state": each.state.value,
            "since": timestamp(each.since),
            "error": each.error if each.state.value == "waiting" else "",
            "faults": each.faults,
        }
        for each in background
    ]
    return parts


def orphan_places(store: SettingsStore) -> OrphanPlaces | None:
    """Return where partial files are, and the folders that people use."""
    settings, tables = store.now, store.tables
    if not settings.paths.incomplete:
        return None
    downloads = download_folder(settings)
    named = [*settings.paths.allowed, settings.paths.torrents_copy]
    named += [path for each in tables.watch for path in (each.folder, each.save_path)]
    spared = [downloads, *(Path(each).expanduser() for each in named if each)]
    spared += [downloads / Path(each.save_path).expanduser() for each in tables.category]
    incomplete = Path(settings.paths.incomplete).expanduser().absolute()
    return OrphanPlaces(incomplete, spared)


async def orphan_values(orphans: OrphanFiles) -> list[dict[str, Any]] | None:
    """Return the orphans as they are told; None if their disk does not answer."""
    try:
        return [orphan_value(each) for each in await orphans.find()]
    except (OSError, RuntimeError):  # links in a circle, too
        return None


def orphan_value(orphan: Orphan) -> dict[str, Any]:
    """Return an orphan as it is told."""
    return {
        "name": orphan.name,
        "path": str(orphan.path),
        "size_bytes": orphan.size_bytes,
        "changed_at": timestamp(orphan.changed_at),
    }


async def disk_values(rule: PathRule) -> list[dict[str, Any]]:
    """Return the allowed folders with the space of their disks."""
    told: dict[str, dict[str, Any]] = {}

    async def look(folder: Path) -> None:
        try:
            told[str(folder)] = await rule.look(folder, lambda: disk_value(folder.resolve()))
        except (ProblemError, OSError, RuntimeError):  # no answer in time; links in a circle
            told[str(folder)] = _no_space(folder)

    roots = rule.roots()
    async with anyio.create_task_group() as tasks:
        for root in roots:
            tasks.start_soon(look, root)
    return [told[str(root)] for root in roots]


def _no_space(folder: Path) -> dict[str, Any]:
    return {"path": str(folder), "free_bytes": None, "total_bytes": None}


def disk_value(folder: Path) -> dict[str, Any]:
    """Return a folder with the space of its disk; null where that cannot be told."""
    try:
        usage = shutil.disk_usage(existing_parent(folder))
    except OSError:
        return _no_space(folder)
    return {"path": str(folder), "free_bytes": usage.free, "total_bytes": usage.total}


def folder_value(folder: Path, rule: PathRule) -> dict[str, Any]:
    """Return a folder with those in it that may be named. Raises ProblemError if it is none."""
    try:
        found = _folders_in(folder)
    except OSError:
        raise ProblemError(Problem("file_not_found", "there is no such folder")) from None
    folders = [
        {"name": each.name, "path": str(each)} for each in found if rule.allows_now(str(each))
    ]
    parent = str(folder.parent)
    return {
        **disk_value(folder),
        "parent": parent if rule.allows_now(parent) else None,
        "folders": folders,
    }


def _folders_in(folder: Path) -> Sequence[Path]:
    with os.scandir(folder) as entries:
        names = [entry.name for entry in islice(entries, MAX_FOLDERS) if is_folder_entry(entry)]
    return [folder / name for name in sorted(names, key=str.casefold)]


def network_value(facts: NetworkFacts) -> dict[str, Any]:
    """Return how peers reach us; ``port`` sums up whether they do."""
    port = "likely" if facts.mapping == "mapped" else "unknown"
    return {
        "listen_port": facts.listen_port,
        "announced_port": facts.announced_port,
        "external_addresses": list(facts.external_addresses),
        "dht_nodes": facts.dht_nodes,
        "mapping": facts.mapping or None,
        "incoming_at": timestamp(facts.incoming_at),
        "port": "open" if facts.incoming_at else port,
    }
