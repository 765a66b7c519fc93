"""Addresses and sockets that interfaces are served at: ``[listen]`` and ``[[listeners]]``."""

import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from torrent_engine.base.errors import ConfigError
from torrent_engine.daemon.http.server import HttpListener
from torrent_engine.daemon.http.sockets import ListenAddress, bind, bind_unix
from torrent_engine.daemon.http.tls import (
    CertificateFiles,
    load_certificate,
    self_signed,
    server_context,
)
from torrent_engine.daemon.security.served_routes import INTERFACES
from torrent_engine.daemon.settings.merge import DEFAULT, Merged
from torrent_engine.daemon.settings.model import DaemonSettings
from torrent_engine.daemon.settings.tables import ListenerSettings

SOCKET_NAME: Final = "daemon.sock"
HTTP, UNIX = "http", "unix"


@dataclass(frozen=True, slots=True)
class ListenPlace:
    """An address or a socket to listen on, with its settings."""

    name: str
    """What requests are told to come by."""
    settings: ListenerSettings
    label: str = ""
    """How errors name it; empty: ``listen``."""

    @contextmanager
    def named_errors(self) -> Iterator[None]:
        """Let errors of the settings say which listener they are of."""
        try:
            yield
        except ConfigError as error:
            raise ConfigError(f"{self.label}: {error}" if self.label else str(error)) from None

    @property
    def interfaces(self) -> frozenset[str]:
        """Names of the interfaces that are served here, if they are switched on."""
        whole = INTERFACES - {"ui"} if self.settings.web_root else INTERFACES
        return frozenset(self.settings.serves) or whole


def listen_places(merged: Merged) -> list[ListenPlace]:
    """Return all places; further listeners stand in the place of an address that nobody set."""
    listen, rows = merged.settings.listen, merged.tables.listeners
    found = []
    if listen.address and not (rows and merged.origins["listen.address"] == DEFAULT):
        plain = ListenerSettings(address=listen.address, allow_plain_http=listen.allow_plain_http)
        found.append(ListenPlace(HTTP, plain))
    if listen.socket:
        found.append(ListenPlace(UNIX, ListenerSettings(socket=listen.socket)))
    for number, row in enumerate(rows, 1):
        found.append(ListenPlace(f"listener{number}", row, f"[[listeners]] {number}"))
    return found


def check_place(place: ListenPlace, settings: DaemonSettings) -> None:
    """Raise ConfigError for settings with which it cannot be served, or not safely."""
    own = place.settings
    with place.named_errors():
        if bool(own.address) == bool(own.socket):
            raise ConfigError("either an address or a socket is needed")
        unknown = sorted(set(own.serves) - INTERFACES)
        if unknown:
            known = ", ".join(sorted(INTERFACES))
            raise ConfigError(f"serves: {unknown[0]!r}: one of {known} is needed")
        if "ui" in own.serves and "api" not in own.serves:
            raise ConfigError("serves: the page (ui) needs the api")
        if "ui" in own.serves and own.web_root:
            raise ConfigError("web_root: stands in the place of the page (ui)")
        if own.key and not own.certificate:
            raise ConfigError("key: is that of a certificate")
        if own.address:
            _check_address(place, settings)


def _check_address(place: ListenPlace, settings: DaemonSettings) -> None:
    own, key = place.settings, "address" if place.label else "listen.address"
    try:
        address = ListenAddress.parse(own.address)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from None
    if address.is_loopback or has_tls(own, settings):
        return
    if not own.allow_plain_http and not settings.listen.allow_plain_http:
        how = "set [tls], or listen.allow_plain_http = true"
        if place.label:
            how = "set [tls], its certificate, or allow_plain_http = true"
        raise ConfigError(f"{key}: {address} is reached by others, who would see the token: {how}")


