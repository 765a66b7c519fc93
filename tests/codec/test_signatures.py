"""Signed torrents (BEP 35): right, wrong, trusted, malformed; and as OpenSSL makes them."""

import subprocess
import warnings
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.signers import (
    CA,
    END,
    NO_CA,
    NOW_S,
    START,
    YEAR_S,
    certificate_pem,
    ec_key,
    make_certificate,
    pem_of,
    rsa_key,
    signing_key,
    usage,
)
from tests.support.torrents import make_torrent, payload_of
from tests.support.v2_torrents import torrent_around, v2_info
from torrent_engine.base.errors import BencodeError, SignatureError
from torrent_engine.codec import certificates
from torrent_engine.codec.bencode import decode, encode
from torrent_engine.codec.certificates import Certificate, SigningKey, read_certificates
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.signatures import (
    MAX_SIGNATURES,
    CheckedSignature,
    SignatureStatus,
    check_signatures,
    sign_torrent,
)

METAINFO, _ = make_torrent({"a": payload_of(50_000), "b": b"x"})
OTHER, _ = make_torrent({"c": payload_of(50_000, 1)})
NAME = "com.example"
ROOT = make_certificate("com.root", key=rsa_key(9), extensions=((CA, True),))
S = SignatureStatus


def own() -> Certificate:
    return make_certificate(NAME)


def only(metainfo: Metainfo, *trusted: Certificate, now_s: float = NOW_S) -> CheckedSignature:
    (found,) = check_signatures(metainfo, trusted, now_s=now_s)
    return found


def with_fields(name: bytes = NAME.encode(), **fields: object) -> Metainfo:
    return METAINFO.with_signatures({name: encode(fields)})  # type: ignore[arg-type]


def issued(**options: object) -> Certificate:
    arguments = {"issuer": "com.root", "issuer_key": rsa_key(9), **options}
    return make_certificate(NAME, **arguments)  # type: ignore[arg-type]


def test_bep35_a_signature_is_right_and_its_own_certificate_trusted() -> None:
    certificate = own()
    signed = sign_torrent(METAINFO, signing_key(), certificate)
    assert signed.info_bytes == METAINFO.info_bytes
    assert signed.info_hash == METAINFO.info_hash
    untrusted, trusted = only(signed), only(signed, certificate)
    assert (untrusted.status, untrusted.is_right, untrusted.is_trusted) == (
        S.UNTRUSTED,
        True,
        False,
    )
    assert (trusted.status, trusted.name, trusted.digest) == (S.TRUSTED, NAME, "sha1")
    assert trusted.certificate == certificate


def test_bep35_what_an_authority_that_is_trusted_has_issued_is_trusted() -> None:
    signed = sign_torrent(METAINFO, signing_key(), issued())
    assert only(signed, own(), ROOT).status is S.TRUSTED
    assert "com.root" in only(signed, ROOT).reason


def test_bep35_without_its_certificate_a_signature_is_of_a_trusted_one_of_its_name() -> None:
    certificate = own()
    signed = sign_torrent(METAINFO, signing_key(), certificate, has_certificate=False)
    assert only(signed).status is S.UNKNOWN
    assert only(signed, ROOT).status is S.UNKNOWN
    assert only(signed, make_certificate(NAME, key=rsa_key(1)), certificate).status is S.TRUSTED
    assert only(signed, make_certificate(NAME, key=rsa_key(1))).status is S.WRONG


def test_bep35_several_sign_and_each_stays_when_others_do() -> None:
    signed = sign_torrent(METAINFO, signing_key(), own())
    both = sign_torrent(signed, signing_key(1), make_certificate("org.example", key=rsa_key(1)))
    assert [each.name for each in check_signatures(both, (), now_s=NOW_S)] == [NAME, "org.example"]
    assert both.signatures[NAME.encode()] == signed.signatures[NAME.encode()]
    again = sign_torrent(both, signing_key(), own(), digest="sha256")
    assert again.signatures.keys() == both.signatures.keys()
    assert check_signatures(again, (), now_s=NOW_S)[0].digest == "sha256"


def test_bep35_signatures_and_unknown_keys_stay_when_a_torrent_is_edited_and_exported(
    tmp_path: Path,
) -> None:
    raw = encode({"signature": b"s", "x": [1], "info": {"b": 1}})
    unknown = METAINFO.with_signatures({b"org.unknown": raw})
    signed = sign_torrent(unknown, signing_key(), own())
    edited = signed.edited(trackers=["http://t.example/a"], comment="new")
    edited.write(tmp_path / "a.torrent")
    again = Metainfo.read(tmp_path / "a.torrent")
    assert again.signatures == signed.signatures
    assert again.signatures[b"org.unknown"] == raw
    assert again.info_bytes == METAINFO.info_bytes
    assert check_signatures(again, (), now_s=NOW_S)[0].is_right


