"""Editing what stands around the info dictionary, and writing it."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.errors import ConfigError
from torrent_engine.codec.bencode import decode, encode
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo

PLAIN, _ = make_torrent({"a": payload_of(50_000)})
ODD_INFO = b"d6:lengthi5e4:name1:a12:piece lengthi16384e6:pieces20:" + bytes(20) + b"1:zi-5ee"
ODD = Metainfo.from_bytes(
    b"d8:announce10:http://a/x7:comment1:c4:info" + ODD_INFO + b"12:piece layersde3:xyzli1eee"
)


def test_fields_are_changed_and_the_info_dictionary_is_not() -> None:
    made = ODD.edited(
        trackers=["udp://t:1", ["http://u/", "http://v/"]],
        web_seeds=("http://w/",),
        http_seeds=["http://s/"],
        nodes=[("n", 6881)],
        comment="\u00fc",
        created_by="me",
        creation_time_s=7,
    )
    assert made.info_bytes == ODD.info_bytes == ODD_INFO
    assert made.info_hash == ODD.info_hash
    assert made.tiers == (("udp://t:1",), ("http://u/", "http://v/"))
    assert (made.web_seeds, made.http_seeds) == (("http://w/",), ("http://s/",))
    assert (made.nodes, made.comment) == ((("n", 6881),), "\u00fc")
    assert (made.created_by, made.creation_time_s) == ("me", 7)
    assert ODD.tiers == (("http://a/x",),)


def test_unknown_keys_stay_and_the_keys_are_sorted() -> None:
    made = ODD.edited(comment="d")
    values = decode(made.source, canonical=True)
    assert isinstance(values, dict)
    assert (values[b"xyz"], values[b"piece layers"]) == ([1], {})
    assert values[b"announce"] == b"http://a/x"


def test_none_or_nothing_removes_a_field() -> None:
    bare = ODD.edited(trackers=[], comment=None)
    assert b"announce" not in bare.source
    assert (bare.tiers, bare.comment) == ((), None)
    assert bare.edited(trackers=["udp://t:1"]).tiers == (("udp://t:1",),)


def test_metadata_that_came_without_a_torrent_file_can_be_edited() -> None:
    loaded = Metainfo.from_info_bytes(PLAIN.info_bytes, tiers=(("udp://t:1",),))
    made = loaded.edited(comment="c")
    assert (made.comment, made.tiers, made.info_hash) == ("c", (("udp://t:1",),), PLAIN.info_hash)


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"trackers": "udp://t:1"}, TypeError, "trackers: must be a list"),
        ({"trackers": [5]}, TypeError, "trackers: must be a list, not 5"),
        ({"trackers": ["ftp://t/"]}, ConfigError, "trackers: 'ftp://t/'"),
        ({"web_seeds": ["w"]}, ConfigError, "web_seeds: 'w'"),
        ({"nodes": ["n:1"]}, TypeError, "nodes: "),
        ({"nodes": [("n", 0)]}, ConfigError, "nodes: 0"),
        ({"comment": b"c"}, TypeError, "comment: "),
        ({"creation_time_s": -1}, ConfigError, "creation_time_s: -1"),
        ({"creation_time_s": 1.5}, TypeError, "creation_time_s: "),
        ({"name": "other"}, TypeError, "name: not among comment, created_by"),
    ],
)
def test_what_cannot_be_written_is_refused_by_name(
    changes: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        PLAIN.edited(**changes)


def test_a_written_file_is_read_again_and_replaces_another(tmp_path: Path) -> None:
    path = tmp_path / "a.torrent"
    path.write_bytes(b"old")
    made = PLAIN.edited(comment="c")
    made.write(path)
    assert Metainfo.read(path) == made
    assert [each.name for each in tmp_path.iterdir()] == ["a.torrent"]


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        PLAIN.write(tmp_path / "folder")
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]


def test_repr_has_no_tracker_in_it() -> None:
    made = PLAIN.edited(trackers=["http://t/announce?passkey=s3cret"])
    assert "s3cret" not in repr(made) + repr(Magnet.of(made))
    assert PLAIN.info_hash.hex() in repr(made)
    assert "\n" not in repr(made)


# -- encoding ------------------------------------------------------------------------------------


def test_every_kind_of_bytes_is_a_string() -> None:
    assert encode(bytearray(b"ab")) == encode(memoryview(b"ab")) == encode(b"ab") == b"2:ab"
    assert encode({"k": memoryview(b"xaby")[1:3]}) == b"d1:k2:abe"


@pytest.mark.parametrize("value", [True, [False], {"k": True}, 1.0, None, {1, 2}, {1: 2}])
def test_what_bencoding_does_not_have_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot bencode"):
        encode(value)


def test_a_list_in_itself_is_a_value_error() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(ValueError, match="nested"):
        encode(value)