def has_tls(own: ListenerSettings, settings: DaemonSettings) -> bool:
    """Return whether HTTP is served with TLS at an address."""
    if own.tls is not None:
        return own.tls
    return bool(own.certificate or settings.tls.certificate or settings.tls.self_signed)


def certificate_files(
    own: ListenerSettings, settings: DaemonSettings, state_dir: Path
) -> CertificateFiles:
    """Return the files of a listener's certificate; a self-signed one is made if need be."""
    source = own if own.certificate else settings.tls
    if source.certificate:
        certificate = Path(source.certificate).expanduser()
        key = Path(source.key).expanduser() if source.key else certificate
        return CertificateFiles(certificate, key)
    hosts = [host for host in (*settings.listen.hosts, *own.hosts) if not host.startswith("*")]
    return self_signed(state_dir, ["localhost", "127.0.0.1", "::1", *hosts])


class ListenerCertificates:
    """The TLS contexts of listeners, which take a certificate that was renewed."""

    def __init__(
        self, places: Sequence[ListenPlace], settings: DaemonSettings, state_dir: Path
    ) -> None:
        """Read all certificates. Raises ConfigError."""
        self._state_dir = state_dir
        self._owners = {
            place.name: place.settings
            for place in places
            if place.settings.address and has_tls(place.settings, settings)
        }
        self.contexts: dict[str, ssl.SSLContext] = {
            name: server_context(certificate_files(own, settings, state_dir))
            for name, own in self._owners.items()
        }
        """By the names of the listeners."""

    def load(self, settings: DaemonSettings) -> None:
        """Read all certificates again. Raises ConfigError."""
        for name, own in self._owners.items():
            files = certificate_files(own, settings, self._state_dir)
            load_certificate(self.contexts[name], files)

    def times(self, settings: DaemonSettings) -> Sequence[int]:
        """Return when the files changed; () if one is missing, or for HTTP."""
        found = []
        try:
            for own in self._owners.values():
                files = certificate_files(own, settings, self._state_dir)
                found += [each.stat().st_mtime_ns for each in (files.certificate, files.key)]
        except (OSError, ConfigError):
            return ()
        return found


def socket_path(text: str, state_dir: Path) -> Path:
    """Return where a unix socket is; ``auto`` is in the state folder."""
    return state_dir / SOCKET_NAME if text == "auto" else Path(text).expanduser().absolute()


def bind_listeners(
    places: Sequence[ListenPlace],
    state_dir: Path,
    tls: Mapping[str, ssl.SSLContext],
    passed: Mapping[str, socket.socket],
) -> list[HttpListener]:
    """Bind all sockets; those that systemd passed as "http" come in the place of the address.

    Raises NetworkError or ConfigError.
    """
    given = [each for name, each in passed.items() if name.rstrip("0123456789") == HTTP]
    made = [HttpListener(HTTP, each, tls.get(HTTP)) for each in given]
    try:
        for place in places:
            if place.name != HTTP or not given:
                made += _bound(place, state_dir, tls.get(place.name))
    except BaseException:
        for listener in made:
            listener.close()
        raise
    if not made:
        raise ConfigError("listen: neither an address nor a socket is configured")
    return made


def _bound(place: ListenPlace, state_dir: Path, tls: ssl.SSLContext | None) -> list[HttpListener]:
    if place.settings.socket:
        path = socket_path(place.settings.socket, state_dir)
        return [HttpListener(place.name, bind_unix(path), path=path)]
    address = ListenAddress.parse(place.settings.address)
    return [HttpListener(place.name, each, tls) for each in bind(address)]


def where_served(
    places: Sequence[ListenPlace], listeners: Sequence[HttpListener]
) -> dict[str, list[str]]:
    """Return the addresses of each interface; a socket that systemd passed serves all."""
    served = {place.name: place.interfaces for place in places}
    return {
        name: [str(each) for each in listeners if name in served.get(each.name, INTERFACES)]
        for name in sorted(INTERFACES)
    }