def test_bep35_signatures_of_a_badly_written_torrent_stay_when_it_is_edited() -> None:
    signed = sign_torrent(METAINFO, signing_key(), own())
    messy = Metainfo.from_bytes(signed.source[:-1] + b"1:x1:y1:x1:zee" + b"trailing")
    assert messy.signatures == signed.signatures
    assert messy.edited(comment="c").signatures == signed.signatures
    assert messy.with_signatures({}).signatures == {}


def test_bep35_what_a_signature_says_besides_is_signed_too() -> None:
    certificate, url = own(), "https://feed.example/next"
    signed = sign_torrent(METAINFO, signing_key(), certificate, update_url=url)
    found = only(signed, certificate)
    assert (found.status, found.update_url) == (S.TRUSTED, url)
    raw = signed.signatures[NAME.encode()]
    changed = METAINFO.with_signatures({NAME.encode(): raw.replace(b"/next", b"/evil")})
    assert only(changed, certificate).status is S.WRONG


def test_bep35_a_signature_of_another_torrent_is_wrong() -> None:
    signed = sign_torrent(OTHER, signing_key(), own())
    assert only(METAINFO.with_signatures(signed.signatures)).status is S.WRONG


def test_bep35_nobody_signs_in_the_name_of_another() -> None:
    certificate = issued()
    signed = sign_torrent(METAINFO, signing_key(), certificate)
    raw = signed.signatures[NAME.encode()]
    forged = METAINFO.with_signatures({b"com.victim": raw})
    found = only(forged, certificate, ROOT)
    assert found.status is S.WRONG_NAME
    assert NAME in found.reason


def test_bep35_torrents_of_v2_are_signed_with_the_hash_that_names_them() -> None:
    metainfo = Metainfo.from_bytes(torrent_around(*v2_info({"a": payload_of(40_000)})))
    assert only(sign_torrent(metainfo, signing_key(), own())).digest == "sha256"
    assert only(sign_torrent(metainfo, signing_key(), own(), digest="sha1")).digest == "sha1"


@pytest.mark.parametrize(
    ("now_s", "status"),
    [
        (START.timestamp() - 1, S.NOT_YET_VALID),
        (START.timestamp(), S.TRUSTED),
        (END.timestamp(), S.TRUSTED),
        (END.timestamp() + 1, S.EXPIRED),
    ],
)
def test_bep35_a_certificate_counts_in_its_time_only(now_s: float, status: S) -> None:
    certificate = own()
    signed = sign_torrent(METAINFO, signing_key(), certificate)
    assert only(signed, certificate, now_s=now_s).status is status


def test_bep35_what_an_authority_issued_counts_in_the_time_of_both() -> None:
    late = START.replace(year=2031)
    root = make_certificate("com.root", key=rsa_key(9), extensions=((CA, True),), start=late)
    signed = sign_torrent(METAINFO, signing_key(), issued())
    assert only(signed, root).status is S.NOT_YET_VALID
    assert only(signed, root, now_s=NOW_S + 2 * YEAR_S).status is S.TRUSTED
    assert only(signed, root, ROOT).status is S.TRUSTED


MIDDLE = make_certificate(
    "com.middle", key=rsa_key(8), issuer="com.root", issuer_key=rsa_key(9), extensions=((CA, True),)
)
NOT_ISSUED = {
    "chain": lambda: (issued(issuer="com.middle", issuer_key=rsa_key(8)), ROOT),
    "no_authority": lambda: (
        issued(),
        make_certificate("com.root", key=rsa_key(9), extensions=((NO_CA, True),)),
    ),
    "v3_that_says_nothing": lambda: (issued(), make_certificate("com.root", key=rsa_key(9))),
    "not_for_certificates": lambda: (
        issued(),
        make_certificate(
            "com.root",
            key=rsa_key(9),
            extensions=((CA, True), (usage(digital_signature=True), True)),
        ),
    ),
    "other_key": lambda: (
        issued(),
        make_certificate("com.root", key=rsa_key(7), extensions=((CA, True),)),
    ),
    "other_name": lambda: (issued(issuer="com.other"), ROOT),
}


