"""Feeds of torrents (BEP 39): what is asked, and which newer versions are accepted."""

from pathlib import Path

import pytest

from tests.support.feeds import URL, originator, version
from tests.support.signers import END, NOW_S, make_certificate, rsa_key, signing_key
from torrent_engine.base.errors import ConfigError, MetainfoError, SignatureError
from torrent_engine.codec.bencode import decode, encode
from torrent_engine.codec.feed import check_update, feed_request
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.signatures import sign_torrent
from torrent_engine.disk.create.create import CreateOptions, create_torrent


def asked(metainfo: Metainfo, *, now_s: float = NOW_S) -> str | None:
    return feed_request(metainfo, now_s=now_s)


def with_info(**changes: object) -> Metainfo:
    info = decode(version(1).info_bytes)
    assert isinstance(info, dict)
    given = {key.encode(): value for key, value in changes.items()}
    return Metainfo.from_bytes(encode({"info": {**info, **given}}))  # type: ignore[arg-type]


def test_bep39_the_feed_is_asked_with_the_info_hash_in_hexadecimal() -> None:
    metainfo = version(1)
    assert asked(metainfo) == f"{URL}?info_hash={metainfo.info_hash.hex()}"


def test_bep39_parameters_of_the_url_stay_and_its_fragment_does_not() -> None:
    metainfo = with_info(**{"update-url": "http://h/f?a=1#part"})
    assert asked(metainfo) == f"http://h/f?a=1&info_hash={metainfo.info_hash.hex()}"


@pytest.mark.parametrize(
    "url", [b"ftp://h/", b"", b"http://h/\x01", 7, [b"http://h/"], b"x" * 9_000]
)
def test_bep39_what_is_no_url_is_no_feed(url: object) -> None:
    metainfo = with_info(**{"update-url": url})
    assert (metainfo.update_url, asked(metainfo)) == (None, None)


@pytest.mark.parametrize("url", ["http://[", "http://a]b/", "http://\u2100.example/"])
def test_bep39_a_malformed_url_is_an_error(url: str) -> None:
    metainfo = with_info(**{"update-url": url.encode()})
    with pytest.raises(MetainfoError, match="URL of the feed is malformed"):
        asked(metainfo)


@pytest.mark.parametrize("value", [7, b"", b"x" * 20_000, [b"x"]])
def test_bep39_what_is_no_certificate_is_no_originator(value: object) -> None:
    assert with_info(originator=value).originator is None


def test_bep39_the_url_that_the_originator_signed_counts_more() -> None:
    other = "https://other.example/feed"
    signed = sign_torrent(version(1), signing_key(), originator(), update_url=other)
    assert asked(signed) == f"{other}?info_hash={signed.info_hash.hex()}"
    late = asked(signed, now_s=END.timestamp() + 1)
    assert late == f"{URL}?info_hash={signed.info_hash.hex()}"


def test_bep39_the_url_that_somebody_else_signed_does_not_count() -> None:
    certificate = make_certificate("com.other", key=rsa_key(1))
    signed = sign_torrent(version(1), signing_key(1), certificate, update_url="http://evil/")
    assert asked(signed) == asked(version(1))


def test_bep39_a_forged_url_of_the_originator_does_not_count() -> None:
    signed = sign_torrent(version(1), signing_key(), originator(), update_url="http://one.example/")
    ((name, raw),) = signed.signatures.items()
    forged = version(1).with_signatures({name: raw.replace(b"//one.", b"//two.")})
    assert asked(forged) == asked(version(1))


def test_bep39_what_the_originator_signed_is_an_update() -> None:
    for has_certificate in (True, False):
        newer = sign_torrent(
            version(2), signing_key(), originator(), has_certificate=has_certificate
        )
        found = check_update(version(1), newer, now_s=NOW_S)
        assert (found.is_trusted, found.name) == (True, "com.example")


def test_bep39_further_signatures_do_no_harm() -> None:
    certificate = make_certificate("aaa.first", key=rsa_key(1))
    newer = sign_torrent(version(2), signing_key(1), certificate)
    both = sign_torrent(newer, signing_key(), originator())
    assert check_update(version(1), both, now_s=NOW_S).name == "com.example"


def _same_name_other_key() -> Metainfo:
    return sign_torrent(version(2), signing_key(1), make_certificate("com.example", key=rsa_key(1)))


def _issued_by_the_originator() -> Metainfo:
    certificate = make_certificate(
        "com.example.sub", key=rsa_key(1), issuer="com.example", issuer_key=rsa_key()
    )
    return sign_torrent(version(2), signing_key(1), certificate)


def _signature_of_the_older() -> Metainfo:
    signed = sign_torrent(version(1), signing_key(), originator())
    return version(2).with_signatures(signed.signatures)


REFUSED = {
    "unsigned": lambda: version(2),
    "same_name_other_key": _same_name_other_key,
    "issued_by_the_originator": _issued_by_the_originator,
    "signature_of_the_older": _signature_of_the_older,
    "malformed": lambda: version(2).with_signatures({b"com.example": b"i1e"}),
}


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED.keys())
def test_bep39_what_the_originator_did_not_sign_is_refused(make) -> None:
    with pytest.raises(SignatureError):
        check_update(version(1), make(), now_s=NOW_S)


def test_bep39_an_originator_that_has_expired_updates_nothing() -> None:
    newer = sign_torrent(version(2), signing_key(), originator())
    with pytest.raises(SignatureError, match="expired"):
        check_update(version(1), newer, now_s=END.timestamp() + 1)


@pytest.mark.parametrize("originator_bytes", [None, b"no certificate"])
def test_bep39_without_an_originator_nothing_is_an_update(originator_bytes) -> None:
    changes = {} if originator_bytes is None else {"originator": originator_bytes}
    older = version(1, originator=None) if originator_bytes is None else with_info(**changes)
    newer = sign_torrent(version(2), signing_key(), originator())
    with pytest.raises(SignatureError):
        check_update(older, newer, now_s=NOW_S)


def test_bep39_a_torrent_is_made_with_feed_and_originator(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 50_000)
    der = originator().der
    options = CreateOptions(update_url=URL, originator=der, format="hybrid")
    metainfo = Metainfo.from_bytes(create_torrent(tmp_path / "a", options))
    assert (metainfo.update_url, metainfo.originator) == (URL, der)
    assert metainfo.edited(comment="c").originator == der


@pytest.mark.parametrize(
    "options",
    [
        {"update_url": "ftp://h/"},
        {"update_url": ""},
        {"originator": b""},
        {"originator": b"x"},
        {"originator": make_certificate("a", key=rsa_key(0, 1_024)).der},
    ],
    ids=["scheme", "no_url", "empty", "no_certificate", "short_key"],
)
def test_bep39_a_torrent_is_not_made_with_what_nobody_could_use(tmp_path: Path, options) -> None:
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(ConfigError):
        create_torrent(tmp_path / "a", CreateOptions(**options))
