"""Messages, filters and signed values of the kit's nodes, by the vectors of the BEPs."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.conformance.adapters.launch import LaunchOrder
from torrent_engine.conformance.adapters.nodes import node_builder_named
from torrent_engine.conformance.dht.items import (
    BEP44_KEY,
    BEP44_SALT,
    BEP44_SALTED_SIGNATURE,
    BEP44_SIGNATURE,
    BEP44_VALUE,
    IMMUTABLE_TARGET,
    KitItem,
    immutable_target,
    signed_bytes,
)
from torrent_engine.conformance.dht.krpc import cut, failure, parse_krpc, query, response
from torrent_engine.conformance.dht.secure_ids import fits, fitting_id
from torrent_engine.conformance.errors import ConformanceError, NotOfferedError
from torrent_engine.conformance.rules.bep33_dht_scrapes import bloom_filter

SENDER = ("127.0.0.1", 6881)
NODE_ID = b"abcdefghij0123456789"


def test_bep5_vectors_of_a_ping() -> None:
    data = query(b"aa", "ping", {b"id": NODE_ID})
    assert data == b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe"
    asked = parse_krpc(data, SENDER, 1.5)
    assert asked is not None
    assert (asked.kind, asked.method, asked.transaction, asked.at) == (b"q", "ping", b"aa", 1.5)
    assert (asked.argument(b"id"), asked.error, asked.size) == (NODE_ID, None, len(data))
    answer = parse_krpc(response(b"aa", {b"id": NODE_ID}), SENDER, 0.0)
    assert answer is not None
    assert (answer.kind, answer.text(b"id"), answer.peers, answer.node_ids) == (
        b"r",
        NODE_ID,
        [],
        [],
    )


def test_bep5_vector_of_an_error() -> None:
    data = failure(b"aa", 201, "A Generic Error Ocurred")
    assert data == b"d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee"
    found = parse_krpc(data, SENDER, 0.0)
    assert found is not None
    assert found.error == 201


ODD_MESSAGES = {
    b"": False,
    b"d": False,
    b"le": False,
    b"i1e": False,
    b"d1:t": False,
    b"de": True,
    b"d1:ai1e1:r2:ab1:ti7e1:ylee": True,
    b"d1:ele1:y1:ee": True,
    b"d1:el2:noe1:y1:ee": True,
    b"d1:rd6:valuesl6:abcdefi1eeee": True,
    b"d1:rd6:values3:abcee": True,
}


@pytest.mark.parametrize("data", ODD_MESSAGES)
def test_odd_messages_have_empty_fields(data: bytes) -> None:
    found = parse_krpc(data, SENDER, 0.0)
    assert (found is not None) is ODD_MESSAGES[data]
    if found is not None:
        assert found.transaction == b""
        assert found.arguments == {}
        assert found.error in {None, 0}
        assert found.peers in ([], [b"abcdef"])


@given(st.binary(max_size=200))
def test_any_datagram_is_read_or_left(data: bytes) -> None:
    found = parse_krpc(data, SENDER, 0.0)
    if found is not None:
        assert isinstance(found.peers, list)
        assert isinstance(found.method, str)


@given(st.binary(max_size=100), st.integers(min_value=1, max_value=30))
def test_records_are_cut_into_whole_parts(blob: bytes, size: int) -> None:
    parts = list(cut(blob, size))
    assert {len(each) for each in parts} <= {size}
    assert b"".join(parts) == blob[: len(blob) // size * size]


BEP33_VECTOR = bytes.fromhex(
    "F6C3F5EAA07FFD91BDE89F777F26FB2BFF37BDB8FB2BBAA2FD3DDDE7BACFFF75EE7CCBAE"
    "FE5EEDB1FBFAFF67F6ABFF5E43DDBCA3FD9B9FFDF4FFD3E9DFF12D1BDF59DB53DBE9FA5B"
    "7FF3B8FDFCDE1AFB8BEDD7BE2F3EE71EBBBFE93BCDEEFE148246C2BC5DBFF7E7EFDCF24F"
    "D8DC7ADFFD8FFFDFDDFFF7A4BBEEDF5CB95CE81FC7FCFF1FF4FFFFDFE5F7FDCBB7FD79B3"
    "FA1FC77BFE07FFF905B7B7FFC7FEFEFFE0B8370BB0CD3F5B7F2BD93FEB4386CFDD6F7FD5"
    "BFAF2E9EBFFFFEECD67ADBF7C67F17EFD5D75EBA6FFEBA7FFF47A91EB1BFBB53E8ABFB57"
    "62ABE8FF237279BFEFBFEEF5FFC5FEBFDFE5ADFFADFEE1FB737FFFFBFD9F6AEFFEEE76B6"
    "FD8F72EF"
)


def test_bep33_vector_of_a_filter() -> None:
    hosts = [f"192.0.2.{number}" for number in range(256)]
    hosts += [f"2001:db8::{number:x}" for number in range(0x3E8)]
    assert bloom_filter(hosts) == BEP33_VECTOR


def test_bep44_vectors_are_signed_as_the_kit_signs() -> None:
    public = Ed25519PublicKey.from_public_bytes(BEP44_KEY)
    public.verify(BEP44_SIGNATURE, signed_bytes(BEP44_VALUE, 1))
    public.verify(BEP44_SALTED_SIGNATURE, signed_bytes(BEP44_VALUE, 1, BEP44_SALT))
    assert immutable_target(BEP44_VALUE) == IMMUTABLE_TARGET
    item = KitItem(b"salt")
    sent = item.put([1], 2)
    signature = sent[b"sig"]
    assert isinstance(signature, bytes)
    Ed25519PublicKey.from_public_bytes(item.key).verify(signature, signed_bytes([1], 2, b"salt"))


@pytest.fixture
def order(tmp_path: Path) -> LaunchOrder:
    return LaunchOrder(tmp_path / "a.torrent", tmp_path, tmp_path, "127.0.0.1", 7000)


NODES = ["127.0.0.1:1", "127.0.0.2:2"]


def test_engine_is_started_with_the_nodes(order: LaunchOrder) -> None:
    argv = node_builder_named("torrent-engine")(order, NODES).argv
    assert "--no-dht" not in argv
    assert [
        argv[place + 1] for place, word in enumerate(argv) if word == "--dht-bootstrap"
    ] == NODES
    assert node_builder_named("libtorrent")(order, NODES).argv[-2:] == tuple(NODES)


def test_program_whose_dht_leaves_out_this_machine_is_unsupported(order: LaunchOrder) -> None:
    with pytest.raises(NotOfferedError, match="its own machine"):
        node_builder_named("transmission")(order, NODES)


TOML = """command = ["seeder"]
node = ["program", "--port={port}", "{nodes}", "--first", "{nodes} {host}"]
"""


def test_command_of_a_toml_file_has_its_nodes(order: LaunchOrder) -> None:
    path = order.home / "program.toml"
    path.write_text(TOML)
    found = node_builder_named(str(path))(order, NODES).argv
    assert found == ("program", "--port=7000", *NODES, "--first", ",".join(NODES) + " 127.0.0.1")


@pytest.mark.parametrize("line", ["node = 3", "node = [1]"])
def test_wrong_command_of_a_toml_file_is_refused(order: LaunchOrder, line: str) -> None:
    path = order.home / "program.toml"
    path.write_text(f'command = ["seeder"]\n{line}\n')
    with pytest.raises(ConformanceError, match="is not a list of strings"):
        node_builder_named(str(path))


def test_toml_file_without_a_command_for_nodes_is_unsupported(order: LaunchOrder) -> None:
    path = order.home / "program.toml"
    path.write_text('command = ["seeder"]\n')
    with pytest.raises(NotOfferedError, match="no command for nodes"):
        node_builder_named(str(path))(order, NODES)
    with pytest.raises(ConformanceError, match="no program netscape"):
        node_builder_named("netscape")


@pytest.mark.parametrize(
    ("host", "node_id"),
    [
        ("124.31.75.21", "5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401"),
        ("21.75.31.124", "5a3ce9c14e7a08645677bbd1cfe7d8f956d53256"),
        ("65.23.51.170", "a5d43220bc8f112a3d426c84764f8c2a1150e616"),
        ("84.124.73.14", "1b0321dd1bb1fe518101ceef99462b947a01ff41"),
        ("43.213.53.83", "e56f6cbf5b7c4be0237986d5243b87aa6d51305a"),
    ],
)
def test_bep42_ids_of_the_bep_fit_their_addresses_and_no_others(host: str, node_id: str) -> None:
    assert fits(bytes.fromhex(node_id), host)
    assert not fits(bytes.fromhex(node_id), "8.8.8.8")
    assert not fits(bytes.fromhex(node_id)[:19], host)


@pytest.mark.parametrize("host", ["11.2.3.4", "2001:db8::1"])
def test_bep42_new_ids_fit_and_differ(host: str) -> None:
    found = {fitting_id(host) for _ in range(20)}
    assert len(found) == 20
    assert all(fits(each, host) for each in found)
