"""From settings to listeners, rules and credentials."""

import os
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Final

from torrent_engine.base.errors import ConfigError, StateInUseError
from torrent_engine.daemon.http.server import HttpListener
from torrent_engine.daemon.http.sockets import ListenAddress, bind, bind_unix
from torrent_engine.daemon.http.tls import CertificateFiles, self_signed, server_context
from torrent_engine.daemon.security.authentication import Authenticator, Secrets
from torrent_engine.daemon.security.cookie_sessions import CookieSessions
from torrent_engine.daemon.security.guard import GuardRules
from torrent_engine.daemon.security.hosts import HostRule, OriginRule
from torrent_engine.daemon.security.named_tokens import NamedTokens
from torrent_engine.daemon.security.passwords import hash_password, is_hash
from torrent_engine.daemon.security.records import CredentialStore
from torrent_engine.daemon.security.request_facts import AddressRange
from torrent_engine.daemon.security.signed_urls import SignedUrls
from torrent_engine.daemon.security.tickets import Tickets
from torrent_engine.daemon.security.token_file import make_token, read_token
from torrent_engine.daemon.settings.engine_config import download_folder, manager_config
from torrent_engine.daemon.settings.model import DaemonSettings, ListenSettings
from torrent_engine.daemon.settings.store import SettingsStore
from torrent_engine.disk.file_lock import FileLock

SOCKET_NAME: Final = "daemon.sock"
LINK_KEY_NAME: Final = "stream.key"


def guard_rules(settings: DaemonSettings) -> GuardRules:
    """Return the checks that are configured. Raises ConfigError."""
    listen = settings.listen
    for origin in listen.origins:
        if origin == "*" or not origin.startswith(("https://", "http://")):
            raise ConfigError(f"listen.origins: {origin!r}: an origin such as https://HOST")
    return GuardRules(
        HostRule(listen.hosts),
        OriginRule(listen.origins),
        _networks("listen.allow_from", listen.allow_from),
        _networks("listen.trusted_proxies", listen.trusted_proxies),
        settings.tls.hsts_s,
        _root_path(listen.root_path),
    )


def _root_path(text: str) -> str:
    """Return the path below which a proxy shows the interfaces. Raises ConfigError."""
    path = text.rstrip("/")
    if path and (not path.startswith("/") or not path.isascii() or "//" in path or "?" in path):
        raise ConfigError(f"listen.root_path: {text!r}: a path such as /torrents is needed")
    return path


def _networks(key: str, texts: Sequence[str]) -> Sequence[AddressRange]:
    try:
        return tuple(ip_network(text, strict=False) for text in texts)
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from None


def secrets_of(settings: DaemonSettings, token: str, credentials: Path | None) -> Secrets:
    """Return what credentials are compared with; ``credentials`` is systemd's folder."""
    auth = settings.auth
    password = auth.password or _passed_password(credentials)
    hashed = hash_password(password) if password else auth.password_hash
    users = frozenset({os.geteuid(), 0, *map(_user_id, settings.listen.socket_users)})
    return Secrets(token, hashed, auth.user, users)


def _passed_password(credentials: Path | None) -> str:
    try:
        return (credentials / "password").read_text("utf-8").strip() if credentials else ""
    except FileNotFoundError:
        return ""


def _user_id(name: str) -> int:
    if name.isdecimal():
        return int(name)
    import pwd

    with suppress(KeyError):
        return pwd.getpwnam(name).pw_uid
    raise ConfigError(f"listen.socket_users: there is no user {name!r}")


def check_settings(settings: DaemonSettings, state_dir: Path) -> None:
    """Raise ConfigError for settings that are wrong, or wrong together."""
    guard_rules(settings)
    check_listen(settings.listen, has_tls=has_tls(settings))
    manager_config(settings, state_dir)
    if settings.auth.password_hash and not is_hash(settings.auth.password_hash):
        raise ConfigError("auth.password_hash: is not what `daemon password` makes")


def has_tls(settings: DaemonSettings) -> bool:
    """Return whether HTTP is served with TLS."""
    return bool(settings.tls.certificate or settings.tls.self_signed)


def tls_of(settings: DaemonSettings, state_dir: Path) -> ssl.SSLContext | None:
    """Return the certificate to serve with; None for plain HTTP. Raises ConfigError."""
    if not has_tls(settings):
        return None
    return server_context(certificate_files(settings, state_dir))


def certificate_files(settings: DaemonSettings, state_dir: Path) -> CertificateFiles:
    """Return the files of the certificate; a self-signed one is made if need be."""
    tls = settings.tls
    if tls.certificate:
        certificate = Path(tls.certificate).expanduser()
        return CertificateFiles(certificate, Path(tls.key).expanduser() if tls.key else certificate)
    hosts = [host for host in settings.listen.hosts if not host.startswith("*")]
    return self_signed(state_dir, ["localhost", "127.0.0.1", "::1", *hosts])


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


def check_listen(listen: ListenSettings, *, has_tls: bool) -> ListenAddress | None:
    """Return where HTTP is served; None: nowhere. Raises ConfigError for plain HTTP to others."""
    if not listen.address:
        return None
    address = ListenAddress.parse(listen.address)
    if not address.is_loopback and not has_tls and not listen.allow_plain_http:
        raise ConfigError(
            f"listen.address: {address} is reached by others, who would see the token: set [tls],"
            " or listen.allow_plain_http = true"
        )
    return address


def socket_path(listen: ListenSettings, state_dir: Path) -> Path | None:
    """Return where the unix socket is; None: there is none."""
    if listen.socket == "auto":
        return state_dir / SOCKET_NAME
    return Path(listen.socket).expanduser().absolute() if listen.socket else None


def bind_listeners(
    listen: ListenSettings,
    state_dir: Path,
    tls: ssl.SSLContext | None,
    passed: Mapping[str, socket.socket],
) -> list[HttpListener]:
    """Bind all sockets; those that systemd passed as "http" come in the place of the address.

    Raises NetworkError or ConfigError.
    """
    address = check_listen(listen, has_tls=tls is not None)
    given = [each for name, each in passed.items() if name.rstrip("0123456789") == "http"]
    made = [HttpListener("http", each, tls) for each in given]
    try:
        if address is not None and not made:
            made += [HttpListener("http", each, tls) for each in bind(address)]
        if (path := socket_path(listen, state_dir)) is not None:
            made.append(HttpListener("unix", bind_unix(path), path=path))
    except BaseException:
        for listener in made:
            listener.close()
        raise
    if not made:
        raise ConfigError("listen: neither an address nor a socket is configured")
    return made
