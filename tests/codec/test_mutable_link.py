"""Magnet links that name a public key (BEP 46): spellings, mistakes, and links with a torrent."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.errors import ConfigError, MagnetError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.mutable_link import MutableKey, MutableLink

PUBLIC = "8543d3e6115f0f98c944077a4493dcd543e49c739fd998550a1f614ab36ed63e"  # of BEP 46
LINK = f"magnet:?xs=urn:btpk:{PUBLIC}"
KEY = MutableKey(bytes.fromhex(PUBLIC))
SALTED = MutableKey(bytes.fromhex(PUBLIC), b"n")
HASH = InfoHash(bytes(range(20)))

SPELLINGS = {
    "plain": (LINK, KEY),
    "salt": (f"{LINK}&s=6e", SALTED),
    "empty_salt": (f"{LINK}&s=", KEY),
    "salt_first": (f"magnet:?s=6E&xs=urn:btpk:{PUBLIC}", SALTED),
    "upper_case": (f"MAGNET:?XS=URN:BTPK:{PUBLIC.upper()}", KEY),
    "quoted": (f"magnet:?xs=urn%3Abtpk%3A{PUBLIC}", KEY),
    "spaces_around": (f" {LINK}\n", KEY),
    "other_sources": (f"magnet:?xs=http://host/a&{LINK[8:]}", KEY),
    "other_topic": (f"{LINK}&xt=urn:sha1:abc", KEY),
    "longest_salt": (f"{LINK}&s={'ab' * 64}", MutableKey(KEY.public_key, b"\xab" * 64)),
}

MALFORMED = {
    "empty": "",
    "words": "ubuntu.iso",
    "http": f"http://host/?xs=urn:btpk:{PUBLIC}",
    "no_key": "magnet:?dn=name",
    "a_torrent": f"magnet:?xt=urn:btih:{HASH.hex()}",
    "both": f"{LINK}&xt=urn:btih:{HASH.hex()}",
    "key_empty": "magnet:?xs=urn:btpk:",
    "key_of_63": LINK[:-1],
    "key_of_65": LINK + "0",
    "key_not_hex": LINK[:-1] + "g",
    "key_unicode_digits": "magnet:?xs=urn:btpk:" + "\u0661" * 64,
    "salt_of_65": f"{LINK}&s={'ab' * 65}",
    "salt_odd": f"{LINK}&s=6",
    "salt_not_hex": f"{LINK}&s=salt",
    "too_long": f"{LINK}&dn={'a' * 65_536}",
    "surrogate": LINK[:-1] + "\udcff",
}


@pytest.mark.parametrize(("link", "key"), SPELLINGS.values(), ids=SPELLINGS)
def test_bep46_a_link_names_a_key(link: str, key: MutableKey) -> None:
    assert MutableLink.is_link(link)
    assert MutableLink.parse(link).key == key
    assert MutableLink.parse(str(key)).key == key


@pytest.mark.parametrize("link", MALFORMED.values(), ids=MALFORMED)
def test_bep46_a_malformed_link_is_refused(link: str) -> None:
    with pytest.raises(MagnetError):
        MutableLink.parse(link)


def test_bep46_a_key_alone_is_no_torrent_and_the_error_says_where_it_is() -> None:
    assert Magnet.is_link(LINK)
    with pytest.raises(MagnetError, match="public key"):
        Magnet.parse(LINK)


def test_bep46_what_is_found_becomes_a_link_with_all_that_the_first_one_said() -> None:
    link = MutableLink.parse(f"{LINK}&s=6e&dn=news&tr=udp://host:1/&x.pe=1.2.3.4:5")
    magnet = Magnet.published(link, HASH, 7)
    assert (magnet.info_hash, magnet.updates, magnet.sequence) == (HASH, SALTED, 7)
    assert (magnet.name, magnet.peers) == ("news", (("1.2.3.4", 5),))
    assert magnet.trackers == ("udp://host:1/",)
    assert Magnet.parse(str(magnet)) == magnet


@pytest.mark.parametrize("wrong", ["xs=urn:btpk:00", "xs=urn:btpk:", "xs=http://host/"])
def test_bep46_a_wrong_key_beside_a_torrent_is_left_out(wrong: str) -> None:
    assert Magnet.parse(f"magnet:?xt=urn:btih:{HASH.hex()}&{wrong}").updates is None


@pytest.mark.parametrize(
    ("key", "salt", "message"),
    [(bytes(31), b"", "31 bytes"), (bytes(33), b"", "33 bytes"), (bytes(32), bytes(65), "65")],
)
def test_bep46_a_key_has_32_bytes_and_a_salt_at_most_64(
    key: bytes, salt: bytes, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        MutableKey(key, salt)


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=64))
def test_bep46_every_key_is_read_back(public: bytes, salt: bytes) -> None:
    key = MutableKey(public, salt)
    assert MutableLink.parse(str(key)).key == key


@given(st.text(max_size=200) | st.text("magnet:?xsurnbtpk&=0123456789abcdef%", max_size=200))
def test_bep46_any_text_is_a_link_or_refused(text: str) -> None:
    for link in (text, f"{LINK}&{text}", f"magnet:?{text}"):
        with suppress(MagnetError):
            assert MutableLink.parse(link).key == MutableLink.parse(link).key
            assert MutableLink.is_link(link), "what is read is a link"
        with suppress(MagnetError):
            Magnet.parse(link)
