"""Node ids that fit an address (BEP 42)."""

import random

import pytest

from torrent_engine.protocol.dht.security import is_valid_node_id, node_id_for

VECTORS = [
    ("124.31.75.21", "5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401"),
    ("21.75.31.124", "5a3ce9c14e7a08645677bbd1cfe7d8f956d53256"),
    ("65.23.51.170", "a5d43220bc8f112a3d426c84764f8c2a1150e616"),
    ("84.124.73.14", "1b0321dd1bb1fe518101ceef99462b947a01ff41"),
    ("43.213.53.83", "e56f6cbf5b7c4be0237986d5243b87aa6d51305a"),
]


@pytest.mark.parametrize(("host", "text"), VECTORS)
def test_bep42_vector_fits_its_address(host: str, text: str) -> None:
    assert is_valid_node_id(bytes.fromhex(text), host)


@pytest.mark.parametrize(("host", "text"), VECTORS)
@pytest.mark.parametrize("bit", range(21))
def test_bep42_each_of_the_top_21_bits_counts(host: str, text: str, bit: int) -> None:
    changed = int(text, 16) ^ 1 << 159 - bit
    assert not is_valid_node_id(changed.to_bytes(20, "big"), host)


@pytest.mark.parametrize(("host", "text"), VECTORS)
def test_bep42_the_bits_behind_them_do_not(host: str, text: str) -> None:
    changed = int(text, 16) ^ 1 << 159 - 21 ^ 0xF8
    assert is_valid_node_id(changed.to_bytes(20, "big"), host)


@pytest.mark.parametrize("host", ["124.31.75.21", "2001:db8:85a3::7", "::ffff:21.75.31.124"])
def test_bep42_made_id_fits_its_address_and_no_other(host: str) -> None:
    rng = random.Random(42)
    made = [node_id_for(host, rng) for _ in range(50)]
    assert len(set(made)) == 50
    assert all(is_valid_node_id(each, host) for each in made)
    assert not any(is_valid_node_id(each, "203.0.113.9") for each in made)


def test_bep42_ipv6_looks_at_the_first_64_bits_only() -> None:
    made = node_id_for("2001:db8:85a3:1::7", random.Random(1))
    assert is_valid_node_id(made, "2001:db8:85a3:1:ffff::8")
    assert not is_valid_node_id(made, "2001:db8:85a3:2::7")


@pytest.mark.parametrize(
    "host",
    ["10.1.2.3", "172.16.0.1", "192.168.5.5", "169.254.9.9", "127.0.0.1", "::1", "fe80::1%eth0"],
)
def test_bep42_local_address_is_exempt(host: str) -> None:
    assert is_valid_node_id(bytes(20), host)


@pytest.mark.parametrize("host", ["172.32.0.1", "router.example", ""])
def test_bep42_other_address_is_not_exempt(host: str) -> None:
    assert not is_valid_node_id(bytes(20), host)


def test_bep42_id_for_no_address_is_any_id() -> None:
    assert len(node_id_for("router.example", random.Random(1))) == 20
