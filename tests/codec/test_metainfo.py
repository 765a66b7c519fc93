from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest

from tests.support.torrents import info_dict, make_torrent, payload_of
from tests.support.v2_torrents import hybrid_info
from torrent_engine.base.config import BencodeLimits
from torrent_engine.base.errors import BencodeError
from torrent_engine.codec.bencode import encode
from torrent_engine.codec.geometry import FileSlice
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo

FILES = {"a/one.bin": payload_of(20_000), "a/empty": b"", "b.txt": payload_of(30_000, 1)}


def load(info: Any, **torrent: Any) -> Metainfo:
    return Metainfo.from_bytes(encode({"info": info, **torrent}))


def test_bep3_single_file() -> None:
    metainfo, payload = make_torrent(payload_of(50_000), name="film.mkv")
    assert metainfo.name == "film.mkv"
    assert not metainfo.is_multi_file
    (entry,) = metainfo.files
    assert (entry.path, entry.raw_path) == (("film.mkv",), (b"film.mkv",))
    assert (entry.length_bytes, entry.offset_bytes) == (50_000, 0)
    assert (metainfo.piece_count, metainfo.total_bytes) == (4, 50_000)
    assert metainfo.geometry.last_piece_bytes == 50_000 - 3 * 16_384
    assert metainfo.piece_hash(3) == sha1(payload[3 * 16_384 :]).digest()


def test_bep3_files_lie_one_behind_the_other() -> None:
    metainfo, payload = make_torrent(FILES, name="set", piece_bytes=32_768)
    assert metainfo.is_multi_file
    assert [entry.path for entry in metainfo.files] == [
        ("set", "a", "one.bin"),
        ("set", "a", "empty"),
        ("set", "b.txt"),
    ]
    assert [entry.offset_bytes for entry in metainfo.files] == [0, 20_000, 20_000]
    assert metainfo.layout.slices(0, 32_768) == [FileSlice(0, 0, 20_000), FileSlice(2, 0, 12_768)]
    assert metainfo.total_bytes == len(payload)


def test_bep3_one_piece_over_thousands_of_files() -> None:
    metainfo, _ = make_torrent({f"{number:05}": b"x" for number in range(5_000)})
    assert metainfo.piece_count == 1
    assert len(metainfo.layout.slices(0, 5_000)) == 5_000


def test_bep3_info_hash_is_over_the_bytes_as_received() -> None:
    info, _ = info_dict(b"x")
    raw = encode(info)
    unsorted = b"d1:z0:" + raw[1:]
    metainfo = Metainfo.from_bytes(b"d4:info" + unsorted + b"e")
    assert metainfo.info_bytes == unsorted
    assert metainfo.info_hash == sha1(unsorted).digest()
    assert metainfo.to_bytes() == b"d4:info" + unsorted + b"e"


def test_bep12_tiers_replace_the_single_tracker() -> None:
    info, _ = info_dict(b"x")
    tiers = [
        ["http://a/", "udp://b:1"],
        [],
        ["http://a/", "ftp://no/", "https://c/", 7],
        "http://d/",
    ]
    metainfo = load(info, **{"announce": "http://old/", "announce-list": tiers})
    assert metainfo.tiers == (("http://a/", "udp://b:1"), ("https://c/",), ("http://d/",))


@pytest.mark.parametrize("tiers", [[], [[]], 7, [[b"\xff\x00"]], [["file:///etc/passwd"]]])
def test_bep12_useless_list_leaves_the_single_tracker(tiers: object) -> None:
    info, _ = info_dict(b"x")
    metainfo = load(info, **{"announce": "http://old/", "announce-list": tiers})
    assert metainfo.tiers == (("http://old/",),)


def test_bep3_torrent_without_tracker_has_no_tiers() -> None:
    assert make_torrent(b"x")[0].tiers == ()


def test_huge_urls_and_too_many_trackers_are_left_out() -> None:
    info, _ = info_dict(b"x")
    tiers = [[f"http://{number}/" for number in range(1_500)], ["http://late/"]]
    tiers[0].insert(0, "http://" + "x" * 5_000)
    (tier,) = load(info, **{"announce-list": tiers}).tiers
    assert len(tier) == 1_000
    assert tier[0] == "http://0/"


@pytest.mark.parametrize("value", ["http://w/", ["http://w/"], ["http://w/", "http://w/", "x", 1]])
def test_bep19_web_seeds_are_a_string_or_a_list(value: object) -> None:
    info, _ = info_dict(b"x")
    metainfo = load(info, **{"url-list": value, "httpseeds": value})
    assert metainfo.web_seeds == metainfo.http_seeds == ("http://w/",)


def test_bep5_nodes_are_kept_and_nonsense_is_not() -> None:
    info, _ = info_dict(b"x")
    nodes = [["h.example", 6881], ["::1", 1], ["h", 0], ["h", 65536], ["", 1], ["h"], 7, [1, "h"]]
    nodes.append([b"\xff", 1])
    assert load(info, nodes=nodes).nodes == (("h.example", 6881), ("::1", 1))
    assert load(info, nodes=7).nodes == ()


@pytest.mark.parametrize(
    ("value", "private"), [(1, True), (0, False), (2, True), (-1, True), ("1", False)]
)
def test_bep27_private_is_any_integer_but_zero(value: object, private: bool) -> None:
    assert make_torrent(b"x", private=value)[0].is_private is private
    assert not make_torrent(b"x")[0].is_private


