from base64 import b32encode
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.cpu_time import cpu_time
from tests.support.torrents import make_torrent, payload_of
from tests.support.v2_torrents import hybrid_info, torrent_around
from torrent_engine.base.config import STORED_MAGNET_LIMITS, MagnetLimits
from torrent_engine.base.errors import MagnetError
from torrent_engine.base.ids import InfoHash, InfoHashV2
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.paths import clean_element

HASH = InfoHash(bytes(range(20)))
HEX = HASH.hex()
BASE32 = b32encode(HASH).decode()
LINK = f"magnet:?xt=urn:btih:{HEX}"
BTMH = "xt=urn:btmh:1220" + "ab" * 32
V2_HASH = InfoHashV2(b"\xab" * 32)

SPELLINGS = {
    "hex": LINK,
    "hex_upper": f"magnet:?xt=urn:btih:{HEX.upper()}",
    "base32": f"magnet:?xt=urn:btih:{BASE32}",
    "base32_lower": f"magnet:?xt=urn:btih:{BASE32.lower()}",
    "bare_hex": HEX,
    "bare_base32": BASE32,
    "spaces_around": f"  {LINK}\n",
    "no_question_mark": LINK.replace("?", ""),
    "upper_case_scheme_and_key": f"MAGNET:?XT=URN:BTIH:{HEX}",
    "quoted": "magnet:?xt=urn%3Abtih%3A" + HEX,
    "topic_is_not_first": f"magnet:?dn.1=&as=http://x/&xt=urn:btih:{HEX}",
    "other_topics": f"magnet:?xt=urn:sha1:{BASE32}&xt=urn:ed2k:00&xt=urn:btih:{HEX}",
    "numbered": f"magnet:?xt.1=urn:btih:{HEX}&xt.2=urn:btih:{'0' * 40}",
    "hybrid": f"magnet:?{BTMH}&xt=urn:btih:{HEX}",
    "empty_parts": f"magnet:?&&=&tr&{LINK[8:]}&",
}

MALFORMED = {
    "empty": "",
    "words": "ubuntu.iso",
    "path": "/tmp/a.torrent",
    "http": f"http://host/?xt=urn:btih:{HEX}",
    "no_topic": "magnet:?dn=name",
    "nothing": "magnet:",
    "hash_of_39": LINK[:-1],
    "hash_of_41": LINK + "0",
    "hash_not_hex": LINK[:-1] + "g",
    "hash_not_base32": f"magnet:?xt=urn:btih:{BASE32[:-1]}1",
    "hash_empty": "magnet:?xt=urn:btih:",
    "hash_with_space": f"magnet:?xt=urn:btih:{HEX[:20]}%20{HEX[21:]}",
    "hash_unicode_digits": "magnet:?xt=urn:btih:" + "\u0661" * 40,
    "bare_39": HEX[:-1],
    "bare_unicode_digits": "\u0661" * 40,
    "bare_33": BASE32 + "A",
    "other_network": f"magnet:?xt=urn:sha1:{BASE32}",
    "too_long": LINK + "&dn=" + "a" * 65_536,
    "surrogate": "magnet:?xt=urn:btih:\udcff",
}


@pytest.mark.parametrize("text", SPELLINGS.values(), ids=SPELLINGS)
def test_bep9_info_hash_in_all_its_spellings(text: str) -> None:
    v2 = V2_HASH if BTMH in text else None
    assert Magnet.parse(text) == Magnet(HASH, info_hash_v2=v2)


@pytest.mark.parametrize("text", SPELLINGS.values(), ids=SPELLINGS)
def test_bep9_a_link_is_known_from_a_path(text: str) -> None:
    assert Magnet.is_link(text)
    assert not Magnet.is_link(f"./{text.strip()}")


