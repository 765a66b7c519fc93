"""From settings to rules and credentials."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Final

from torrent_engine.base.errors import ConfigError, StateInUseError
from torrent_engine.daemon.listeners import ListenPlace
from torrent_engine.daemon.security.authentication import Authenticator, Secrets
from torrent_engine.daemon.security.cookie_sessions import CookieSessions
from torrent_engine.daemon.security.guard import GuardRules
from torrent_engine.daemon.security.hosts import HostRule, OriginRule
from torrent_engine.daemon.security.named_tokens import NamedTokens
from torrent_engine.daemon.security.passwords import hash_password
from torrent_engine.daemon.security.records import CredentialStore
from torrent_engine.daemon.security.request_facts import AddressRange
from torrent_engine.daemon.security.signed_urls import SignedUrls
from torrent_engine.daemon.security.tickets import Tickets
from torrent_engine.daemon.security.token_file import make_token, read_token
from torrent_engine.daemon.settings.engine_config import download_folder
from torrent_engine.daemon.settings.model import DaemonSettings
from torrent_engine.daemon.settings.store import SettingsStore
from torrent_engine.daemon.settings.tables import ListenerSettings
from torrent_engine.disk.file_lock import FileLock

LINK_KEY_NAME: Final = "stream.key"


def guard_rules(settings: DaemonSettings, own: ListenerSettings | None = None) -> GuardRules:
    """Return the checks that are configured, of a listener with some of its own too.

    Raises ConfigError.
    """
    listen = settings.listen
    if own is None:
        own = ListenerSettings()
    origins = ("origins", own.origins) if own.origins else ("listen.origins", listen.origins)
    allowed = (
        ("allow_from", own.allow_from)
        if own.allow_from
        else ("listen.allow_from", listen.allow_from)
    )
    return GuardRules(
        HostRule(own.hosts or listen.hosts),
        origin_rule(*origins),
        networks(*allowed),
        networks("listen.trusted_proxies", listen.trusted_proxies),
        settings.tls.hsts_s,
        root_path(listen.root_path),
    )


def origin_rule(key: str, origins: Sequence[str]) -> OriginRule:
    """Return the sites whose pages may ask. Raises ConfigError that names the setting."""
    for origin in origins:
        if origin == "*" or not origin.startswith(("https://", "http://")):
            raise ConfigError(f"{key}: {origin!r}: an origin such as https://HOST")
    return OriginRule(origins)


def root_path(text: str) -> str:
    """Return the path below which a proxy shows the interfaces. Raises ConfigError."""
    path = text.rstrip("/")
    if path and (not path.startswith("/") or not path.isascii() or "//" in path or "?" in path):
        raise ConfigError(f"listen.root_path: {text!r}: a path such as /torrents is needed")
    return path


def networks(key: str, texts: Sequence[str]) -> Sequence[AddressRange]:
    """Return ranges of addresses. Raises ConfigError that names the setting."""
    try:
        return tuple(ip_network(text, strict=False) for text in texts)
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from None


def secrets_of(settings: DaemonSettings, token: str, credentials: Path | None) -> Secrets:
    """Return what credentials are compared with; ``credentials`` is systemd's folder."""
    auth = settings.auth
    password = auth.password or _passed_password(credentials)
    hashed = hash_password(password) if password else auth.password_hash
    users = frozenset({os.geteuid(), 0, *map(user_id, settings.listen.socket_users)})
    return Secrets(token, hashed, auth.user, users)


def _passed_password(credentials: Path | None) -> str:
    try:
        return (credentials / "password").read_text("utf-8").strip() if credentials else ""
    except FileNotFoundError:
        return ""


def user_id(name: str) -> int:
    """Return the number of a user of this machine. Raises ConfigError."""
    if name.isdecimal():
        return int(name)
    import pwd

    with suppress(KeyError):
        return pwd.getpwnam(name).pw_uid
    raise ConfigError(f"listen.socket_users: there is no user {name!r}")


def listener_rules(
    settings: DaemonSettings, places: Sequence[ListenPlace]
) -> Mapping[str, GuardRules]:
    """Return the checks of each listener by its name. Raises ConfigError."""
    found = {}
    for place in places:
        with place.named_errors():
            found[place.name] = guard_rules(settings, place.settings)
    return found


def link_key(folder: Path) -> str:
    """Return the key of signed URLs, made at the first start."""
    path = folder / LINK_KEY_NAME
    try:
        return read_token(path)
    except FileNotFoundError:
        return make_token(path)


def allowed_folders(settings: SettingsStore) -> list[str]:
    """Return the folders that interfaces may name."""
    paths, tables = settings.now.paths, settings.tables
    named = [paths.incomplete, *paths.allowed]
    named += [each.save_path for each in tables.category]
    named += [path for each in tables.watch for path in (each.folder, each.save_path)]
    downloads = (settings.now, settings.configured)  # so that a change can be taken back
    return [*(str(download_folder(each)) for each in downloads), *(each for each in named if each)]


def refuse_second_process(state_dir: Path) -> None:
    """Raise StateInUseError if another process manages the torrents of a folder.

    The manager itself claims them; this comes before listeners are bound, so that the error names
    the reason.
    """
    (state_dir / "locks").mkdir(mode=0o700, exist_ok=True)
    lock = FileLock(state_dir / "locks" / "manager.lock")
    is_free = lock.take()
    lock.free()
    if not is_free:
        pid = lock.holder()
        number = "" if pid is None else f" ({pid})"
        reason = (
            f"its torrents are managed by another process{number}; `torrent-engine daemon status`"
            " asks a daemon, `torrent-engine list` also `run`"
        )
        raise StateInUseError(str(state_dir), reason, folder=state_dir)


def make_authenticator(
    known: Secrets, store: CredentialStore, key: str, *, now: Callable[[], float] = time.time
) -> Authenticator:
    """Return what finds principals; ``key`` is that of signed URLs."""
    return Authenticator(
        known,
        NamedTokens(store, now),
        CookieSessions(store, now),
        Tickets(now),
        SignedUrls(key),
        now=now,
    )
