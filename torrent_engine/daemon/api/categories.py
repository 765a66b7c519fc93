"""Categories, with what their torrents get, and labels."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Path
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from torrent_engine.daemon.api.answers import further_answers
from torrent_engine.daemon.api.requests import Input
from torrent_engine.daemon.api.torrent_changes import MAX_RATE, SeedRulesPatch
from torrent_engine.daemon.api.torrent_fields import seed_rules_value
from torrent_engine.daemon.common.replies import json_bytes, json_reply
from torrent_engine.daemon.engine_port.facts import SeedRules
from torrent_engine.daemon.problems import Problem, ProblemError
from torrent_engine.daemon.security.access import needs
from torrent_engine.daemon.security.principals import Scope
from torrent_engine.daemon.settings.engine_config import download_folder
from torrent_engine.daemon.state.labels import Category

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext

_Name = Annotated[str, Path(min_length=1, max_length=255)]
_Rate = Annotated[int, Field(ge=0, le=MAX_RATE)]
_MERGE = frozenset({"application/json", "application/merge-patch+json"})
_RATES = {
    "download_bytes_per_s": "max_download_bytes_per_s",
    "upload_bytes_per_s": "max_upload_bytes_per_s",
}


_NO_RULES = SeedRulesPatch(ratio=None, time_s=None, idle_s=None)


class CategoryInput(Input):
    """What torrents of a category get; null is as for all torrents."""

    save_path: str = Field(default="", max_length=4_096)
    """Absolute, or below the folder of downloads; "": that folder."""
    download_bytes_per_s: _Rate | None = None
    upload_bytes_per_s: _Rate | None = None
    seed_rules: SeedRulesPatch | None = None


class LabelInput(Input):
    """The name of a label."""

    name: str = Field(min_length=1, max_length=255)


_NEW: Final = further_answers(201, media_type="")


def router(context: "DaemonContext") -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api/v1", tags=["categories"])
    _add_category_routes(routes, CategoryEditor(context))
    _add_label_routes(routes, context)
    return routes


def _add_category_routes(routes: APIRouter, categories: "CategoryEditor") -> None:
    @routes.get("/categories")
    @needs(Scope.READ)
    async def list_categories(request: Request) -> Response:
        """Return all categories, each with how many torrents it has."""
        return await json_reply(request, json_bytes({"items": categories.values()}))

    @routes.get("/categories/{name:path}")
    @needs(Scope.READ)
    async def get_category(request: Request, name: _Name) -> Response:
        """Return one category."""
        return await json_reply(request, json_bytes(categories.value(categories.find(name))))

    @routes.put("/categories/{name:path}", responses=further_answers(201))
    @needs(Scope.CONTROL)
    async def put_category(request: Request, name: _Name, given: CategoryInput) -> Response:
        """Add a category, or replace it."""
        status = 200 if await categories.put(Category(name), given) else 201
        told = categories.value(categories.find(name))
        return await json_reply(request, json_bytes(told), status=status)

    @routes.patch("/categories/{name:path}")
    @needs(Scope.CONTROL, media_types=_MERGE)
    async def change_category(request: Request, name: _Name, given: CategoryInput) -> Response:
        """Change a category; what is not named stays as it is."""
        await categories.put(categories.find(name), given)
        return await json_reply(request, json_bytes(categories.value(categories.find(name))))

    @routes.delete("/categories/{name:path}", status_code=204)
    @needs(Scope.CONTROL)
    async def remove_category(name: _Name) -> Response:
        """Remove a category; its torrents stay, in none."""
        categories.remove(name)
        return Response(status_code=204)


def _add_label_routes(routes: APIRouter, context: "DaemonContext") -> None:
    labels = context.state.labels

    @routes.get("/labels")
    @needs(Scope.READ)
    async def list_labels(request: Request) -> Response:
        """Return all labels, each with how many torrents have it."""
        told = [{"name": name, "torrents": count} for name, count in labels.labels().items()]
        return await json_reply(request, json_bytes({"items": told}))

    @routes.put("/labels/{name:path}", status_code=204, responses=_NEW)
    @needs(Scope.CONTROL)
    async def put_label(name: _Name) -> Response:
        """Add a label; 201 if it is new."""
        return Response(status_code=201 if labels.put_label(name) else 204)

    @routes.patch("/labels/{name:path}", status_code=204)
    @needs(Scope.CONTROL, media_types=_MERGE)
    async def rename_label(name: _Name, given: LabelInput) -> Response:
        """Give a label another name, in its torrents too; one of that name becomes one with it."""
        if not labels.rename_label(name, given.name):
            raise ProblemError(Problem("not_found", "there is no such label"))
        return Response(status_code=204)

    @routes.delete("/labels/{name:path}", status_code=204)
    @needs(Scope.CONTROL)
    async def remove_label(name: _Name) -> Response:
        """Remove a label, from its torrents too."""
        if not labels.remove_label(name):
            raise ProblemError(Problem("not_found", "there is no such label"))
        return Response(status_code=204)


class CategoryEditor:
    """Finds categories, and changes them."""

    def __init__(self, context: "DaemonContext") -> None:
        self._context = context
        self._labels = context.state.labels

    def find(self, name: str) -> Category:
        """Return a category. Raises ProblemError if it is not there."""
        category = self._labels.category(name)
        if category is None:
            raise ProblemError(Problem("not_found", "there is no such category"))
        return category

    def values(self) -> list[dict[str, Any]]:
        """Return all categories as they are told."""
        counts = self._labels.category_counts()
        return [category_value(each, counts) for each in self._labels.categories()]

    def value(self, category: Category) -> dict[str, Any]:
        """Return one category as it is told."""
        return category_value(category, self._labels.category_counts())

    async def put(self, base: Category, given: CategoryInput) -> bool:
        """Set what is named, over another category; return whether there was one of the name."""
        said = given.model_fields_set
        changes: dict[str, Any] = {
            field: getattr(given, name) for name, field in _RATES.items() if name in said
        }
        if "save_path" in said:
            changes["save_path"] = given.save_path
            await self._check_path(given.save_path)
        if "seed_rules" in said:
            changes |= _rules(given.seed_rules or _NO_RULES)
        is_there = self._labels.category(base.name) is not None
        self._labels.put_category(replace(base, **changes))
        return is_there

    async def _check_path(self, path: str) -> None:
        folder = download_folder(self._context.settings())
        if path:
            await self._context.paths.checked(str(folder / path))

    def remove(self, name: str) -> None:
        """Remove a category. Raises ProblemError if it is not there."""
        self.find(name)
        self._labels.remove_category(name)


def category_value(category: Category, counts: dict[str, int]) -> dict[str, Any]:
    """Return a category as it is told."""
    rules = SeedRules(category.seed_ratio, category.seed_time_s, category.seed_idle_s)
    return {
        "name": category.name,
        "save_path": category.save_path,
        "download_bytes_per_s": category.max_download_bytes_per_s,
        "upload_bytes_per_s": category.max_upload_bytes_per_s,
        "seed_rules": seed_rules_value(rules),
        "torrents": counts.get(category.name, 0),
    }


def _rules(given: SeedRulesPatch) -> dict[str, float | None]:
    changes: dict[str, float | None] = {}
    for name in given.model_fields_set:
        value = getattr(given, name)
        if isinstance(value, float | int) and not 0 <= value < math.inf:
            raise ProblemError(Problem("setting_invalid", f"seed_rules.{name} is out of range"))
        changes[f"seed_{name}"] = math.inf if value == "never" else value
    return changes