def test_bep47_attributes_and_pad_files() -> None:
    files = [
        {"length": 10, "path": ["run"], "attr": "x"},
        {"length": 16_374, "path": [".pad", "16374"], "attr": "p"},
        {"length": 16_384, "path": ["hid"], "attr": "hz"},
        {"length": 5, "path": [".pad", "16374"], "attr": "p"},
        {"length": 1, "path": ["odd"], "attr": 7},
    ]
    info = {"name": "n", "piece length": 16_384, "pieces": bytes(60), "files": files}
    run, pad, hidden, pad_again, odd = load(info).files
    assert run.is_executable
    assert pad.is_pad
    assert hidden.is_hidden
    assert not hidden.is_executable
    assert hidden.offset_bytes == 16_384
    assert pad_again.path == pad.path  # never stored, so it may
    assert not odd.is_pad


def test_a7_symlink_is_kept_as_an_attribute_with_a_target_inside() -> None:
    files: list[dict[str, object]] = [
        {"length": 10, "path": ["f"]},
        {"path": ["l"], "attr": "l", "symlink path": ["..", "..", "etc", "passwd"]},
        {"length": 99, "path": ["m"], "attr": "lx", "symlink path": ["f"]},
    ]
    info = {"name": "n", "piece length": 16_384, "pieces": bytes(20), "files": files}
    _, link, other = load(info).files
    assert link.symlink_target == ("n", "etc", "passwd")
    assert (other.symlink_target, other.length_bytes) == (("n", "f"), 0)


def test_names_in_utf8_are_preferred() -> None:
    files = [{"length": 1, "path": [b"\xff"], "path.utf-8": ["\u00e9"]}]
    info = {"name": b"\xff", "name.utf-8": "\u00fc", "piece length": 16_384, "pieces": bytes(20)}
    metainfo = load({**info, "files": files}, comment=b"\xff", **{"comment.utf-8": "\u00e4"})
    assert metainfo.files[0].path == ("\u00fc", "\u00e9")
    assert metainfo.comment == "\u00e4"


def test_texts_and_dates_are_kept_when_they_make_sense() -> None:
    info, _ = info_dict(b"x")
    good = load(info, comment="hello", **{"created by": b"me\xff", "creation date": 5})
    assert (good.comment, good.created_by, good.creation_time_s) == ("hello", "me\ufffd", 5)
    bad = load(info, comment=1, **{"created by": [], "creation date": -1})
    assert (bad.comment, bad.created_by, bad.creation_time_s) == (None, None, None)


@pytest.mark.parametrize("name", [b"", b"..", b"\xe2\x80\xae"])
def test_a6_name_that_says_nothing_becomes_the_info_hash(name: bytes) -> None:
    metainfo, _ = make_torrent(b"x", name=name)
    assert metainfo.name == metainfo.info_hash.hex()
    assert metainfo.files[0].path == (metainfo.name,)


def test_a6_name_with_a_slash_stays_one_element() -> None:
    metainfo, _ = make_torrent({"../../x": b"x"}, name="/etc/../a")
    assert metainfo.files[0].path == ("_etc_.._a", "x")
    assert metainfo.files[0].raw_path == (b"/etc/../a", b"..", b"..", b"x")


def test_a10_duplicate_paths_are_told_apart() -> None:
    files = [{"length": 1, "path": ["a"]}, {"length": 1, "path": ["..", "a"]}]
    info = {"name": "n", "piece length": 16_384, "pieces": bytes(20), "files": files}
    assert [entry.path for entry in load(info).files] == [("n", "a"), ("n", "a.1")]


def test_bep52_hybrid_loads_by_its_v1_part() -> None:
    metainfo = load(hybrid_info(dict(sorted(FILES.items())))[0])
    assert metainfo.is_hybrid
    assert [entry.is_pad for entry in metainfo.files].count(False) == 3
    assert not make_torrent(FILES)[0].is_hybrid


def test_bep9_info_bytes_alone_make_a_torrent() -> None:
    made, _ = make_torrent(FILES, is_private=True)
    tiers = (("http://t/",), ("udp://u:1",))
    metainfo = Metainfo.from_info_bytes(made.info_bytes, tiers=tiers, web_seeds=["http://w/"])
    assert metainfo.info_hash == made.info_hash
    assert metainfo.files == made.files
    assert metainfo.is_private
    assert (metainfo.tiers, metainfo.web_seeds) == (tiers, ("http://w/",))
    assert Metainfo.from_bytes(metainfo.to_bytes()) == metainfo
    bare = Metainfo.from_info_bytes(made.info_bytes)
    assert bare.to_bytes() == made.source


def test_bep9_magnet_link_says_where_and_what() -> None:
    metainfo, _ = make_torrent(
        b"x", name="a b&c", tiers=[["http://t/a?k=1"]], web_seeds=["http://w/"]
    )
    assert str(Magnet.of(metainfo)) == (
        f"magnet:?xt=urn:btih:{metainfo.info_hash.hex()}&dn=a%20b%26c&xl=1"
        "&tr=http%3A%2F%2Ft%2Fa%3Fk%3D1&ws=http%3A%2F%2Fw%2F"
    )


def test_read_loads_a_file_and_never_more_than_the_limit(tmp_path: Path) -> None:
    made, _ = make_torrent(FILES)
    path = tmp_path / "a.torrent"
    path.write_bytes(made.source)
    assert Metainfo.read(path) == Metainfo.read(str(path)) == made
    with pytest.raises(BencodeError, match="more than 100"):
        Metainfo.read(path, limits=BencodeLimits(max_bytes=100))
    with pytest.raises(FileNotFoundError):
        Metainfo.read(tmp_path / "none.torrent")


def test_repr_is_short() -> None:
    metainfo, _ = make_torrent(payload_of(10**6))
    assert len(repr(metainfo)) < 800