@pytest.mark.parametrize("make", NOT_ISSUED.values(), ids=NOT_ISSUED.keys())
def test_bep35_who_is_not_issued_by_a_trusted_authority_is_not_trusted(make) -> None:
    certificate, root = make()
    signed = sign_torrent(METAINFO, signing_key(), certificate)
    assert only(signed, root).status is S.UNTRUSTED


def test_bep35_the_end_of_a_chain_is_trusted_where_its_middle_is() -> None:
    certificate = issued(issuer="com.middle", issuer_key=rsa_key(8))
    assert only(sign_torrent(METAINFO, signing_key(), certificate), MIDDLE).status is S.TRUSTED


BAD_KEYS = {
    "ec": lambda: make_certificate(NAME, key=ec_key()),
    "short": lambda: make_certificate(NAME, key=rsa_key(0, 1_024)),
    "not_for_signatures": lambda: make_certificate(
        NAME, extensions=((usage(key_encipherment=True), True),)
    ),
}


@pytest.mark.parametrize("make", BAD_KEYS.values(), ids=BAD_KEYS.keys())
def test_bep35_a_key_that_is_none_for_signatures_signs_nothing(make) -> None:
    certificate = make()
    signed = with_fields(signature=b"s" * 256, certificate=certificate.der)
    assert only(signed, certificate).status is S.BAD_KEY
    with pytest.raises(SignatureError):
        sign_torrent(METAINFO, signing_key(), certificate)


def test_bep35_a_critical_extension_that_is_not_known_makes_a_certificate_unreadable() -> None:
    oid = x509.ObjectIdentifier("1.2.3.4.5")
    with pytest.raises(SignatureError, match=r"1\.2\.3\.4\.5"):
        make_certificate(NAME, extensions=((x509.UnrecognizedExtension(oid, b"\x05\x00"), True),))
    unknown = x509.UnrecognizedExtension(oid, b"\x05\x00")
    assert make_certificate(NAME, extensions=((unknown, False),)).name == NAME


DER = make_certificate(NAME).der
MALFORMED: dict[str, bytes] = {
    "no_dictionary": b"i1e",
    "string": b"3:abc",
    "empty": b"de",
    "no_signature": encode({"certificate": DER}),
    "empty_signature": encode({"signature": b""}),
    "signature_is_a_number": encode({"signature": 1}),
    "certificate_is_a_list": encode({"signature": b"s", "certificate": [DER]}),
    "certificate_is_empty": encode({"signature": b"s", "certificate": b""}),
    "certificate_is_cut": encode({"signature": b"s", "certificate": DER[:-1]}),
    "certificate_has_more": encode({"signature": b"s", "certificate": DER + b"\0"}),
    "certificate_is_pem": encode({"signature": b"s", "certificate": certificate_pem(own())}),
    "certificate_is_long": encode({"signature": b"s", "certificate": b"\x30" * 20_000}),
    "certificate_is_nested": encode({"signature": b"s", "certificate": b"\x30\x80" * 8_000}),
    "length_beyond": encode({"signature": b"s", "certificate": b"\x30\x84\xff\xff\xff\xff"}),
    "info_is_a_string": encode({"signature": b"s", "info": b"i"}),
    "longer_than_allowed": encode({"signature": b"s" * 200_000}),
    "too_many_values": encode({"signature": b"s", "x": [1] * 20_000}),
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED.keys())
def test_bep35_a_malformed_signature_is_told_and_the_torrent_loads(raw: bytes) -> None:
    metainfo = METAINFO.with_signatures({NAME.encode(): raw})
    assert only(metainfo, own()).status is S.MALFORMED
    assert metainfo.info_hash == METAINFO.info_hash
    assert metainfo.edited(comment="c").signatures == {NAME.encode(): raw}


WRONG = {
    "short": b"s",
    "zeros": bytes(256),
    "long": b"s" * 4_096,
}


@pytest.mark.parametrize("signature", WRONG.values(), ids=WRONG.keys())
def test_bep35_bytes_that_are_no_signature_are_wrong(signature: bytes) -> None:
    certificate = own()
    metainfo = with_fields(signature=signature, certificate=certificate.der)
    assert only(metainfo, certificate).status is S.WRONG


@pytest.mark.parametrize("value", [b"i1e", b"le", b"3:abc"])
def test_bep35_signatures_that_are_no_dictionary_are_none(value: bytes) -> None:
    source = METAINFO.source
    metainfo = Metainfo.from_bytes(source[:-1] + b"10:signatures" + value + b"e")
    assert metainfo.signatures == {}
    signed = sign_torrent(metainfo, signing_key(), own())
    assert only(signed).is_right


