"""Categories and tags."""

from typing import Any

from torrent_engine.base.errors import ConfigError
from torrent_engine.daemon.qbittorrent.errors import bad_request, conflict
from torrent_engine.daemon.qbittorrent.params import FormParams
from torrent_engine.daemon.qbittorrent.transport import (
    WebApiCall,
    WebApiResult,
    WebApiRoute,
    reads,
    writes,
)
from torrent_engine.daemon.qbittorrent.web_api_parts import WebApiParts
from torrent_engine.daemon.state.labels import Category, check_name
from torrent_engine.daemon.state.rows import StateRow


class CategoriesAndTags:
    """Changes and tells categories and tags."""

    def __init__(self, parts: WebApiParts) -> None:
        self._parts = parts
        self._labels = parts.state.labels

    def routes(self) -> list[WebApiRoute]:
        """Return the routes."""
        return [
            reads("torrents/categories", self.categories),
            writes("torrents/setCategory", self.set_category),
            writes("torrents/createCategory", self.create_category),
            writes("torrents/editCategory", self.edit_category),
            writes("torrents/removeCategories", self.remove_categories),
            reads("torrents/tags", self.tags),
            writes("torrents/createTags", self.create_tags),
            writes("torrents/deleteTags", self.delete_tags),
            writes("torrents/addTags", self.add_tags),
            writes("torrents/removeTags", self.remove_tags),
            writes("torrents/setTags", self.set_tags),
        ]

    # -- categories -----------------------------------------------------------------------------

    async def categories(self, call: WebApiCall) -> WebApiResult:
        """Return the categories by their names."""
        return category_values(self._parts.categories())

    async def set_category(self, call: WebApiCall) -> WebApiResult:
        """Put torrents into a category; "" puts them into none."""
        name = call.params.needed("category").strip()
        rows = self._parts.rows(call.params)
        if name and name not in self._names():
            raise conflict("Incorrect category name")

        async def put(row: StateRow) -> None:
            self._labels.set_category(row.info_hash, name)

        await self._parts.each(rows, put)
        return None

    async def create_category(self, call: WebApiCall) -> WebApiResult:
        """Add a category."""
        name = _category_of(call.params)
        if name in self._names():
            raise conflict("Unable to create category")
        await self._parts.make_category(name, call.params.text("savePath").strip())
        return None

    async def edit_category(self, call: WebApiCall) -> WebApiResult:
        """Change where files of a category go."""
        name, path = _category_of(call.params), call.params.needed("savePath").strip()
        if name not in self._names():
            raise conflict("Unable to edit category")
        await self._parts.make_category(name, path)
        return None

    async def remove_categories(self, call: WebApiCall) -> WebApiResult:
        """Remove categories, with line ends between; those of the configuration file stay."""
        call.params.needed("categories")
        for name in call.params.parts("categories", "\n"):
            self._labels.remove_category(name)
        return None

    def _names(self) -> set[str]:
        return {each.name for each in self._parts.categories()}

    # -- tags -----------------------------------------------------------------------------------

    async def tags(self, call: WebApiCall) -> WebApiResult:
        """Return all tags."""
        return list(self._labels.labels())

    async def create_tags(self, call: WebApiCall) -> WebApiResult:
        """Add tags; those that are there stay."""
        for name in _tags_of(call.params):
            self._labels.put_label(name)
        return None

    async def delete_tags(self, call: WebApiCall) -> WebApiResult:
        """Remove tags, from their torrents too."""
        call.params.needed("tags")
        for name in call.params.parts("tags", ","):
            self._labels.remove_label(name)
        return None

    async def add_tags(self, call: WebApiCall) -> WebApiResult:
        """Give torrents more tags."""
        tags = _tags_of(call.params)

        async def add(row: StateRow) -> None:
            self._labels.add_labels(row.info_hash, tags)

        await self._parts.each(self._parts.rows(call.params), add)
        return None

    async def remove_tags(self, call: WebApiCall) -> WebApiResult:
        """Take tags from torrents; all of theirs if none is named."""
        tags = call.params.parts("tags", ",")

        async def remove(row: StateRow) -> None:
            self._labels.remove_labels(row.info_hash, tags or row.user.labels)

        await self._parts.each(self._parts.rows(call.params), remove)
        return None

    async def set_tags(self, call: WebApiCall) -> WebApiResult:
        """Give torrents these tags and no others."""
        tags = _tags_of(call.params)

        async def put(row: StateRow) -> None:
            self._labels.set_labels(row.info_hash, tags)

        await self._parts.each(self._parts.rows(call.params), put)
        return None


def category_values(categories: list[Category]) -> dict[str, Any]:
    """Return categories by their names."""
    return {each.name: {"name": each.name, "savePath": each.save_path} for each in categories}


def _category_of(params: FormParams) -> str:
    name = params.needed("category").strip()
    if not name:
        raise bad_request("Category cannot be empty")
    try:
        return check_name("category", name)
    except ConfigError:
        raise conflict("Incorrect category name") from None


def _tags_of(params: FormParams) -> list[str]:
    params.needed("tags")
    return [check_name("label", name) for name in params.parts("tags", ",")]
