"""X.509 certificates and RSA keys of those who sign torrents.

Source: BEP 35; RFC 5280 (periods, critical extensions, who may issue); RFC 8017 (PKCS #1 v1.5,
which the tool makes that BEP 35 names).
"""

import re
import warnings
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Literal, TypeVar, get_args

from torrent_engine.base.errors import SignatureError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

Digest = Literal["sha1", "sha256"]
DIGESTS: Final[tuple[Digest, ...]] = get_args(Digest)

MAX_CERTIFICATE_BYTES: Final = 16 * 1024  # ours: the largest of public authorities have about 4 KiB
MAX_FILE_BYTES: Final = 4 * 1024 * 1024  # ours: the list of a whole system has about 250 KiB
MAX_CERTIFICATES: Final = 2_000  # ours: in one file; a whole system has about 150
MIN_KEY_BITS: Final = 2_048  # as the example of BEP 35; shorter ones are not secure any more
MAX_KEY_BITS: Final = 8_192  # ours: bounds the time of a check, as the next one
MAX_EXPONENT_BITS: Final = 64  # as OpenSSL has it for long keys

_PEM: Final = re.compile(
    rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]{1,%d}-----END CERTIFICATE-----"
    % (2 * MAX_CERTIFICATE_BYTES)
)
_PEM_BEGIN: Final = b"-----BEGIN "
_ISSUING_DIGESTS: Final = frozenset({"sha224", "sha256", "sha384", "sha512"})
_UNDERSTOOD: Final = frozenset({"2.5.29.15", "2.5.29.17", "2.5.29.19"})  # key usage, names, CA
_Value = TypeVar("_Value")


class Certificate:
    """An X.509 certificate; one that exists could be read as far as it is used here."""

    __slots__ = ("_issuing", "_key", "_loaded", "der", "name", "not_after_s", "not_before_s")

    def __init__(self, der: bytes) -> None:
        """Read the DER encoding of a certificate. Raises SignatureError."""
        if not 0 < len(der) <= MAX_CERTIFICATE_BYTES:
            raise SignatureError(
                f"a certificate of {len(der)} bytes, not of 1 to {MAX_CERTIFICATE_BYTES}"
            )
        self.der: Final = bytes(der)
        self._loaded: Final = _understood(lambda: _load(self.der))
        self._issuing: Final = _understood(lambda: _may_issue(self._loaded))
        self._key: Final = _understood(lambda: _rsa_key(self._loaded))
        self.name: Final = _understood(lambda: _common_name(self._loaded))
        """The only common name of the subject; None: there is none, or several."""
        self.not_before_s: Final = _understood(self._loaded.not_valid_before_utc.timestamp)
        self.not_after_s: Final = _understood(self._loaded.not_valid_after_utc.timestamp)
        """Seconds since 1970."""

    def __eq__(self, other: object) -> bool:
        """Return whether both are the same, byte for byte."""
        return isinstance(other, Certificate) and self.der == other.der

    def __hash__(self) -> int:
        """Return the hash of the encoding."""
        return hash(self.der)

    def __repr__(self) -> str:
        """Return the name and the fingerprint."""
        return f"<Certificate {self.name!r} {self.fingerprint}>"

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the encoding, in hexadecimal."""
        return sha256(self.der).hexdigest()

    @property
    def key_fault(self) -> str | None:
        """Why nothing that this key signed counts; None if it does."""
        if self._key is None:
            return "its key is not RSA, which BEP 35 wants, or not for signatures"
        return _size_fault(self._key)

    def is_issued_by(self, issuer: "Certificate") -> bool:
        """Return whether ``issuer`` signed this certificate, and may sign such."""
        return issuer._issuing and _understood(lambda: _is_issued(self._loaded, issuer._loaded))  # noqa: SLF001

    def has_signed(self, signature: bytes, digest: Digest, hashed: bytes) -> bool:
        """Return whether a signature with this key is right; no key with a ``key_fault`` is."""
        key = self._key
        if key is None or self.key_fault is not None:
            return False
        from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

        try:
            key.verify(signature, hashed, PKCS1v15(), _prehashed(digest))
        except (InvalidSignature, UnsupportedAlgorithm, ValueError):
            return False
        return True

    def fits(self, key: "SigningKey") -> bool:
        """Return whether this is the certificate of a private key."""
        return self._key is not None and key.is_of(self._key)


class SigningKey:
    """An RSA key that signs torrents."""

    def __init__(self, data: bytes, password: bytes | None = None) -> None:
        """Read a private key, PEM or DER, encrypted or not. Raises SignatureError."""
        if len(data) > MAX_FILE_BYTES:
            raise SignatureError(f"a key of {len(data)} bytes, more than {MAX_FILE_BYTES}")
        self._key: Final = _private_key(data, password)
        if fault := _size_fault(self._key.public_key()):
            raise SignatureError(f"the key cannot be used: {fault}")

    def is_of(self, public: "RSAPublicKey") -> bool:
        """Return whether this is the other half of a public key."""
        return self._key.public_key().public_numbers() == public.public_numbers()

    def sign(self, digest: Digest, hashed: bytes) -> bytes:
        """Return the signature of hashed bytes. Raises SignatureError."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

        try:
            return self._key.sign(hashed, PKCS1v15(), _prehashed(digest))
        except (UnsupportedAlgorithm, ValueError) as error:
            raise SignatureError(f"the key cannot sign {digest}: {error}") from error


