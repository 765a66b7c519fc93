"""Signatures of torrents as lines and as records (BEP 35)."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torrent_engine.codec.signatures import CheckedSignature


def signature_lines(signatures: "Sequence[CheckedSignature]") -> list[str]:
    """Return a line for each signature: who, what is known of it, and why."""
    return [
        f"{each.name}: {each.status.value.replace('_', ' ')}: {each.reason}{_until(each)}"
        for each in signatures
    ]


def signature_record(signature: "CheckedSignature") -> dict[str, object]:
    """Return all of a signature that a script may want."""
    certificate = signature.certificate
    return {
        "name": signature.name,
        "status": signature.status.value,
        "right": signature.is_right,
        "trusted": signature.is_trusted,
        "reason": signature.reason,
        "digest": signature.digest,
        "update_url": signature.update_url,
        "certificate_name": certificate.name if certificate else None,
        "certificate_sha256": certificate.fingerprint if certificate else None,
        "not_before_s": int(certificate.not_before_s) if certificate else None,
        "not_after_s": int(certificate.not_after_s) if certificate else None,
    }


def _until(signature: "CheckedSignature") -> str:
    if signature.certificate is None or not signature.is_right:
        return ""
    return f" (until {datetime.fromtimestamp(signature.certificate.not_after_s, UTC):%Y-%m-%d})"