@pytest.mark.parametrize(
    "text", ["", "a.torrent", "http://h/?xt=urn:btih:", HEX[1:], "\udcff" * 40]
)
def test_bep9_a_path_is_no_link(text: str) -> None:
    assert not Magnet.is_link(text)


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_a15_malformed_link_is_refused(text: str) -> None:
    with pytest.raises(MagnetError):
        Magnet.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        f"magnet:?{BTMH}",
        f"magnet:?{BTMH.upper()}",
        f"magnet:?xt=urn:btmh:1114{'00' * 20}&{BTMH}",
        f"magnet:?xt=urn:btih:{HEX[1:]}&{BTMH}",
        f"magnet:?{BTMH}&xt=urn:btmh:1220{'ee' * 32}",
    ],
)
def test_bep52_a_v2_only_link_is_read(text: str) -> None:
    magnet = Magnet.parse(text)
    assert magnet == Magnet(V2_HASH.truncated, info_hash_v2=V2_HASH)
    assert not magnet.has_v1
    assert str(magnet) == f"magnet:?{BTMH}"


@pytest.mark.parametrize("multihash", ["1220" + "ab" * 31, "1220" + "zz" * 32, "1114" + "ab" * 20])
def test_bep52_a_malformed_multihash_is_refused_or_passed_over(multihash: str) -> None:
    with pytest.raises(MagnetError, match="64 hexadecimal digits"):
        Magnet.parse(f"magnet:?xt=urn:btmh:{multihash}")
    assert Magnet.parse(f"{LINK}&xt=urn:btmh:{multihash}") == Magnet(HASH)


def test_bep52_the_link_of_a_hybrid_has_both_hashes() -> None:
    magnet = Magnet(HASH, info_hash_v2=V2_HASH)
    assert magnet.has_v1
    assert str(magnet) == f"{LINK}&{BTMH}"
    assert Magnet.parse(str(magnet)) == magnet


def test_bep52_the_link_of_a_hybrid_that_is_known_by_its_v2_hash_has_both_hashes() -> None:
    hybrid = Metainfo.from_bytes(torrent_around(*hybrid_info({"a": b"x"})))
    assert hybrid.v2_swarm is not None
    magnet = Magnet.of(hybrid.known_by(hybrid.v2_swarm))
    assert magnet.has_v1
    assert (magnet.info_hash, magnet.info_hash_v2) == (hybrid.info_hash, hybrid.info_hash_v2)


def test_bep9_everything_that_a_link_can_say() -> None:
    magnet = Magnet.parse(
        f"{LINK}&dn=The+old%20film%2B.mkv&xl=1234"
        "&tr=http%3A%2F%2Ft.example%2Fannounce%3Fa%3D1%26b%3D2&tr=udp://u.example:80"
        "&ws=http://w.example/a%2520b&ws=https://w.example/c"
        "&x.pe=10.0.0.1:6881&x.pe=[2001:db8::1]:6882&x.pe=peer.example:6883&so=0,2,4-6"
    )
    assert magnet == Magnet(
        HASH,
        name="The old film+.mkv",
        trackers=("http://t.example/announce?a=1&b=2", "udp://u.example:80"),
        web_seeds=("http://w.example/a%20b", "https://w.example/c"),
        peers=(("10.0.0.1", 6881), ("2001:db8::1", 6882), ("peer.example", 6883)),
        selected_files=(0, 2, 4, 5, 6),
        total_bytes=1234,
    )
    assert Magnet.parse(str(magnet)) == magnet


def test_bep9_numbered_and_html_escaped_parameters_count() -> None:
    magnet = Magnet.parse(f"{LINK}&amp;tr.1=udp://a:1&amp;tr.2=udp://b:2&dn.1=x&x.pe.7=h:1")
    assert magnet.trackers == ("udp://a:1", "udp://b:2")
    assert (magnet.name, magnet.peers) == ("x", (("h", 1),))


@pytest.mark.parametrize(
    "value",
    [
        "host",
        "host:0",
        "host:65536",
        "host:-1",
        "host:1a",
        ":1",
        "::1:80",
        "[::1]",
        "[::1:80",
        "[::1%25eth0]:80",
        "[10.0.0.1]:80",
        "[x]:80",
        "ho st:1",
        "h\u00e9:1",
        "a/b:1",
        "user@host:1",
        f"{'a' * 254}:1",
    ],
)
def test_a15_malformed_peer_is_left_out(value: str) -> None:
    assert Magnet.parse(f"{LINK}&x.pe={value}&x.pe=ok:1").peers == (("ok", 1),)