def read_certificates(data: bytes) -> tuple[Certificate, ...]:
    """Return the certificates of a file: one in DER, or any number in PEM, with text between them.

    Raises SignatureError, also if one of them cannot be read.
    """
    if len(data) > MAX_FILE_BYTES:
        raise SignatureError(f"{len(data)} bytes of certificates, more than {MAX_FILE_BYTES}")
    if _PEM_BEGIN not in data:
        return (Certificate(data),)
    found = [_der_of(match[0]) for match in _PEM.finditer(data)]
    if len(found) != data.count(_PEM_BEGIN + b"CERTIFICATE-----"):
        raise SignatureError("a certificate in PEM that cannot be read")
    if not 0 < len(found) <= MAX_CERTIFICATES:
        raise SignatureError(f"{len(found)} certificates, not 1 to {MAX_CERTIFICATES}")
    return tuple(map(Certificate, dict.fromkeys(found)))


def _der_of(pem: bytes) -> bytes:
    import binascii

    try:
        return binascii.a2b_base64(pem.split(b"-----")[2])
    except binascii.Error as error:
        raise SignatureError(f"a certificate in PEM that cannot be read: {error}") from error


def _understood(read: Callable[[], _Value]) -> _Value:
    """Return what ``read`` does; what it raises about a certificate becomes SignatureError.

    Fields are decoded when they are first used, so that errors come from all of them; what the
    library only warns of is left as it is.
    """
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    kinds = (
        ValueError,
        TypeError,
        OverflowError,
        UnsupportedAlgorithm,
        x509.DuplicateExtension,
        x509.InvalidVersion,
        x509.UnsupportedGeneralNameType,
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read()
    except kinds as error:
        raise SignatureError(f"a certificate that cannot be read: {error}") from error


def _load(der: bytes) -> "x509.Certificate":
    from cryptography import x509

    loaded = x509.load_der_x509_certificate(der)
    for extension in loaded.extensions:
        if extension.critical and extension.oid.dotted_string not in _UNDERSTOOD:
            raise ValueError(f"its critical extension {extension.oid.dotted_string} is not known")
    return loaded


def _common_name(loaded: "x509.Certificate") -> str | None:
    from cryptography.x509.oid import NameOID

    names = [each.value for each in loaded.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return names[0] if len(names) == 1 and isinstance(names[0], str) else None


def _usage(loaded: "x509.Certificate") -> "x509.KeyUsage | None":
    from cryptography import x509

    try:
        return loaded.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return None


def _rsa_key(loaded: "x509.Certificate") -> "RSAPublicKey | None":
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    try:
        key = loaded.public_key()
    except UnsupportedAlgorithm:
        return None
    usage = _usage(loaded)
    if usage is not None and not (usage.digital_signature or usage.content_commitment):
        return None
    return key if isinstance(key, RSAPublicKey) else None


def _may_issue(loaded: "x509.Certificate") -> bool:
    """Return whether nothing says that it may not; v1, as BEP 35 wants them, says nothing."""
    from cryptography import x509

    usage = _usage(loaded)
    if usage is not None and not usage.key_cert_sign:
        return False
    try:
        basic = loaded.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return loaded.version is x509.Version.v1
    return basic.value.ca


def _is_issued(loaded: "x509.Certificate", issuer: "x509.Certificate") -> bool:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    if loaded.issuer != issuer.subject:
        return False
    try:
        digest = loaded.signature_hash_algorithm
        if digest is not None and digest.name not in _ISSUING_DIGESTS:
            return False  # others have been forged
        loaded.verify_directly_issued_by(issuer)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def _private_key(data: bytes, password: bytes | None) -> "RSAPrivateKey":
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    is_pem = _PEM_BEGIN in data
    load = serialization.load_pem_private_key if is_pem else serialization.load_der_private_key
    try:
        key = load(data, password)
    except TypeError as error:  # a password is missing, or given for nothing
        raise SignatureError(f"the key cannot be read: {error}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        hint = "or the password is wrong" if password else "or it is damaged"
        raise SignatureError(f"the key cannot be read: it is no private key, {hint}") from error
    if not isinstance(key, RSAPrivateKey):
        raise SignatureError("the key cannot be used: it is not RSA, which BEP 35 wants")
    return key


def _size_fault(key: "RSAPublicKey") -> str | None:
    if not MIN_KEY_BITS <= key.key_size <= MAX_KEY_BITS:
        return f"RSA of {key.key_size} bits, not of {MIN_KEY_BITS} to {MAX_KEY_BITS}"
    if key.public_numbers().e.bit_length() > MAX_EXPONENT_BITS:
        return f"an exponent of more than {MAX_EXPONENT_BITS} bits"
    return None


def _prehashed(digest: Digest):  # type: ignore[no-untyped-def]  # noqa: ANN202 - of cryptography
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

    kind = hashes.SHA1() if digest == "sha1" else hashes.SHA256()  # noqa: S303 - see BEP 35's tool
    return Prehashed(kind)