def test_bep35_of_very_many_signatures_some_are_checked_and_all_kept() -> None:
    raw = {b"n%04d" % number: encode({"signature": b"s"}) for number in range(300)}
    metainfo = METAINFO.with_signatures(raw)
    assert len(check_signatures(metainfo, (), now_s=NOW_S)) == MAX_SIGNATURES
    assert metainfo.edited(comment="c").signatures == raw


def test_bep35_a_very_long_name_is_malformed() -> None:
    found = only(with_fields(b"n" * 1_000, signature=b"s"))
    assert (found.status, len(found.name)) == (S.MALFORMED, 255)


@pytest.mark.parametrize("names", [(), ("a", "b"), ("a\nb",)])
def test_bep35_a_certificate_without_one_name_signs_nothing(names: tuple[str, ...]) -> None:
    with pytest.raises(SignatureError, match="common name"):
        sign_torrent(METAINFO, signing_key(), make_certificate(*names))


def test_bep35_the_certificate_must_be_that_of_the_key() -> None:
    with pytest.raises(SignatureError, match="another key"):
        sign_torrent(METAINFO, signing_key(1), own())


@pytest.mark.parametrize("url", ["", "ftp://h/", "http://h/\n", " http://h/"])
def test_bep39_only_urls_of_http_are_signed(url: str) -> None:
    with pytest.raises(SignatureError, match="URL"):
        sign_torrent(METAINFO, signing_key(), own(), update_url=url)


def test_keys_are_read_with_their_password_only() -> None:
    locked = pem_of(rsa_key(), b"secret")
    assert SigningKey(locked, b"secret").is_of(rsa_key().public_key())
    with pytest.raises(SignatureError, match="assword"):
        SigningKey(locked)
    with pytest.raises(SignatureError, match="password is wrong"):
        SigningKey(locked, b"other")
    with pytest.raises(SignatureError, match="assword"):
        SigningKey(pem_of(rsa_key()), b"secret")


@pytest.mark.parametrize(
    "data",
    [b"", b"x", DER, certificate_pem(own()), pem_of(ec_key()), pem_of(rsa_key(0, 1_024))],
    ids=["empty", "text", "der", "certificate", "ec", "short"],
)
def test_what_is_no_key_for_signatures_is_refused(data: bytes) -> None:
    with pytest.raises(SignatureError):
        SigningKey(data)


def test_a_file_has_certificates_in_pem_or_one_in_der() -> None:
    first, second = own(), ROOT
    text = b"a comment\n" + certificate_pem(first) + b"\n" + certificate_pem(second)
    assert read_certificates(text + certificate_pem(first)) == (first, second)
    assert read_certificates(first.der) == (first,)


NO_CERTIFICATES = {
    "empty": b"",
    "text": b"hello",
    "key": pem_of(rsa_key()),
    "cut": certificate_pem(own())[:-30],
    "one_of_two_is_damaged": certificate_pem(own()) + certificate_pem(own()).replace(b"M", b"!"),
    "not_base64": b"-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n",
    "no_certificate": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    "long": b"-----BEGIN " + b"x" * 5_000_000,
}


@pytest.mark.parametrize("data", NO_CERTIFICATES.values(), ids=NO_CERTIFICATES.keys())
def test_a_file_without_certificates_is_refused(data: bytes) -> None:
    with pytest.raises(SignatureError):
        read_certificates(data)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(DER)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data) - 1))
        data[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=3))
    return bytes(data)


@settings(deadline=None)
@given(st.binary(max_size=300) | damaged())
def test_a_certificate_raises_nothing_but_its_error(data: bytes) -> None:
    with suppress(SignatureError):
        certificate = Certificate(data)
        certificate.is_issued_by(ROOT)
        ROOT.is_issued_by(certificate)
        assert not certificate.has_signed(b"s" * 256, "sha256", bytes(32))


@settings(deadline=None)
@given(
    st.binary(max_size=400)
    | damaged().map(lambda der: encode({"signature": b"s", "certificate": der}))
)
def test_bep35_no_signature_raises_or_is_trusted(raw: bytes) -> None:
    for value in (raw, encode(raw), encode({"signature": b"s", "x": raw})):
        with suppress(BencodeError):
            assert not only(METAINFO.with_signatures({b"n": value}), ROOT).is_right


def test_bep35_no_flipped_bit_of_a_signature_is_right() -> None:
    certificate = own()
    signed = sign_torrent(METAINFO, signing_key(), certificate)
    fields = decode(signed.signatures[NAME.encode()])
    assert isinstance(fields, dict)
    signature = fields[b"signature"]
    assert isinstance(signature, bytes)
    for at in range(0, len(signature), 7):
        flipped = bytes(byte ^ (index == at) for index, byte in enumerate(signature))
        raw = encode({"signature": flipped, "certificate": certificate.der})
        found = only(METAINFO.with_signatures({NAME.encode(): raw}), certificate)
        assert found.status is S.WRONG


