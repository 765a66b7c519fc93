"""Certificates of the HTTP listeners."""

import datetime
import logging
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from torrent_engine.base.errors import ConfigError
from torrent_engine.disk.regular_files import open_regular, read_regular

logger = logging.getLogger(__name__)
CERTIFICATE_NAME: Final = "daemon.crt"
KEY_NAME: Final = "daemon.key"
LIFE_DAYS: Final = 825  # what browsers accept at most of a certificate that a user trusts
RENEW_DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """A chain of certificates and its private key, in PEM."""

    certificate: Path
    key: Path


def server_context(files: CertificateFiles) -> ssl.SSLContext:
    """Return a context for listeners: TLS 1.2 or newer, HTTP/1.1. Raises ConfigError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    load_certificate(context, files)
    return context


def load_certificate(context: ssl.SSLContext, files: CertificateFiles) -> None:
    """Let new connections have the certificate that is in the files now. Raises ConfigError.

    Then they have the one that was there before: a context that is given a certificate without its
    key has forgotten the key that it had, and serves nobody. So another one is asked first.
    """
    try:
        for path in (files.certificate, files.key):
            open_regular(path).close()  # the library would wait at a pipe
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(files.certificate, files.key)
        context.load_cert_chain(files.certificate, files.key)
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "reason", None) or error
        raise ConfigError(f"tls: {files.certificate}, {files.key}: {reason}") from error
    if text := wrong_date(files.certificate, datetime.datetime.now(datetime.UTC)):
        logger.warning("tls: %s: %s; clients will refuse it", files.certificate, text)


def wrong_date(certificate: Path, now: datetime.datetime) -> str:
    """Return why a certificate is not valid at a time; empty if it is, or cannot be read."""
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificate(read_regular(certificate))
    except (OSError, ValueError):
        return ""
    if now > found.not_valid_after_utc:
        return f"the certificate ended on {found.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    if now < found.not_valid_before_utc:
        return f"the certificate begins on {found.not_valid_before_utc:%Y-%m-%d %H:%M} UTC only"
    return ""


def self_signed(folder: Path, names: Sequence[str]) -> CertificateFiles:
    """Return a certificate of our own for some names and addresses; a new one if it ends soon.

    Raises ConfigError if the one that is there cannot be read, or a new one not written.
    """
    files = CertificateFiles(folder / CERTIFICATE_NAME, folder / KEY_NAME)
    try:
        if not _is_fresh(files, names):
            certificate, key = _make(names)
            _write(files.key, key)
            _write(files.certificate, certificate)
    except OSError as error:
        raise ConfigError(f"{error.filename or folder}: {error.strerror or error}") from error
    return files


def _is_fresh(files: CertificateFiles, names: Sequence[str]) -> bool:
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificate(read_regular(files.certificate))
        extension = found.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        files.key.stat()
    except (FileNotFoundError, ValueError, x509.ExtensionNotFound):
        return False
    left = found.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    known = {str(each.value) for each in extension.value}
    return left > datetime.timedelta(days=RENEW_DAYS) and set(names) <= known


def _make(names: Sequence[str]) -> tuple[bytes, bytes]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "torrent-engine")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=LIFE_DAYS))
        .add_extension(x509.SubjectAlternativeName([_name(each) for each in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private


def _name(text: str):  # type: ignore[no-untyped-def]  # noqa: ANN202 - a type of cryptography's
    from cryptography import x509

    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _write(path: Path, data: bytes) -> None:
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    new.replace(path)
