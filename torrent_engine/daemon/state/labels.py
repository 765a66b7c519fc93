"""Categories and labels: those that exist, and which torrent has which.

What a torrent has is in its record in the engine's database; the names, and where the files of a
category go, are in the daemon's. A torrent has at most one category and any number of labels.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from torrent_engine.base.errors import ConfigError
from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.engine_port.port import TorrentSettings
from torrent_engine.daemon.engine_port.user_data import UserData
from torrent_engine.daemon.settings.engine_config import KB
from torrent_engine.daemon.settings.tables import CategorySettings
from torrent_engine.daemon.state.rows import StateRow
from torrent_engine.daemon.state.store import StoredTable
from torrent_engine.daemon.state.torrent_table import TorrentTable

MAX_NAME_CHARS: Final = 255
MAX_LABELS: Final = 64  # ours: of one torrent
MAX_NAMES: Final = 10_000  # ours: of labels, and as many of categories
CATEGORIES: Final = "categories"
LABELS: Final = "labels"


@dataclass(frozen=True, slots=True)
class Category:
    """A name with what torrents get that are added with it; None: as configured for all."""

    name: str
    save_path: str = ""
    """Absolute or below the folder of downloads; "": that folder."""
    max_download_bytes_per_s: int | None = None
    max_upload_bytes_per_s: int | None = None
    seed_ratio: float | None = None
    seed_time_s: float | None = None
    seed_idle_s: float | None = None


def check_name(kind: str, name: str) -> str:
    """Return a name. Raises ConfigError if it cannot be one of a category or label."""
    if not name or len(name) > MAX_NAME_CHARS or not name.isprintable() or name != name.strip():
        raise ConfigError(f"{kind}: {name!r:.80} cannot be a name")
    if kind == "category" and ("\\" in name or "//" in name or name[0] == "/" or name[-1] == "/"):
        raise ConfigError(f"category: {name!r:.80} cannot be a name")
    if kind == "label" and "," in name:
        raise ConfigError(f"label: {name!r:.80} has a comma, which separates labels")
    return name


class Labelling:
    """Categories and labels; ``changed(topic)`` is called when the names change.

    ``look`` brings the row of a torrent up to date after its labels were changed.
    """

    def __init__(
        self,
        table: TorrentTable,
        settings: TorrentSettings,
        tables: tuple[StoredTable, StoredTable],
        *,
        look: Callable[[InfoHash], None],
        changed: Callable[[str], None],
    ) -> None:
        self._table = table
        self._settings = settings
        self._categories, self._labels = tables
        self._look = look
        self._changed = changed
        self._configured: Mapping[str, Category] = {}

    # -- names ----------------------------------------------------------------------------------

    def configure(self, tables: Iterable[CategorySettings]) -> None:
        """Let there be the categories of the configuration file, whatever users remove.

        What users say of one counts more, value by value.
        """
        configured = {each.name: configured_category(each) for each in tables if each.name}
        if configured != self._configured:
            self._configured = configured
            self._changed(CATEGORIES)

    def categories(self) -> list[Category]:
        """Return all categories by their names."""
        names = {*self._configured, *(name for name, _ in self._categories.items())}
        found = (self.category(name) for name in sorted(names))
        return [each for each in found if each is not None]

    def category(self, name: str) -> Category | None:
        """Return one category; None if there is none of this name."""
        configured = self._configured.get(name)
        if name not in self._categories:
            return configured
        return _read_category(name, self._categories.get(name), configured or Category(name))

    def put_category(self, category: Category) -> None:
        """Add or replace a category; torrents that are there stay where they are."""
        check_name("category", category.name)
        if category != self.category(category.name):
            _check_room(self._categories, [category.name])
            values = {key: value for key, value in asdict(category).items() if key != "name"}
            self._categories.put(category.name, values)
            self._changed(CATEGORIES)

    def remove_category(self, name: str) -> bool:
        """Remove a category, from its torrents too; False if it is not there."""
        for row in self._rows_of(lambda row: row.user.category == name):
            self._set(row, replace(row.user, category=""))
        is_there = self._categories.drop(name)
        if is_there:
            self._changed(CATEGORIES)
        return is_there

    def labels(self) -> dict[str, int]:
        """Return all labels, each with how many torrents have it, by their names."""
        counts = {name: 0 for name, _ in self._labels.items()} | self._table.names.labels()
        return dict(sorted(counts.items()))

    def category_counts(self) -> dict[str, int]:
        """Return how many torrents each category has; "" stands for none."""
        return {each.name: 0 for each in self.categories()} | self._table.names.categories()

    def put_label(self, name: str) -> bool:
        """Add a label; False if it is there already."""
        if check_name("label", name) in self._labels:
            return False
        _check_room(self._labels, [name])
        self._labels.put(name, {})
        self._changed(LABELS)
        return True

    def note_labels(self, names: Iterable[str]) -> None:
        """Add the labels of a new torrent, as many as there is room for: it has them anyway."""
        with suppress(ConfigError):
            for name in names:
                self.put_label(name)

    def rename_label(self, name: str, new: str) -> bool:
        """Give a label another name, in its torrents too; False if it is not there.

        If there is a label of the new name, the two become one. Raises ConfigError for a name
        that cannot be one.
        """
        check_name("label", new)
        rows = self._rows_of(lambda row: name in row.user.labels)
        if not rows and name not in self._labels:
            return False
        if name not in self._labels:
            _check_room(self._labels, [new])
        for row in rows:
            renamed = (new if each == name else each for each in row.user.labels)
            self._set(row, replace(row.user, labels=tuple(dict.fromkeys(renamed))))
        if name != new:
            self._labels.drop(name)
        self._labels.put(new, {})
        self._changed(LABELS)
        return True

    def remove_label(self, name: str) -> bool:
        """Remove a label, from its torrents too; False if nobody has it and it is not there."""
        rows = self._rows_of(lambda row: name in row.user.labels)
        for row in rows:
            left = tuple(each for each in row.user.labels if each != name)
            self._set(row, replace(row.user, labels=left))
        is_there = self._labels.drop(name)
        if is_there:
            self._changed(LABELS)
        return is_there or bool(rows)

    # -- of torrents ----------------------------------------------------------------------------

    def set_category(self, info_hash: InfoHash, name: str) -> None:
        """Put a torrent into a category, which is made if need be; "": into none."""
        if name and self.category(name) is None:
            self.put_category(Category(name))
        row = self._row(info_hash)
        if row is not None and row.user.category != name:
            self._set(row, replace(row.user, category=name))

    def set_labels(self, info_hash: InfoHash, labels: Iterable[str]) -> None:
        """Give a torrent these labels and no others; new ones are added to the names."""
        chosen = tuple(dict.fromkeys(check_name("label", each) for each in labels))
        if len(chosen) > MAX_LABELS:
            raise ConfigError(f"labels: {len(chosen)}; a torrent has at most {MAX_LABELS}")
        _check_room(self._labels, chosen)
        for each in chosen:
            self.put_label(each)
        row = self._row(info_hash)
        if row is not None and row.user.labels != chosen:
            self._set(row, replace(row.user, labels=chosen))

    def add_labels(self, info_hash: InfoHash, labels: Iterable[str]) -> None:
        """Give a torrent more labels."""
        row = self._row(info_hash)
        self.set_labels(info_hash, (*(() if row is None else row.user.labels), *labels))

    def remove_labels(self, info_hash: InfoHash, labels: Iterable[str]) -> None:
        """Take labels from a torrent."""
        row, gone = self._row(info_hash), set(labels)
        kept = () if row is None else row.user.labels
        self.set_labels(info_hash, [each for each in kept if each not in gone])

    def set_user_data(self, info_hash: InfoHash, **changes: Any) -> None:  # noqa: ANN401 - fields
        """Change fields of :class:`UserData` of a torrent: ``comment``, ``name``, ``other``."""
        row = self._row(info_hash)
        if row is not None:
            self._set(row, replace(row.user, **changes))

    def _row(self, info_hash: InfoHash) -> StateRow | None:
        """Return the row of a torrent, that of a new one too; None if it is gone."""
        if info_hash not in self._table:
            self._look(info_hash)
        return self._table.get(info_hash)

    def _rows_of(self, wanted: Callable[[StateRow], bool]) -> list[StateRow]:
        return [row for row in self._table if wanted(row)]

    def _set(self, row: StateRow, user: UserData) -> None:
        self._settings.set_user_data(row.info_hash, user.values())
        self._look(row.info_hash)


def _check_room(table: StoredTable, names: Iterable[str]) -> None:
    """Raise ConfigError if there would be too many names with these."""
    new = sum(name not in table for name in names)
    if new and len(table) + new > MAX_NAMES:
        raise ConfigError(f"{table.name}: at most {MAX_NAMES} names are kept; remove some first")


_FIELDS: Final = {each.name for each in fields(Category)} - {"name"}


def configured_category(table: CategorySettings) -> Category:
    """Return a category of the configuration file; a rate of 0 is as for all torrents."""
    seconds = None if table.time_min is None else table.time_min * 60.0
    path = str(Path(table.save_path).expanduser()) if table.save_path else ""
    return Category(
        table.name,
        path,
        table.download_kb_s * KB or None,
        table.upload_kb_s * KB or None,
        table.ratio,
        seconds,
    )


def _read_category(name: str, value: object, base: Category) -> Category:
    """Return a saved category over another; what is not known is left out."""
    known = value if isinstance(value, dict) else {}
    said = {key: each for key, each in known.items() if key in _FIELDS}
    return replace(base, **{key: each for key, each in said.items() if each not in (None, "")})
