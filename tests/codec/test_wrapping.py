"""The .torrent around its info dictionary: byte for byte, with or without the layers of v2."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.torrents import payload_of
from tests.support.v2_torrents import hybrid_info, v2_info
from torrent_engine.codec.bencode import encode
from torrent_engine.codec.metainfo import Metainfo

FILES = {"a": payload_of(40_000), "b": payload_of(90_000)}
INFO, LAYERS = hybrid_info(FILES)
KEYS: dict[str, Any] = {
    "announce": "http://t.example/a",
    "comment": "hello",
    "locale": "de",
    "nodes": [["n.example", 1]],
    "piece": 1,
    "piece layerz": 2,
    "url-list": "http://w.example/",
    "zzz": [1, {"a": b"b"}],
}


@given(st.sets(st.sampled_from(sorted(KEYS))), st.booleans(), st.booleans())
def test_bep52_layers_stand_where_they_belong(
    chosen: set[str], has_layers: bool, is_hybrid: bool
) -> None:
    info, layers = (INFO, LAYERS) if is_hybrid else v2_info(FILES)
    keys = {key: KEYS[key] for key in chosen}
    whole = encode({"info": info, "piece layers": layers, **keys})
    bare = encode({"info": info, **keys})
    metainfo = Metainfo.from_bytes(whole if has_layers else bare)
    assert metainfo.source == (whole if has_layers else bare)
    if not has_layers:
        metainfo = metainfo.with_layers(layers)
    assert metainfo.source == whole
    assert metainfo == Metainfo.from_bytes(whole)


def test_bep52_layers_that_come_one_by_one_are_all_written() -> None:
    (first, *_), whole = LAYERS.items(), encode({"info": INFO, "piece layers": LAYERS})
    some = Metainfo.from_bytes(encode({"info": INFO, "piece layers": dict([first])}))
    assert some.v2 is not None
    rest = {root: layer for root, layer in LAYERS.items() if root != first[0]}
    assert some.with_layers(rest).source == whole


ODD = {
    "no_dictionary": encode({"info": INFO, "piece layers": 1, "zzz": 1}),
    "empty": encode({"info": INFO, "piece layers": {}, "zzz": 1}),
    "key_spelt_long": encode({"info": INFO, "piece layers": LAYERS}).replace(
        b"12:piece layers", b"012:piece layers"
    ),
    "layers_first": b"d12:piece layers" + encode(LAYERS) + b"4:info" + encode(INFO) + b"e",
    "bytes_behind": encode({"info": INFO, "piece layers": LAYERS}) + b"\n",
}


@pytest.mark.parametrize("data", ODD.values(), ids=ODD.keys())
def test_bep52_layers_that_are_spelt_oddly_stay_as_they_are(data: bytes) -> None:
    metainfo = Metainfo.from_bytes(data)
    assert metainfo.source == data.rstrip(b"\n")
    assert metainfo.v2 is not None
    if metainfo.v2.layers:
        assert metainfo.v2.layers == LAYERS
        return
    found = Metainfo.from_bytes(metainfo.with_layers(LAYERS).source)
    assert found.v2 is not None
    assert found.v2.layers == LAYERS


def test_bep52_layers_are_held_once() -> None:
    metainfo = Metainfo.from_bytes(encode({"info": INFO, "piece layers": LAYERS}))
    held = b"".join(part for part in metainfo._around if isinstance(part, bytes))
    assert held == b"d4:infoe"


def test_changed_comments_leave_the_layers_where_they_are() -> None:
    metainfo = Metainfo.from_bytes(encode({"info": INFO, "piece layers": LAYERS, "zzz": 1}))
    changed = metainfo.edited(comment="new")
    assert changed.source == encode(
        {"info": INFO, "piece layers": LAYERS, "zzz": 1, "comment": "new"}
    )
