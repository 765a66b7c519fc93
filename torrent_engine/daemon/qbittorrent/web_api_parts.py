"""What the parts of this interface share: the daemon, its torrents by hash, its settings."""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from torrent_engine.base.errors import TorrentEngineError, UnknownTorrentError
from torrent_engine.daemon.common.add_defaults import AddDefaults
from torrent_engine.daemon.qbittorrent.errors import not_found
from torrent_engine.daemon.qbittorrent.params import FormParams
from torrent_engine.daemon.qbittorrent.session_counts import SessionCounts
from torrent_engine.daemon.qbittorrent.torrent_fields import (
    FieldSource,
    GeneralLimits,
    WebApiField,
    encoder,
)
from torrent_engine.daemon.settings.engine_config import download_folder
from torrent_engine.daemon.state.labels import Category
from torrent_engine.daemon.state.rows import StateRow
from torrent_engine.daemon.state.shapes import Shape

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext

ALL = "all"
DoneToRow = Callable[[StateRow], Awaitable[object]]


class WebApiParts:
    """The daemon as the parts of this interface see it."""

    def __init__(
        self, context: "DaemonContext", wall_clock: Callable[[], float] = time.time
    ) -> None:
        self.context = context
        self.port = context.port
        self.state = context.state
        self.defaults = AddDefaults(context.settings_store, context.state.labels)
        self.counts = SessionCounts(context.state.torrents)
        self.wall_clock = wall_clock
        context.on_open.append(self.counts.opened)

    def general(self) -> GeneralLimits:
        """Return the settings that fields of torrents depend on."""
        now = self.context.settings()
        seeding, queue = now.seeding, now.queue
        return GeneralLimits(
            seeding.ratio,
            seeding.time_min,
            seeding.idle_min,
            bool(queue.downloads or queue.seeds or queue.active),
            now.limits.peers_per_torrent,
        )

    def source(self, *, has_secrets: bool) -> FieldSource:
        """Return what fields are told from."""
        return FieldSource(
            self.port.torrents, self.counts, self.wall_clock, self.general(), has_secrets
        )

    def shape(self, name: str, source: FieldSource, fields: Mapping[str, WebApiField]) -> Shape:
        """Return rows as JSON with some fields, encoded once; ``name`` stands for the fields."""
        key = ("qbittorrent", name, source.general, source.has_secrets)
        return self.state.shapes.get(key, encoder(source, fields))

    # -- torrents by hash -----------------------------------------------------------------------

    def row(self, text: str) -> StateRow:
        """Return the torrent of a hash. Raises WebApiError if there is none."""
        found = self.row_or_none(text)
        if found is None:
            raise not_found()
        return found

    def row_of(self, params: FormParams) -> StateRow:
        """Return the torrent that the parameter "hash" names. Raises WebApiError."""
        return self.row(params.needed("hash"))

    def row_or_none(self, text: str) -> StateRow | None:
        """Return the torrent of a hash; None if there is none."""
        return self.state.torrents.named(text.strip())

    def rows(self, params: FormParams, name: str = "hashes") -> list[StateRow]:
        """Return the torrents that a parameter names: hashes with "|" between, or "all".

        Hashes of no torrent are ignored. Raises WebApiError without the parameter.
        """
        params.needed(name)
        hashes = params.parts(name)
        if hashes == [ALL]:
            return self.state.torrents.rows()
        found = (self.row_or_none(each) for each in dict.fromkeys(hashes))
        return list({row.info_hash: row for row in found if row is not None}.values())

    async def each(self, rows: list[StateRow], action: DoneToRow) -> None:
        """Do something to torrents; what fails with one does not keep it from others.

        Raises the first error at the end.
        """
        failed: TorrentEngineError | None = None
        for row in rows:
            try:
                await action(row)
            except UnknownTorrentError:
                pass  # removed meanwhile
            except TorrentEngineError as error:
                failed = failed or error
            self.state.look(row.info_hash)
        if failed is not None:
            raise failed

    def keep_switch(self, row: StateRow, key: str, *, is_on: bool) -> None:
        """Keep a switch with a torrent."""
        kept = {name: value for name, value in row.user.other if name != key}
        if is_on:
            kept[key] = "1"
        user = replace(row.user, other=tuple(sorted(kept.items())))
        self.port.settings.set_user_data(row.info_hash, user.values())
        self.state.look(row.info_hash)

    # -- categories -----------------------------------------------------------------------------

    def categories(self) -> list[Category]:
        """Return the categories of users, and those of the configuration file."""
        found = {each.name: each for each in self.state.labels.categories()}
        for each in self.context.settings_store.tables.category:
            found.setdefault(each.name, Category(each.name, each.save_path))
        return [found[name] for name in sorted(found)]

    async def make_category(self, name: str, save_path: str) -> None:
        """Add a category, or change where its files go. Raises ConfigError or ProblemError."""
        labels = self.state.labels
        if save_path:
            folder = download_folder(self.context.settings())
            await self.context.paths.checked(str(folder / save_path))
        base = labels.category(name) or Category(name)
        labels.put_category(replace(base, save_path=save_path))