@pytest.mark.parametrize("url", ["ftp://t", "file:///etc/passwd", "t.example", "", "http://a%0Ab"])
def test_a15_url_of_another_kind_is_left_out(url: str) -> None:
    magnet = Magnet.parse(f"{LINK}&tr={url}&ws={url}&ws=udp://w&tr=udp://t&ws=http://w")
    assert (magnet.trackers, magnet.web_seeds) == (("udp://t",), ("http://w",))


def test_a15_what_is_over_the_limits_is_dropped() -> None:
    """The length of a link is limited as well, so that the values here are short."""
    many = "".join(f"&tr=udp://{n}&ws=http://{n}&x.pe=h:{n + 1}" for n in range(1_000))
    magnet = Magnet.parse(LINK + many)
    assert len(magnet.trackers) == 100
    assert len(magnet.web_seeds) == 100
    assert len(magnet.peers) == 50
    assert magnet.peers[-1] == ("h", 50)


def test_a15_only_the_first_addresses_are_looked_at() -> None:
    limits = MagnetLimits(max_peers=2)
    link = f"{LINK}{'&x.pe=h:0' * 7}&x.pe=h:1&x.pe=h:2"
    assert Magnet.parse(link, limits=limits).peers == (("h", 1),)


def test_a15_limits_can_be_changed() -> None:
    limits = MagnetLimits(max_uri_bytes=len(LINK) + 2 * len("&tr=udp://a"), max_trackers=1)
    link = f"{LINK}&tr=udp://a&tr=udp://b"
    assert Magnet.parse(link, limits=limits).trackers == ("udp://a",)
    with pytest.raises(MagnetError, match="more than"):
        Magnet.parse(link + "c", limits=limits)


def test_a15_the_length_is_that_of_the_bytes() -> None:
    text = f"{LINK}&dn=" + "\u20ac" * 22_000
    assert len(text) < 65_536
    with pytest.raises(MagnetError, match="more than 65536"):
        Magnet.parse(text)


HOSTILE_NAMES = {
    "..%2F..%2Fetc%2Fpasswd": ".._.._etc_passwd",
    "a%00b": "a_b",
    "a%1B%5B31mb": "a_[31mb",
    "C%3A%5Cx": "C:\\x",
    "%E2%80%AEgpj.exe": "gpj.exe",
    "%FF": "_",
    "%20%20x%20": "x",
    "%E2%80%AE%20x": "x",
}


@pytest.mark.parametrize(("quoted", "name"), HOSTILE_NAMES.items())
def test_a15_a_hostile_name_is_cleaned(quoted: str, name: str) -> None:
    assert Magnet.parse(f"{LINK}&dn={quoted}").name == name


@pytest.mark.parametrize("quoted", ["", "..", ".", "%20.%20", "%E2%80%AE", "+"])
def test_a15_a_name_that_says_nothing_is_none(quoted: str) -> None:
    magnet = Magnet.parse(f"{LINK}&dn={quoted}")
    assert (magnet.name, magnet.display_name) == (None, HEX)


def test_a15_a_long_name_is_cut() -> None:
    name = Magnet.parse(f"{LINK}&dn={'n' * 60_000}.mkv").name
    assert name == "n" * 251 + ".mkv"


@pytest.mark.parametrize(
    ("value", "files"),
    [
        ("0", (0,)),
        ("3,1,1,2", (1, 2, 3)),
        ("2-4,3-6", (2, 3, 4, 5, 6)),
        ("0-9,2-3,5", tuple(range(10))),
        ("5-4", None),
        ("", None),
        ("a,1", (1,)),
        ("-1", None),
        ("1-", None),
        ("1,%2C,9999999999", (1,)),
        ("\u0661", None),
    ],
)
def test_bep53_selected_files(value: str, files: tuple[int, ...] | None) -> None:
    assert Magnet.parse(f"{LINK}&so={value}").selected_files == files


def test_a15_many_wide_ranges_cost_no_more_than_the_limit() -> None:
    ranges = ",".join(["0-999999999"] * 5_000)
    with cpu_time() as spent:
        magnet = Magnet.parse(f"{LINK}&so={ranges}")
    assert magnet.selected_files == tuple(range(100_000))
    assert spent.seconds < 1.0


def test_a15_repeated_numbers_of_files_are_not_looked_at_beyond_what_a_link_has_room_for() -> None:
    limits = MagnetLimits(max_uri_bytes=400)
    parsed = Magnet.parse(f"{LINK}&so={'1,' * 90}6,{'1,' * 20}7", limits=limits)
    assert parsed.selected_files == (1, 6)


