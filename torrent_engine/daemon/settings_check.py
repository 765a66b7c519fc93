"""Everything that is wrong with settings, or wrong with them together, in one go."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from torrent_engine.base.errors import ConfigError
from torrent_engine.daemon.http.tls import server_context
from torrent_engine.daemon.jobs.background import hooks_of, interval_of
from torrent_engine.daemon.listeners import certificate_files, check_place, has_tls, listen_places
from torrent_engine.daemon.security.passwords import is_hash
from torrent_engine.daemon.settings.engine_config import manager_config, parse_node, parse_proxy
from torrent_engine.daemon.settings.loading import Places, SettingsError, all_sources
from torrent_engine.daemon.settings.merge import Merged, merge
from torrent_engine.daemon.settings.model import DaemonSettings
from torrent_engine.daemon.settings.tables import ListenerSettings
from torrent_engine.daemon.state.labels import check_name
from torrent_engine.daemon.wiring import networks, origin_rule, root_path, user_id

SettingsTest = Callable[[], object]
"""Raises ConfigError."""


def check_settings(merged: Merged, state_dir: Path) -> None:
    """Raise SettingsError with everything because of which the daemon cannot run."""
    if wrong := _errors_of(_checks(merged, state_dir)):
        raise SettingsError(wrong)


def check_sources(places: Places, state_dir: Path) -> Merged:
    """Return what files, environment and options say. Raises SettingsError with all errors.

    Certificates are read too: where the daemon runs already one that is wrong is a warning.
    """
    sources = all_sources(places)
    merged = merge(sources)
    wrong = [error for source in sources for error in source.errors]
    wrong += _errors_of(_checks(merged, state_dir))
    wrong += _errors_of(_certificate_checks(merged, state_dir))
    if wrong:
        raise SettingsError(list(dict.fromkeys(wrong)))
    return merged


def _errors_of(checks: Iterator[SettingsTest]) -> list[str]:
    """Return what each check says, each sentence once."""
    found: dict[str, None] = {}
    for check in checks:
        try:
            check()
        except ConfigError as error:
            found[str(error)] = None
    return list(found)


def _checks(merged: Merged, state_dir: Path) -> Iterator[SettingsTest]:
    settings, tables = merged.settings, merged.tables
    yield from _access_checks(settings)
    for place in listen_places(merged):
        yield partial(check_place, place, settings)
    for number, row in enumerate(tables.listeners, 1):
        name = f"[[listeners]] {number}"
        yield partial(origin_rule, f"{name}: origins", row.origins)
        yield partial(networks, f"{name}: allow_from", row.allow_from)
    if settings.network.proxy:
        yield partial(parse_proxy, settings.network.proxy)
    for node in settings.network.dht_bootstrap:
        yield partial(parse_node, node)
    yield partial(manager_config, settings, state_dir)
    for category in tables.category:
        yield partial(check_name, "category", category.name)
    for source in tables.blocklist:
        yield partial(interval_of, source.every)
    for hook in tables.hook:
        yield partial(hooks_of, [hook])


def _access_checks(settings: DaemonSettings) -> Iterator[SettingsTest]:
    listen, hashed = settings.listen, settings.auth.password_hash
    yield partial(origin_rule, "listen.origins", listen.origins)
    yield partial(networks, "listen.allow_from", listen.allow_from)
    yield partial(networks, "listen.trusted_proxies", listen.trusted_proxies)
    yield partial(root_path, listen.root_path)
    for name in listen.socket_users:
        yield partial(user_id, name)
    if hashed and not is_hash(hashed):
        yield partial(_refuse, "auth.password_hash: is not what `daemon password` makes")


def _refuse(text: str) -> None:
    raise ConfigError(text)


def _certificate_checks(merged: Merged, state_dir: Path) -> Iterator[SettingsTest]:
    settings = merged.settings
    for place in listen_places(merged):
        own = place.settings
        is_given = bool(own.certificate or settings.tls.certificate)  # ours is made at the start
        if own.address and is_given and has_tls(own, settings):
            yield partial(_read_certificate, own, settings, state_dir)


def _read_certificate(own: ListenerSettings, settings: DaemonSettings, state_dir: Path) -> None:
    server_context(certificate_files(own, settings, state_dir))
