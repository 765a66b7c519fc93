"""Signatures of torrents: who signed the info dictionary, and whether that is right and trusted.

BEP 35 names no digest. The tool that it names takes SHA-1, as the info-hash of v1 is; SHA-256 is
understood, too, and what torrents with a v2 part are signed with.
Source: BEP 35; BEP 39 ("update-url" of a signature).
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from torrent_engine.base.config import BencodeLimits
from torrent_engine.base.errors import BencodeError, SignatureError
from torrent_engine.codec._sources import optional_web_url, parse_web_urls
from torrent_engine.codec.bencode import Encodable, decode_with_spans, encode
from torrent_engine.codec.certificates import DIGESTS, Certificate, Digest, SigningKey
from torrent_engine.codec.metainfo import Metainfo

MAX_SIGNATURES: Final = 100  # ours: of one torrent; further ones are kept and not checked
MAX_NAME_BYTES: Final = 255  # ours: a host name is no longer
LIMITS: Final = BencodeLimits(max_bytes=128 * 1024, max_depth=20, max_tokens=10_000)
"""Of one signature with its certificate."""


class SignatureStatus(Enum):
    """What is known of a signature; the first that applies."""

    MALFORMED = "malformed"
    """It cannot be read, or its certificate cannot."""
    UNKNOWN = "unknown"
    """It has no certificate, and none of its name is trusted."""
    BAD_KEY = "bad_key"
    """Its key is not RSA, too short, too long, or not for signatures."""
    WRONG = "wrong"
    """It is not of this torrent, or not of this key."""
    WRONG_NAME = "wrong_name"
    """Its certificate is of another name."""
    NOT_YET_VALID = "not_yet_valid"
    """Its certificate, or that of its issuer, is not valid yet."""
    EXPIRED = "expired"
    """Its certificate, or that of its issuer, is not valid any more."""
    UNTRUSTED = "untrusted"
    """It is right; nobody trusts its certificate."""
    TRUSTED = "trusted"
    """It is right, by a certificate that is trusted or issued by one that is."""


@dataclass(frozen=True, slots=True)
class CheckedSignature:
    """One signature of a torrent, and what is known of it."""

    name: str
    """Who signed, in reverse notation of a domain, as com.example. Unless trusted: who says so."""
    status: SignatureStatus
    reason: str
    """A sentence for people."""
    certificate: Certificate | None
    """That of the signer, from the torrent or from the trusted ones."""
    digest: Digest | None
    """What was hashed with; None unless the signature is right."""
    update_url: str | None
    """Where to look for a newer torrent, instead of where the torrent says (BEP 39)."""

    @property
    def is_right(self) -> bool:
        """Whether the signature is of this torrent and of this key, whoever that is."""
        return self.digest is not None

    @property
    def is_trusted(self) -> bool:
        """Whether the signature is right and by a certificate that is trusted."""
        return self.status is SignatureStatus.TRUSTED


def check_signatures(
    metainfo: Metainfo, trusted: Sequence[Certificate], *, now_s: float
) -> tuple[CheckedSignature, ...]:
    """Return the signatures of a torrent, in the order of their names, at most 100.

    A certificate is trusted that is among ``trusted``, or issued by one of these; there are no
    longer chains. ``now_s`` is the time in seconds since 1970. Nothing is raised for signatures,
    whatever they are.
    """
    hashes = _Hashes(metainfo.info_bytes)
    found = list(metainfo.signatures.items())[:MAX_SIGNATURES]
    return tuple(_check(key, raw, hashes, trusted, now_s) for key, raw in found)


def sign_torrent(
    metainfo: Metainfo,
    key: SigningKey,
    certificate: Certificate,
    *,
    digest: Digest | None = None,
    has_certificate: bool = True,
    update_url: str | None = None,
) -> Metainfo:
    """Return the torrent with one more signature, named as its certificate; others are kept.

    The info dictionary, so the info-hash too, stays byte for byte. ``digest`` None takes SHA-256
    for torrents with a v2 part and SHA-1 for v1. Without ``has_certificate`` those only can check
    it who have the certificate. ``update_url`` is where newer torrents are found (BEP 39).
    Raises SignatureError.
    """
    name = _checked_signer(key, certificate)
    info: dict[str, Encodable] = {}
    if update_url is not None:
        if parse_web_urls(update_url.encode()) != (update_url,):
            raise SignatureError(f"{update_url!r:.200} is no URL of HTTP")
        info["update-url"] = update_url
    digest = digest or ("sha256" if metainfo.v2 else "sha1")
    info_bytes = encode(info) if info else b""
    hashed = _Hashes(metainfo.info_bytes).of(digest, info_bytes)
    fields: dict[str, Encodable] = {"signature": key.sign(digest, hashed)}
    if has_certificate:
        fields["certificate"] = certificate.der
    if info:
        fields["info"] = info
    return metainfo.with_signatures({**metainfo.signatures, name.encode(): encode(fields)})


def _checked_signer(key: SigningKey, certificate: Certificate) -> str:
    """Return the name to sign with; SignatureError if nobody could check it."""
    if not certificate.fits(key):
        raise SignatureError(certificate.key_fault or "the certificate is of another key")
    name = certificate.name
    if not name or not name.isprintable() or len(name.encode()) > MAX_NAME_BYTES:
        raise SignatureError(
            "the certificate has no common name that can name the signer (BEP 35), as com.example"
        )
    return name


class _Hashes:
    """The digests of an info dictionary with whatever follows it; it is hashed once."""

    def __init__(self, info_bytes: bytes) -> None:
        self._of_info: Final = {
            name: hashlib.new(name, info_bytes, usedforsecurity=False) for name in DIGESTS
        }

    def of(self, digest: Digest, more: bytes) -> bytes:
        """Return the digest of the info dictionary and ``more``."""
        hashed = self._of_info[digest].copy()
        hashed.update(more)
        return hashed.digest()


@dataclass(frozen=True, slots=True)
class _Signature:
    """One value of "signatures"."""

    signature: bytes
    certificate: Certificate | None
    info_bytes: bytes
    """As received; empty if there is none."""
    update_url: str | None


def _read(name: bytes, raw: bytes) -> _Signature:
    """Read a signature; keys that are not known are ignored. Raises SignatureError."""
    if len(name) > MAX_NAME_BYTES:
        raise SignatureError(f"a name of {len(name)} bytes, more than {MAX_NAME_BYTES}")
    try:
        values, spans = decode_with_spans(raw, limits=LIMITS)
    except BencodeError as error:
        raise SignatureError(f"it cannot be read: {error}") from error
    signature, der = values.get(b"signature"), values.get(b"certificate")
    info = values.get(b"info")
    if not isinstance(signature, bytes) or not signature:
        raise SignatureError('"signature" is missing or no string')
    if not isinstance(der, bytes | None):
        raise SignatureError('"certificate" is no string')
    if not isinstance(info, dict | None):
        raise SignatureError('"info" is no dictionary')
    return _Signature(
        signature,
        Certificate(der) if der is not None else None,
        raw[slice(*spans[b"info"])] if info is not None else b"",
        optional_web_url(info or {}, b"update-url"),
    )


def _check(
    key: bytes, raw: bytes, hashes: _Hashes, trusted: Sequence[Certificate], now_s: float
) -> CheckedSignature:
    name = key[:MAX_NAME_BYTES].decode("utf-8", "replace")
    try:
        signature = _read(key, raw)
    except SignatureError as error:
        return CheckedSignature(name, SignatureStatus.MALFORMED, str(error), None, None, None)
    if signature.certificate is not None:
        certificates = [signature.certificate]
    else:
        certificates = [each for each in trusted if each.name == name]
    if not certificates:
        reason = "it has no certificate, and none of this name is trusted"
        return CheckedSignature(name, SignatureStatus.UNKNOWN, reason, None, None, None)
    judge = _Judge(name, signature, hashes, trusted, now_s)
    judged = [judge.judge(each) for each in certificates]
    order = list(SignatureStatus)
    return max(judged, key=lambda each: order.index(each.status))


@dataclass(frozen=True, slots=True)
class _Judge:
    """What is needed to judge a signature by a certificate that may be its own."""

    name: str
    signature: _Signature
    hashes: _Hashes
    trusted: Sequence[Certificate]
    now_s: float

    def judge(self, certificate: Certificate) -> CheckedSignature:
        """Return what the signature is if it is of this certificate."""
        digest = self._digest(certificate)
        status, reason = next(self._findings(certificate, digest))
        url = self.signature.update_url
        return CheckedSignature(self.name, status, reason, certificate, digest, url)

    def _digest(self, certificate: Certificate) -> Digest | None:
        signature, more = self.signature.signature, self.signature.info_bytes
        return next(
            (
                digest
                for digest in reversed(DIGESTS)
                if certificate.has_signed(signature, digest, self.hashes.of(digest, more))
            ),
            None,
        )

    def _findings(
        self, certificate: Certificate, digest: Digest | None
    ) -> Iterator[tuple[SignatureStatus, str]]:
        """Yield what is wrong, the worst first, and at last what is right."""
        if fault := certificate.key_fault:
            yield SignatureStatus.BAD_KEY, fault
        if digest is None:
            yield SignatureStatus.WRONG, "it is not of this torrent, or not of this certificate"
        if certificate.name != self.name:
            of = f"{certificate.name!r:.200}" if certificate.name else "nobody with a common name"
            yield SignatureStatus.WRONG_NAME, f"its certificate is of {of}"
        issuers = [each for each in self.trusted if certificate.is_issued_by(each)]
        is_anchor = certificate in self.trusted
        yield from _period(certificate, "its certificate", self.now_s)
        if is_anchor:
            yield SignatureStatus.TRUSTED, "its certificate is trusted"
        for issuer in issuers:
            if not any(_period(issuer, "", self.now_s)):
                by = f"{issuer.name!r:.200}" if issuer.name else issuer.fingerprint
                yield SignatureStatus.TRUSTED, f"its certificate is issued by {by}, who is trusted"
        for issuer in issuers:
            yield from _period(issuer, "the certificate of its issuer", self.now_s)
        yield SignatureStatus.UNTRUSTED, "it is right; its certificate is not trusted"


def _period(
    certificate: Certificate, what: str, now_s: float
) -> Iterator[tuple[SignatureStatus, str]]:
    """Yield what is wrong with the time."""
    if now_s < certificate.not_before_s:
        yield SignatureStatus.NOT_YET_VALID, f"{what} is not valid yet"
    if now_s > certificate.not_after_s:
        yield SignatureStatus.EXPIRED, f"{what} has expired"