def test_a15_a_full_link_of_different_numbers_has_all_of_them() -> None:
    numbers = tuple(range(0, 23_000, 2))
    link = f"{LINK}&so={','.join(map(str, numbers))}"
    assert len(link) > 63_000
    assert Magnet.parse(link).selected_files == numbers


@pytest.mark.parametrize("value", ["0", "-1", "x", "", "9" * 30, str(1 << 63), "%D9%A1"])
def test_a15_length_that_is_none_is_left_out(value: str) -> None:
    assert Magnet.parse(f"{LINK}&xl={value}").total_bytes is None


def test_bep9_link_of_a_torrent() -> None:
    tiers = (("http://a/announce", "udp://b:1"), ("http://c/announce",))
    metainfo, _ = make_torrent(payload_of(10), name="a b&c", tiers=tiers)
    magnet = Magnet.of(metainfo)
    assert magnet.trackers == ("http://a/announce", "udp://b:1", "http://c/announce")
    assert (magnet.info_hash, magnet.name) == (metainfo.info_hash, "a b&c")
    assert Magnet.parse(str(Magnet.of(metainfo))) == magnet


def test_a15_link_of_a_torrent_with_too_many_trackers_can_be_parsed() -> None:
    tiers = tuple((f"http://{'t' * 4_000}/{n}",) for n in range(50))
    metainfo, _ = make_torrent(
        payload_of(10), tiers=tiers, web_seeds=["http://w/" + "\u20ac" * 999]
    )
    magnet = Magnet.of(metainfo)
    assert len(magnet.trackers) == 8
    assert Magnet.parse(str(magnet)) == magnet


def test_a15_a_stored_link_has_all_files_that_were_selected() -> None:
    magnet = Magnet(HASH, selected_files=tuple(range(0, 2_000_000, 20)))
    assert Magnet.parse(str(magnet), limits=STORED_MAGNET_LIMITS) == magnet
    with pytest.raises(MagnetError):
        Magnet.parse(str(magnet))


names = st.text(min_size=1).map(lambda text: clean_element(text.encode("utf-8", "replace")).strip())
urls = st.from_regex(r"(http|https)://[a-z0-9.]{1,20}/[!-~\u00e4\u20ac]{0,20}", fullmatch=True)
hosts = (
    st.ip_addresses(v=4).map(str)
    | st.ip_addresses(v=6).map(str)
    | st.from_regex(r"[a-z0-9.-]{1,30}", fullmatch=True)
)
magnets = st.builds(
    Magnet,
    st.binary(min_size=20, max_size=20).map(InfoHash),
    name=st.none() | names.filter(lambda name: name not in {"", ".", ".."}),
    trackers=st.lists(urls, max_size=5, unique=True).map(tuple),
    web_seeds=st.lists(urls, max_size=5, unique=True).map(tuple),
    peers=st.lists(st.tuples(hosts, st.integers(1, 65_535)), max_size=5, unique=True).map(tuple),
    selected_files=st.none() | st.sets(st.integers(0, 50), min_size=1).map(sorted).map(tuple),
    total_bytes=st.none() | st.integers(1, (1 << 63) - 1),
)


@given(magnets)
def test_a_link_says_the_same_when_it_is_parsed_again(magnet: Magnet) -> None:
    assert Magnet.parse(str(magnet)) == magnet


keys = st.sampled_from(["xt", "dn", "tr", "ws", "x.pe", "so", "xl", "tr.1", "amp;ws", "as", ""])
values = st.text() | st.text("0123456789,-:[]%.+urnbtihm/") | st.sampled_from([*MALFORMED.values()])
links = st.lists(st.tuples(keys, values)).map(
    lambda pairs: "magnet:?" + "&".join(f"{key}={value}" for key, value in pairs)
)


@given(st.text() | links | links.map(lambda link: f"{link}&{LINK[8:]}"))
def test_a15_nothing_but_magnet_error_escapes(text: str) -> None:
    with suppress(MagnetError):
        magnet = Magnet.parse(text)
        assert str(magnet).isprintable()
        assert Magnet.parse(str(magnet)) == magnet
