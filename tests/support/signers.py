"""Keys and certificates of signers of torrents, each made once."""

import datetime
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from torrent_engine.codec.certificates import Certificate, SigningKey

START = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
END = datetime.datetime(2040, 1, 1, tzinfo=datetime.UTC)
NOW_S = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC).timestamp()
YEAR_S = 365 * 86_400
CA = x509.BasicConstraints(ca=True, path_length=0)
NO_CA = x509.BasicConstraints(ca=False, path_length=None)


def rsa_key(which: int = 0, bits: int = 2_048) -> rsa.RSAPrivateKey:
    """Return a key; each number is another one."""
    return _rsa_key(which, bits)


@cache
def _rsa_key(which: int, bits: int) -> rsa.RSAPrivateKey:
    del which
    return rsa.generate_private_key(65_537, bits)


@cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def name_of(*common_names: str) -> x509.Name:
    names = [x509.NameAttribute(NameOID.COMMON_NAME, each) for each in common_names]
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example"), *names])


def make_certificate(
    *names: str,
    key: Any = None,
    issuer: str | None = None,
    issuer_key: Any = None,
    start: datetime.datetime = START,
    end: datetime.datetime = END,
    extensions: tuple[tuple[Any, bool], ...] = (),
    digest: Any = None,
) -> Certificate:
    key = key or rsa_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(name_of(*names))
        .issuer_name(name_of(issuer) if issuer else name_of(*names))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )
    for extension, is_critical in extensions:
        builder = builder.add_extension(extension, critical=is_critical)
    made = builder.sign(issuer_key or key, digest or hashes.SHA256())
    return Certificate(made.public_bytes(serialization.Encoding.DER))


def pem_of(key: Any, password: bytes | None = None) -> bytes:
    encryption = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return bytes(key.private_bytes(encoding, form, encryption))


def certificate_pem(certificate: Certificate) -> bytes:
    loaded = x509.load_der_x509_certificate(certificate.der)
    return loaded.public_bytes(serialization.Encoding.PEM)


@cache
def signing_key(which: int = 0) -> SigningKey:
    return SigningKey(pem_of(rsa_key(which)))


def usage(**allowed: bool) -> x509.KeyUsage:
    names = [
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    ]
    return x509.KeyUsage(**{name: allowed.get(name, False) for name in names})