def test_the_warnings_of_the_library_are_not_passed_on() -> None:
    with warnings.catch_warnings(record=True) as passed:
        warnings.simplefilter("always")
        with suppress(SignatureError):
            Certificate(DER.replace(NAME.encode(), b"\xff" * len(NAME)))
    assert passed == []


def openssl(folder: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    command = ["openssl", *arguments]
    done = subprocess.run(
        command, cwd=folder, input=stdin, capture_output=True, check=True, timeout=60
    )
    return done.stdout


@pytest.fixture(scope="module")
def made_by_openssl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with key and certificate, made by the commands of BEP 35."""
    folder = tmp_path_factory.mktemp("openssl")
    openssl(folder, "genrsa", "-out", "ca.pem", "2048")
    openssl(
        folder,
        "req",
        "-x509",
        "-new",
        "-key",
        "ca.pem",
        "-subj",
        "/CN=com.root",
        "-days",
        "30",
        "-out",
        "ca.crt",
    )
    openssl(folder, "genrsa", "-aes256", "-passout", "pass:secret", "-out", "key.pem", "2048")
    openssl(
        folder,
        "req",
        "-new",
        "-key",
        "key.pem",
        "-passin",
        "pass:secret",
        "-subj",
        f"/CN={NAME}",
        "-out",
        "a.csr",
    )
    openssl(
        folder,
        "x509",
        "-req",
        "-days",
        "30",
        "-in",
        "a.csr",
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.pem",
        "-set_serial",
        "01",
        "-out",
        "a.crt",
    )
    return folder  # fmt: skip


@pytest.mark.parametrize("digest", ["sha1", "sha256"])
def test_bep35_openssl_signs_and_we_check(made_by_openssl: Path, digest: str) -> None:
    folder = made_by_openssl
    (certificate,) = read_certificates((folder / "a.crt").read_bytes())
    (root,) = read_certificates((folder / "ca.crt").read_bytes())
    signature = openssl(
        folder, "dgst", f"-{digest}", "-sign", "key.pem", "-passin", "pass:secret",
        stdin=METAINFO.info_bytes,
    )  # fmt: skip
    found = only(
        with_fields(signature=signature, certificate=certificate.der),
        root,
        now_s=certificate.not_before_s + 60,
    )
    assert (found.status, found.digest) == (S.TRUSTED, digest)


@pytest.mark.parametrize("digest", certificates.DIGESTS)
def test_bep35_we_sign_and_openssl_checks(
    made_by_openssl: Path, digest: certificates.Digest, tmp_path: Path
) -> None:
    folder = made_by_openssl
    (certificate,) = read_certificates((folder / "a.crt").read_bytes())
    key = SigningKey((folder / "key.pem").read_bytes(), b"secret")
    signed = sign_torrent(METAINFO, key, certificate, digest=digest, update_url="http://h/")
    fields = decode(signed.signatures[NAME.encode()])
    assert isinstance(fields, dict)
    public = openssl(folder, "x509", "-in", "a.crt", "-noout", "-pubkey")
    (tmp_path / "public.pem").write_bytes(public)
    (tmp_path / "signature").write_bytes(fields[b"signature"])  # type: ignore[arg-type]
    said = openssl(
        tmp_path, "dgst", f"-{digest}", "-verify", "public.pem", "-signature", "signature",
        stdin=METAINFO.info_bytes + encode(fields[b"info"]),
    )  # fmt: skip
    assert said == b"Verified OK\n"


def test_bep35_what_was_issued_with_sha1_is_not_trusted(made_by_openssl: Path) -> None:
    folder = made_by_openssl
    openssl(
        folder, "x509", "-req", "-sha1", "-days", "30", "-in", "a.csr", "-CA", "ca.crt",
        "-CAkey", "ca.pem", "-set_serial", "02", "-out", "old.crt",
    )  # fmt: skip
    (certificate,) = read_certificates((folder / "old.crt").read_bytes())
    (root,) = read_certificates((folder / "ca.crt").read_bytes())
    assert not certificate.is_issued_by(root)


def test_a_torrent_that_is_kept_as_another_keeps_its_signatures() -> None:
    signed = sign_torrent(METAINFO, signing_key(), own())
    assert replace(signed).signatures == signed.signatures
