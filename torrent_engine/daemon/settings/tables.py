"""Settings that are lists of tables: watched folders, listeners, categories, hooks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from torrent_engine.daemon.settings.fields import Spec, setting, specs_of


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """A watched folder."""

    folder: str = setting("", "The folder.", file_only=True)
    category: str = setting("", "Category of its torrents.", file_only=True)
    labels: tuple[str, ...] = setting((), "Labels of its torrents.", file_only=True)
    paused: bool = setting(False, "Add paused.", file_only=True)
    delete: bool = setting(False, "Delete what was added.", file_only=True)
    save_path: str = setting("", "Where its torrents are saved.", file_only=True)


@dataclass(frozen=True, slots=True)
class CategorySettings:
    """A category that is always there."""

    name: str = setting("", "The name.", file_only=True)
    save_path: str = setting("", "Where its torrents are saved.", file_only=True)
    download_kb_s: int = setting(0, "Download rate of each.", file_only=True, minimum=0)
    upload_kb_s: int = setting(0, "Upload rate of each.", file_only=True, minimum=0)
    ratio: float | None = setting(None, "Ratio at which seeding ends.", file_only=True, minimum=0)
    time_min: int | None = setting(None, "Time of seeding.", file_only=True, minimum=0)


@dataclass(frozen=True, slots=True)
class BlocklistSettings:
    """A list of refused addresses that is fetched again and again."""

    url: str = setting("", "Where it is fetched.", file_only=True)
    file: str = setting("", "Or where it lies.", file_only=True)
    every: str = setting("24h", "How often: a number with m, h or d.", file_only=True)


@dataclass(frozen=True, slots=True)
class HookSettings:
    """A program that is run at an event."""

    event: str = setting(
        "", "When it is run.", file_only=True,
        choices=(
            "torrent_added", "metadata_received", "torrent_completed", "seeding_finished",
            "torrent_removed", "torrent_error", "file_completed", "disk_low", "daemon_started",
            "daemon_stopping",
        ),
    )  # fmt: skip
    command: tuple[str, ...] = setting((), "Program and arguments.", file_only=True)
    timeout_s: int = setting(300, "Time after which it is ended.", file_only=True, minimum=1)
    parallel: int = setting(2, "How many run at once.", file_only=True, minimum=1, maximum=64)
    labels: tuple[str, ...] = setting((), "Only torrents with one of these.", file_only=True)
    categories: tuple[str, ...] = setting((), "Only torrents of these.", file_only=True)
    env: tuple[str, ...] = setting((), "Further variables, NAME=VALUE.", file_only=True)


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """One more address, or unix socket, with what is served there and to whom."""

    address: str = setting("", "HOST:PORT of the HTTP interfaces.", file_only=True)
    socket: str = setting("", "Or the path of a unix socket.", file_only=True)
    serves: tuple[str, ...] = setting(
        (), "Interfaces that are served: ui, api, transmission, qbittorrent, stream, metrics;"
        " empty: all.", file_only=True,
    )  # fmt: skip
    web_root: str = setting(
        "", "Folder of a web interface that is served at / in the place of the page.",
        file_only=True,
    )  # fmt: skip
    hosts: tuple[str, ...] = setting((), "Names; empty: those of [listen].", file_only=True)
    origins: tuple[str, ...] = setting((), "Sites; empty: those of [listen].", file_only=True)
    allow_from: tuple[str, ...] = setting(
        (), "Networks that may ask; empty: those of [listen].", file_only=True
    )
    tls: bool | None = setting(
        None, "Whether it is HTTPS; not set: if there is a certificate, here or in [tls].",
        file_only=True,
    )  # fmt: skip
    certificate: str = setting("", "File of a certificate chain of its own.", file_only=True)
    key: str = setting("", "File of its private key.", file_only=True)
    allow_plain_http: bool = setting(
        False, "Allow HTTP without TLS beyond this machine.", file_only=True
    )


@dataclass(frozen=True, slots=True)
class TableSettings:
    """All lists of tables; they stand in the configuration file only."""

    watch: tuple[WatchSettings, ...] = ()
    category: tuple[CategorySettings, ...] = ()
    blocklist: tuple[BlocklistSettings, ...] = ()
    hook: tuple[HookSettings, ...] = ()
    listeners: tuple[ListenerSettings, ...] = ()


KINDS: Final[dict[str, type]] = {
    "watch": WatchSettings,
    "category": CategorySettings,
    "blocklist": BlocklistSettings,
    "hook": HookSettings,
    "listeners": ListenerSettings,
}
REQUIRED: Final[dict[str, tuple[str, ...]]] = {
    "watch": ("folder",),
    "category": ("name",),
    "blocklist": (),
    "hook": ("event", "command"),
    "listeners": (),
}
TABLE_SPECS: Final[dict[str, dict[str, Spec]]] = {
    name: {spec.key.partition(".")[2]: spec for spec in specs_of(name, kind)}
    for name, kind in KINDS.items()
}


@dataclass(slots=True)
class ReadTables:
    """Lists of tables as a file has them, with what is wrong with them."""

    found: dict[str, list[object]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def settings(self) -> TableSettings:
        """Return them."""
        return TableSettings(**{name: tuple(each) for name, each in self.found.items()})  # type: ignore[arg-type]


def read_row(name: str, row: Mapping[str, object]) -> tuple[object | None, Sequence[str]]:
    """Return one table in its own type, or what is wrong with it."""
    specs, values, wrong = TABLE_SPECS[name], {}, []
    for key, value in row.items():
        if key in specs:
            try:
                values[key] = specs[key].read(value)
            except ValueError as error:
                wrong.append(f"{key}: {error}")
    wrong += [f"{key}: is missing" for key in REQUIRED[name] if not row.get(key)]
    return (None, wrong) if wrong else (KINDS[name](**values), ())
